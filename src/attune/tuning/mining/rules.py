"""Which of the documents found near a query become its hard negatives, and why the others do not."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from attune.tuning.mining.candidates import NOT_RANKED, BoolArray, FloatArray, IntArray, Pool, parts

# The rules in the order in which they are asked; what passes all of them is kept, or not needed.
RULES = ("positive", "own_negative", "positive_cluster", "same_query", "too_close", "within_margin", "passed_over")
REASONS = (*RULES, "kept", "not_needed")
NOTHING = -1  # the reason of a place without a candidate


@dataclass(frozen=True)
class Rules:
    """How far below a query's lowest positive a negative must score, and how many of the nearest are passed over.

    Attributes:
        max_share_of_positive: of the lowest positive's score, 0..1.
        min_margin: below the lowest positive's score; 0 = none.
        first_rank: how many eligible candidates of each list are passed over, nearest first.
    """

    max_share_of_positive: float
    min_margin: float
    first_rank: int


@dataclass(frozen=True)
class Slots:
    """The places for negatives: how many each query has, (n_queries,), and which words fill, (n_queries, most)."""

    wanted: IntArray
    is_lexical: BoolArray

    @classmethod
    def of(cls, wanted: IntArray, lexical_share: float) -> "Slots":
        """Deals the lexical places out evenly over all places of all queries: at .5 every other one is lexical."""
        place = np.arange(wanted.max(initial=0))
        number = (np.cumsum(wanted) - wanted)[:, None] + place
        # 1e-9: .29 * 100 is just below 29
        due = np.floor((number + 1) * lexical_share + 1e-9) > np.floor(number * lexical_share + 1e-9)
        return cls(wanted, due & (place < wanted[:, None]))

    def take(self, queries: IntArray | slice) -> "Slots":
        """The places of some queries, which may repeat."""
        return Slots(self.wanted[queries], self.is_lexical[queries])


@dataclass(frozen=True)
class Found:
    """What is known of every candidate, each (n_queries, width) as in the pool but the last, which is (n_queries,)."""

    pool: Pool
    scores: FloatArray
    is_positive: BoolArray
    is_own_negative: BoolArray
    in_own_cluster: BoolArray
    answers_same_query: BoolArray
    lowest_positive: FloatArray

    def take(self, queries: IntArray | slice) -> "Found":
        """The candidates of some queries, which may repeat."""
        rest = {field.name: getattr(self, field.name)[queries] for field in fields(self) if field.name != "pool"}
        return Found(self.pool.take(queries), **rest)


@dataclass(frozen=True)
class Verdicts:
    """What became of the candidates.

    Attributes:
        reasons: indices into REASONS, (n_queries, width); NOTHING where there is no candidate.
        picks: which candidate of the pool fills each place, (n_queries, most); -1 where none does.
        from_lexical: whether it was taken from the lexical list, (n_queries, most).
    """

    reasons: NDArray[np.int8]
    picks: IntArray
    from_lexical: BoolArray

    def count(self, reason: str) -> int:
        """How many candidates have this reason."""
        return int(self.has(reason).sum())

    def has(self, *reasons: str) -> BoolArray:
        """The candidates that have one of these reasons."""
        return np.isin(self.reasons, [REASONS.index(reason) for reason in reasons])

    def rows(self, pool: Pool) -> IntArray:
        """The corpus rows of the negatives, (n_queries, most); -1 where none was found."""
        padded = np.hstack([pool.rows, np.full((len(pool.rows), 1), -1)])
        return np.take_along_axis(padded, self.picks, axis=1)


def ceilings(lowest_positive: FloatArray, rules: Rules) -> tuple[FloatArray, FloatArray]:
    """The highest scores that a negative may have, by share and by margin, (n_queries,) each."""
    # a share of a negative number would be above it
    below = np.float32(1 - rules.max_share_of_positive) * np.abs(lowest_positive)
    return lowest_positive - below.astype(np.float32), lowest_positive - np.float32(rules.min_margin)


def judge(found: Found, rules: Rules, slots: Slots) -> Verdicts:
    """Gives every candidate a verdict; where several rules reject it, the first of RULES is the one counted."""
    some = [_judge(found.take(part), rules, slots.take(part)) for part in parts(len(found.scores))]
    if not some:
        some = [_judge(found, rules, slots)]
    return Verdicts(*(np.concatenate([getattr(part, field.name) for part in some]) for field in fields(Verdicts)))


def _judge(found: Found, rules: Rules, slots: Slots) -> Verdicts:
    share, margin = ceilings(found.lowest_positive, rules)
    reasons = np.full(found.scores.shape, REASONS.index("not_needed"), dtype=np.int8)
    rejected = {
        "within_margin": found.scores > margin[:, None],
        "too_close": found.scores > share[:, None],
        "same_query": found.answers_same_query,
        "positive_cluster": found.in_own_cluster,
        "own_negative": found.is_own_negative,
        "positive": found.is_positive,
    }
    for reason, applies in rejected.items():
        reasons[applies] = REASONS.index(reason)
    reasons[found.pool.rows < 0] = NOTHING
    eligible = reasons == REASONS.index("not_needed")
    passed_over = eligible & _among_first(eligible, found.pool, rules.first_rank)
    reasons[passed_over] = REASONS.index("passed_over")
    picks, from_lexical = _pick(eligible & ~passed_over, found.pool, slots)
    query, slot = np.nonzero(picks >= 0)
    reasons[query, picks[query, slot]] = REASONS.index("kept")
    return Verdicts(reasons, picks, from_lexical)


def _among_first(eligible: BoolArray, pool: Pool, n: int) -> BoolArray:
    """The candidates that are among the first n eligible ones of either list."""
    found = np.zeros_like(eligible)
    if n == 0:
        return found
    for rank in (pool.dense_rank, pool.lexical_rank):
        order = np.argsort(rank, axis=1, kind="stable")
        listed = np.take_along_axis(eligible & (rank != NOT_RANKED), order, axis=1)
        first = listed & (np.cumsum(listed, axis=1) <= n)
        sorted_back = np.zeros_like(eligible)
        np.put_along_axis(sorted_back, order, first, axis=1)
        found |= sorted_back
    return found


def _pick(eligible: BoolArray, pool: Pool, slots: Slots) -> tuple[IntArray, BoolArray]:
    """Fills each place with the best eligible candidate of its list, or, where that has no more, of the other."""
    dense, lexical = pool.dense_rank.astype(np.int64), pool.lexical_rank.astype(np.int64)  # sums go beyond 32 bits
    dense_first, lexical_first = (
        np.where(first != NOT_RANKED, first, NOT_RANKED + second)
        for first, second in ((dense, lexical), (lexical, dense))
    )
    in_lexical, only_lexical = pool.lexical_rank != NOT_RANKED, pool.dense_rank == NOT_RANKED
    picks = np.full_like(slots.is_lexical, -1, dtype=np.int64)
    from_lexical = np.zeros_like(slots.is_lexical)
    left = eligible.copy()
    for slot in range(slots.is_lexical.shape[1]):
        by_words = slots.is_lexical[:, slot]
        order = np.where(left, np.where(by_words[:, None], lexical_first, dense_first), 2 * NOT_RANKED + 1)
        best = order.argmin(axis=1)
        query = np.flatnonzero((slot < slots.wanted) & left.any(axis=1))
        best = best[query]
        picks[query, slot] = best
        from_lexical[query, slot] = np.where(by_words[query], in_lexical[query, best], only_lexical[query, best])
        left[query, best] = False
    return picks, from_lexical
