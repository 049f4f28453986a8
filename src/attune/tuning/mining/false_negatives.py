"""Figures of mining, among them two signs of false negatives: mined documents that are unjudged right answers.

Neither needs new labels, and neither tells how many false negatives there are: both compare settings of the rules on
the same data. The level is estimated from a sample that someone judges (`attune judge`).

Hidden answers (leave-one-out): hides one answer of a train query that has several and applies the rules again, which
then treat it like any unjudged answer. Counts how often it is among the candidates, how often no rule rejects it, and
how often it becomes a negative.

Similar queries: a mined negative that answers another train query of nearly the same meaning probably answers this
query, too.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from attune.runtime.arrays import Float32, Int64
from attune.tuning.mining.candidates import Bool, NearestQuery, Pairs, Scorer, pair_keys
from attune.tuning.mining.mine import SEED, MiningInput, MiningResult
from attune.tuning.mining.rules import REASONS, Candidates, MineParams, Slots, apply_rules, score_limits

MAX_HIDDEN = 20_000  # hidden answers; more would change the shares by less than a thousandth
SIMILAR = (0.8, 0.9)  # cosines of queries; paraphrases lie at .65 to .95, and so do different queries on one topic
PERCENTILES = (5, 25, 50, 75, 95)


@dataclass(frozen=True)
class HiddenAnswers:
    """Answers to hide one at a time, each with its near-duplicates; each array is (n_cases,).

    Attributes:
        queries: rows of the train queries.
        groups: the first of the near-duplicates, as a row of the corpus.
        lowest_positive: the lowest score among the query's other answers.
    """

    queries: Int64
    groups: Int64
    lowest_positive: Float32

    @classmethod
    def of(cls, positives: Pairs, scores: Float32, duplicate_of: Int64, seed: int) -> "HiddenAnswers":
        """Returns all answers of queries that have others, or a random sample of MAX_HIDDEN.

        Args:
            positives: the relevant documents of the queries.
            scores: scores of these pairs, (n_pairs,).
            duplicate_of: for each row of the corpus the first of its near-duplicates, (n_documents,).
            seed: of the sample.
        """
        cases, place = np.unique(pair_keys(positives.queries, duplicate_of[positives.rows]), return_inverse=True)
        lowest = np.full(len(cases), np.inf, dtype=np.float32)
        np.minimum.at(lowest, place, scores)
        queries = cases >> 32
        order = np.lexsort((lowest, queries))
        first = np.searchsorted(queries, queries)  # in that order, the query's lowest answer, and the next one
        second = np.minimum(first + 1, len(cases) - 1)
        others = np.where(order[first] == np.arange(len(cases)), lowest[order[second]], lowest[order[first]])
        usable = np.flatnonzero(np.bincount(queries, minlength=1)[queries] > 1)
        if len(usable) > MAX_HIDDEN:
            usable = np.sort(np.random.default_rng(seed).choice(usable, MAX_HIDDEN, replace=False))
        return cls(queries[usable], cases[usable] & (2**32 - 1), others[usable])


def hidden_answer_shares(
    candidates: Candidates, params: MineParams, slots: Slots, hidden: HiddenAnswers, duplicate_of: Int64
) -> dict[str, int | float | None]:
    """Hides answers one at a time, applies the rules, and counts the hidden answers that get through.

    Limits. Hides judged answers only, of queries with several, and these tend to be obvious. Near-identical documents
    are hidden with the answer, because they share its judgment. The shares are too low with an encoder that was trained
    on these answers (from the second round on). How many answers are unjudged in the data does not enter: where a query
    has one hidden answer here, it may have none or thirty unjudged ones.

    Returns:
        n_hidden_answers, and of these the shares: hidden_answer_in_reach_share (among the candidates),
        hidden_answer_allowed_share (no rule rejects it), hidden_answer_kept_share (it becomes a negative). Last,
        hidden_answer_rule_ranking: hidden answers divided by all negatives of these queries. It ranks rules on the same
        data, the lower the better, and is no estimate of a share. All but the first are None if no query has several
        answers.
    """
    cases = candidates.take(hidden.queries)
    is_hidden = cases.is_positive & (duplicate_of[cases.pool.rows] == hidden.groups[:, None])
    altered = replace(
        cases,
        is_positive=cases.is_positive & ~is_hidden,
        lowest_positive=hidden.lowest_positive,
    )
    selection = apply_rules(altered, params, slots.take(hidden.queries))
    kept = is_hidden & selection.has("kept")
    masks = {"in_reach": is_hidden, "allowed": is_hidden & selection.has("kept", "not_needed"), "kept": kept}
    n_hidden = len(hidden.queries)
    ranking = float(kept.sum() / max(1, selection.count("kept"))) if n_hidden else None
    return {
        "n_hidden_answers": n_hidden,
        **{f"hidden_answer_{name}_share": _share(m.any(axis=1)) if n_hidden else None for name, m in masks.items()},
        "hidden_answer_rule_ranking": ranking,
    }


def similar_query_shares(negatives: Pairs, positives: Pairs, query_vectors: Float32) -> dict[str, float]:
    """Returns, for each threshold of SIMILAR, the share of negatives relevant to another query at least that similar.

    Limits. Detects only documents that answer some train query. Queries that differ in the one word that matters may
    have a high cosine, so a share is an indication, not a proof. From the second round on, cosines are the tuned
    encoder's.

    Args:
        negatives: train queries and mined documents.
        positives: the relevant documents of all train queries.
        query_vectors: (n_queries, dim) unit embeddings of the train queries.
    """
    nearest = NearestQuery.of(positives, query_vectors).cosine(negatives)
    return {f"negatives_answering_like_query_share@{least}": _share(nearest >= np.float32(least)) for least in SIMILAR}


def _share(mask: Bool) -> float:
    return float(mask.mean()) if mask.size else 0.0


def mining_figures(data: MiningInput, params: MineParams, result: MiningResult, score: Scorer) -> dict[str, Any]:
    """Returns the counts of candidates by reason, the distribution of scores, and the signs of false negatives.

    Figures of hidden answers are None where nothing could be hidden.
    """
    candidates, selection = result.candidates, result.selection
    kept = candidates.scores[selection.has("kept")]
    random = result.random()
    limit = np.minimum(*score_limits(candidates.lowest_positive, params))[random.queries]
    hidden = HiddenAnswers.of(data.positives, result.positive_scores, data.duplicate_of, SEED)
    return {
        "index_recall": result.dense.recall,
        "n_candidates": int((candidates.pool.rows >= 0).sum()),
        **{f"n_{reason}": selection.count(reason) for reason in REASONS},
        "n_kept_from_lexical": int(selection.from_lexical.sum()),
        "n_kept_from_deeper": result.n_deeper(),
        "n_filled_at_random": len(random.rows),
        "n_filled_too_close": int((score(random) > limit).sum()),
        "n_given_by_user": len(data.own_negatives.rows),
        "n_given_not_used": len(data.own_negatives.rows) - len(result.own(data.positives).rows),
        "mean_lowest_positive_score": float(candidates.lowest_positive.mean()),
        "mean_negative_score": float(kept.mean()) if kept.size else 0.0,
        **_percentiles("lowest_positive_score", candidates.lowest_positive),
        **_percentiles("negative_score", kept),
        **hidden_answer_shares(candidates, params, result.slots, hidden, data.duplicate_of),
        **similar_query_shares(result.mined(), data.positives, data.query_vectors),
    }


def _percentiles(name: str, scores: Float32) -> dict[str, float]:
    values = np.percentile(scores, PERCENTILES) if scores.size else np.zeros(len(PERCENTILES))
    return {f"{name}_p{percentile:02}": float(value) for percentile, value in zip(PERCENTILES, values, strict=True)}
