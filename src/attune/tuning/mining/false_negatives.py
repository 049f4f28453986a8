"""How many mined negatives are right answers that nobody has judged: two estimates, neither of which needs new labels.

Hidden answers (leave one out): of a train query with several answers, one is hidden, and the rules are asked again.
They see what they see in real life: an answer that nobody has told them of. Counted is how often it is in reach, how
often no rule rejects it, and how often it becomes a negative.

Like queries: a kept negative that answers another train query of nearly the same meaning is probably an answer of this
query, too.
"""

from dataclasses import dataclass, replace

import numpy as np

from attune.tuning.mining.candidates import (
    BoolArray,
    FloatArray,
    IntArray,
    Pairs,
    Scorer,
    cosines,
    keys,
    nearest_other_asker,
)
from attune.tuning.mining.mine import Mined, Recipe, Task
from attune.tuning.mining.rules import REASONS, Found, Rules, Slots, ceilings, judge

MOST = 20_000  # hidden answers; more would not make the shares steadier by a thousandth, only slower
LIKE = (0.8, 0.9)  # cosine of queries; paraphrases lie at .65 to .95, and so do mere siblings (see params.yaml, audit)


@dataclass(frozen=True)
class Hidden:
    """Answers to hide one at a time, with all documents that are near-identical to it: each array is (n_cases,).

    Attributes:
        queries: rows of the train queries.
        groups: the first of the near-identical documents, as a row of the corpus.
        lowest_positive: the lowest score among the query's other answers.
    """

    queries: IntArray
    groups: IntArray
    lowest_positive: FloatArray

    @classmethod
    def of(cls, positives: Pairs, scores: FloatArray, duplicate_of: IntArray, seed: int) -> "Hidden":
        """All answers of queries that have others, or a seeded draw of MOST of them.

        Args:
            positives: the relevant documents of the queries.
            scores: of these pairs, (n_pairs,).
            duplicate_of: for each row of the corpus the first of its near-identical documents, (n_documents,).
            seed: of the draw.
        """
        cases, place = np.unique(keys(positives.queries, duplicate_of[positives.rows]), return_inverse=True)
        lowest = np.full(len(cases), np.inf, dtype=np.float32)
        np.minimum.at(lowest, place, scores)
        queries = cases >> 32
        order = np.lexsort((lowest, queries))
        first = np.searchsorted(queries, queries)  # each query's first place in that order, and the next one
        second = np.minimum(first + 1, len(cases) - 1)
        others = np.where(order[first] == np.arange(len(cases)), lowest[order[second]], lowest[order[first]])
        several = np.flatnonzero(np.bincount(queries, minlength=1)[queries] > 1)
        if len(several) > MOST:
            several = np.sort(np.random.default_rng(seed).choice(several, MOST, replace=False))
        return cls(queries[several], cases[several] & (2**32 - 1), others[several])


def hidden_answers(
    found: Found, rules: Rules, slots: Slots, hidden: Hidden, duplicate_of: IntArray
) -> dict[str, int | float]:
    """Hides answers one at a time and counts what becomes of them.

    Limits. Only queries with several answers are asked, and only answers that somebody has judged, which tend to be
    the plain ones. The rule of clusters is not applied to the hidden answer: it is in the query's cluster only because
    it was judged; so the shares are somewhat too high where unjudged answers are worded like judged ones. With an
    encoder that was trained on these very answers (from the second round on) they are too low.

    Returns:
        n_hidden_answers, and of these the shares: hidden_answer_in_reach_share (among the candidates),
        hidden_answer_allowed_share (no rule rejects it), hidden_answer_kept_share (it becomes a negative). Last
        estimated_false_negative_share: of the negatives that these queries get, those that are the hidden answer: what
        to expect of a query that has one answer which nobody has judged. All 0 where no query has several answers.
    """
    asked = found.take(hidden.queries)
    is_hidden = asked.is_positive & (duplicate_of[asked.pool.rows] == hidden.groups[:, None])
    doctored = replace(
        asked,
        is_positive=asked.is_positive & ~is_hidden,
        in_own_cluster=asked.in_own_cluster & ~is_hidden,
        lowest_positive=hidden.lowest_positive,
    )
    verdicts = judge(doctored, rules, slots.take(hidden.queries))
    kept = is_hidden & verdicts.has("kept")
    outcomes = {"in_reach": is_hidden, "allowed": is_hidden & verdicts.has("kept", "not_needed"), "kept": kept}
    return {
        "n_hidden_answers": len(hidden.queries),
        **{f"hidden_answer_{name}_share": _share(which.any(axis=1)) for name, which in outcomes.items()},
        "estimated_false_negative_share": float(kept.sum() / max(1, verdicts.count("kept"))),
    }


def answering_like_queries(negatives: Pairs, positives: Pairs, query_cosines: Scorer) -> dict[str, float]:
    """The share of mined negatives that are relevant to another train query with at least this cosine.

    Limits. Only documents that answer some train query can be caught, and cosines also join queries that differ in the
    one word that matters: a suspicion, no proof. After rounds of training it follows the encoder's idea of meaning.

    Args:
        negatives: the mined ones.
        positives: the relevant documents of all train queries.
        query_cosines: scores pairs of train queries.
    """
    nearest = nearest_other_asker(negatives, positives, query_cosines)
    return {f"negatives_answering_like_query_share@{like}": _share(nearest >= np.float32(like)) for like in LIKE}


def _share(which: BoolArray) -> float:
    return float(which.mean()) if which.size else 0.0


PERCENTILES = (5, 25, 50, 75, 95)


def figures(task: Task, recipe: Recipe, mined: Mined, score: Scorer) -> dict[str, int | float]:
    """What was kept and rejected by which rule, how the scores lie, and how many negatives may be answers."""
    found, verdicts = mined.found, mined.verdicts
    kept = found.scores[verdicts.has("kept")]
    random = mined.random()
    ceiling = np.minimum(*ceilings(found.lowest_positive, recipe.rules()))[random.queries]
    hidden = Hidden.of(task.positives, mined.positive_scores, task.duplicate_of, recipe.seed)
    return {
        "index_recall": mined.dense.recall,
        "n_candidates": int((found.pool.rows >= 0).sum()),
        **{f"n_{reason}": verdicts.count(reason) for reason in REASONS},
        "n_kept_from_lexical": int(verdicts.from_lexical.sum()),
        "n_filled_at_random": len(random.rows),
        "n_filled_too_close": int((score(random) > ceiling).sum()),
        "n_given_by_user": len(task.own.rows),
        "mean_lowest_positive_score": float(found.lowest_positive.mean()),
        "mean_negative_score": float(kept.mean()) if kept.size else 0.0,
        **_percentiles("lowest_positive_score", found.lowest_positive),
        **_percentiles("negative_score", kept),
        **hidden_answers(found, recipe.rules(), mined.slots, hidden, task.duplicate_of),
        **answering_like_queries(mined.kept(), task.positives, cosines(task.query_vectors, task.query_vectors)),
    }


def _percentiles(name: str, scores: FloatArray) -> dict[str, float]:
    values = np.percentile(scores, PERCENTILES) if scores.size else np.zeros(len(PERCENTILES))
    return {f"{name}_p{percentile:02}": float(value) for percentile, value in zip(PERCENTILES, values, strict=True)}
