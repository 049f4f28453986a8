"""Figures of mining, among them two signs of false negatives: mined documents that are unjudged right answers.

Neither needs new labels, and neither tells how many false negatives there are: both compare settings of the rules on
the same data. The level is estimated from a sample that someone judges (`attune judge`).

Hidden answers (leave-one-out): hides one answer of a train query that has several and applies the rules again to the
rows of its other answers, which then treat it like any unjudged answer. Counts how often it is among the candidates,
how often no rule rejects it in one of the rows, and how often it becomes a negative of one.

Similar queries: a mined negative that answers another train query of nearly the same meaning probably answers this
query, too.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from attune.runtime.arrays import Float32, Int64
from attune.tuning.mining.candidates import Bool, NearestQuery, Pairs, Scorer, pair_keys
from attune.tuning.mining.mine import SEED, MiningInput, MiningResult
from attune.tuning.mining.rules import REASONS, Candidates, MineParams, Rows, Slots, apply_rules, score_limits

MAX_HIDDEN = 20_000  # hidden answers; more would change the shares by less than a thousandth
MAX_ROWS = 100_000  # rows of the other answers of their queries; bounds time
SIMILAR = (0.8, 0.9)  # cosines of queries; paraphrases lie at .65 to .95, and so do different queries on one topic
PERCENTILES = (5, 25, 50, 75, 95)


@dataclass(frozen=True)
class HiddenAnswers:
    """Answers to hide one at a time, each with its near-duplicates.

    Attributes:
        queries: rows of the train queries, (n_cases,).
        groups: the first of the near-duplicates, as a row of the corpus, (n_cases,).
        cases: the case of each row of training in which the answer might become a negative, ascending, (n_rows,).
        rows: these rows, each a place in the positives, (n_rows,): those of the query's other answers.
    """

    queries: Int64
    groups: Int64
    cases: Int64
    rows: Int64

    @classmethod
    def of(cls, positives: Pairs, duplicate_of: Int64, seed: int) -> "HiddenAnswers":
        """Returns all answers of queries that have others, or a random sample bounded by MAX_HIDDEN and MAX_ROWS.

        Args:
            positives: the relevant documents of the queries, sorted.
            duplicate_of: for each row of the corpus the first of its near-duplicates, (n_documents,).
            seed: of the sample.
        """
        keys, n_copies = np.unique(pair_keys(positives.queries, duplicate_of[positives.rows]), return_counts=True)
        queries, groups = keys >> 32, keys & (2**32 - 1)
        first = np.searchsorted(positives.queries, queries)
        n_positives = np.searchsorted(positives.queries, queries, side="right") - first
        usable = np.flatnonzero(n_positives > n_copies)
        if len(usable) > MAX_HIDDEN or n_positives[usable].sum() > MAX_ROWS:
            drawn = np.random.default_rng(seed).permutation(usable)[:MAX_HIDDEN]
            n_within = np.searchsorted(np.cumsum(n_positives[drawn]), MAX_ROWS, side="right")
            usable = np.sort(drawn[: max(1, n_within)])
        queries, groups, first, n_positives = queries[usable], groups[usable], first[usable], n_positives[usable]
        cases = np.repeat(np.arange(len(usable)), n_positives)
        rows = np.repeat(first - np.cumsum(n_positives) + n_positives, n_positives) + np.arange(len(cases))
        is_other = duplicate_of[positives.rows[rows]] != groups[cases]
        return cls(queries, groups, cases[is_other], rows[is_other])


def hidden_answer_shares(
    candidates: Candidates, rows: Rows, params: MineParams, slots: Slots, hidden: HiddenAnswers, duplicate_of: Int64
) -> dict[str, int | float | None]:
    """Hides answers one at a time, applies the rules, and counts the hidden answers that get through.

    Limits. Hides judged answers only, of queries with several, and these tend to be obvious. Near-identical documents
    are hidden with the answer, because they share its judgment. The shares are too low with an encoder that was trained
    on these answers (from the second round on). How many answers are unjudged in the data does not enter: where a query
    has one hidden answer here, it may have none or thirty unjudged ones.

    Returns:
        n_hidden_answers, and of these the shares: hidden_answer_in_reach_share (among the candidates),
        hidden_answer_allowed_share (no rule rejects it in one of the rows), hidden_answer_kept_share (it becomes a
        negative of one). Last, hidden_answer_rule_ranking: hidden answers divided by all negatives of these rows. It
        ranks rules on the same data, the lower the better, and is no estimate of a share. All but the first are None if
        no query has several answers.
    """
    n_hidden = len(hidden.queries)
    cases = candidates.take(hidden.queries)
    is_hidden = cases.is_positive & (duplicate_of[cases.pool.rows] == hidden.groups[:, None])
    altered = replace(cases, is_positive=cases.is_positive & ~is_hidden)
    of_cases = Rows(hidden.cases, rows.positive_scores[hidden.rows])
    selection = apply_rules(altered, of_cases, params, slots.take(hidden.rows))
    kept, allowed = (
        is_hidden[hidden.cases] & selection.has(*reasons) for reasons in (("kept",), ("kept", "not_needed"))
    )

    def in_any_row(mask: Bool) -> Bool:
        return np.bincount(hidden.cases[mask.any(axis=1)], minlength=n_hidden) > 0

    masks = {"in_reach": is_hidden.any(axis=1), "allowed": in_any_row(allowed), "kept": in_any_row(kept)}
    return {
        "n_hidden_answers": n_hidden,
        **{f"hidden_answer_{name}_share": _share(mask) if n_hidden else None for name, mask in masks.items()},
        "hidden_answer_rule_ranking": float(kept.sum() / max(1, selection.count("kept"))) if n_hidden else None,
    }


def similar_query_shares(negatives: Pairs, positives: Pairs, query_vectors: Float32) -> dict[str, float]:
    """Returns, for each threshold of SIMILAR, the share of negatives relevant to another query at least that similar.

    Limits. Detects only documents that answer some train query. Queries that differ in the one word that matters may
    have a high cosine, so a share is an indication, not a proof. From the second round on, cosines are the tuned
    encoder's.

    Args:
        negatives: train queries and mined documents; a pair counts with each of its rows.
        positives: the relevant documents of all train queries.
        query_vectors: (n_queries, dim) unit embeddings of the train queries.
    """
    nearest = NearestQuery.of(positives, query_vectors).cosine(negatives)
    return {f"negatives_answering_like_query_share@{least}": _share(nearest >= np.float32(least)) for least in SIMILAR}


def _share(mask: Bool) -> float:
    return float(mask.mean()) if mask.size else 0.0


def mining_figures(data: MiningInput, params: MineParams, result: MiningResult, score: Scorer) -> dict[str, Any]:
    """Returns the counts of candidates by reason, the distribution of scores, and the signs of false negatives.

    Candidates and negatives are counted in every row of their query. Figures of hidden answers are None where nothing
    could be hidden.
    """
    candidates, rows, selection = result.candidates, result.rows, result.selection
    row, column = np.nonzero(selection.has("kept"))
    kept = candidates.scores[rows.queries[row], column]
    is_random, lowest = result.is_random(), result.lowest_positives()
    limits = np.minimum(*score_limits(rows.positive_scores, params))[np.nonzero(is_random)[0]]
    hidden = HiddenAnswers.of(data.positives, data.duplicate_of, SEED)
    return {
        "index_recall": result.dense.recall,
        "n_candidates": int((candidates.pool.rows >= 0).sum(axis=1)[rows.queries].sum()),
        **{f"n_{reason}": selection.count(reason) for reason in REASONS},
        "n_kept_from_lexical": int(selection.from_lexical.sum()),
        "n_kept_from_deeper": result.n_deeper(),
        "n_filled_at_random": int(is_random.sum()),
        "n_filled_too_close": int((score(result.pairs(is_random)) > limits).sum()),
        "n_given_by_user": len(data.own_negatives.rows),
        "n_given_not_used": len(data.own_negatives.rows) - len(result.own(data.positives).rows),
        "mean_lowest_positive_score": float(lowest.mean()),
        "mean_negative_score": float(kept.mean()) if kept.size else 0.0,
        **_percentiles("lowest_positive_score", lowest),
        **_percentiles("negative_score", kept),
        **hidden_answer_shares(candidates, rows, params, result.slots, hidden, data.duplicate_of),
        **similar_query_shares(result.pairs(result.is_mined()), data.positives, data.query_vectors),
    }


def _percentiles(name: str, scores: Float32) -> dict[str, float]:
    values = np.percentile(scores, PERCENTILES) if scores.size else np.zeros(len(PERCENTILES))
    return {f"{name}_p{percentile:02}": float(value) for percentile, value in zip(PERCENTILES, values, strict=True)}
