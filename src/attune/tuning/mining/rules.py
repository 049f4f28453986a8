"""The rules that reject hard-negative candidates, and the choice of negatives among the candidates that pass.

Each candidate gets one outcome, the first in this list that applies; all but the last two reject it:

    positive       it is judged relevant to the query; near-identical documents share their judgments (stage prepare)
    like_query     it is judged relevant to another train query that reads nearly the same (prepare.similar_query)
    own_text       its text is the query's own text (split.leave_out_own_text)
    own_negative   the user's data gives it as a negative of the query, so it is used already
    same_query     it is relevant to another train query with the same meaning (mine.same_query)
    too_close      it scores above mine.max_share_of_positive times the query's lowest positive
    within_margin  it scores above the query's lowest positive minus mine.min_margin
    passed_over    it is one of the mine.first_rank nearest eligible candidates of a ranking
    kept           it becomes a negative
    not_needed     it passed all rules, but nearer candidates fill the query's slots

Every rule judges a pair of query and document. None rejects by connected components: with a few answers per query and a
few queries per document, nearly all rows hang together, and a query would have next to nothing to choose from.

The two limits on the score are positive-aware mining (Moreira et al. 2024, "NV-Retriever", arXiv 2407.15831): the
nearest unjudged documents are often right answers.

As a last resort, random fill (`random_fill.py`) may take rejected candidates and the query's own negatives, but never
a document that positive, like_query, own_text or same_query rejects.
"""

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from attune.runtime.arrays import Float32, Int64
from attune.stage import Machine, Params
from attune.tuning.mining.candidates import NOT_RANKED, Bool, Pool, query_blocks

# in order of precedence
RULES = (
    *("positive", "like_query", "own_text", "own_negative", "same_query"),
    *("too_close", "within_margin", "passed_over"),
)
REASONS = (*RULES, "kept", "not_needed")
NO_CANDIDATE = -1  # reason where the pool holds no candidate


class MineParams(Params):
    """Number of negatives, search for candidates, and thresholds of the rules.

    Attributes:
        n_negatives: negatives per training row: those of the user's data first, the rest mined.
        lexical_share: share of mined negatives taken from BM25's ranking.
        depth: candidates per ranking.
        index: type of the FAISS index; flat is exact.
        first_rank: number of nearest eligible candidates of each ranking that are passed over.
        max_share_of_positive: highest score of a negative, as a share of the query's lowest positive.
        min_margin: least distance of a negative's score below the query's lowest positive.
        same_query: least cosine of train queries that mean the same; above 1 turns the rule off.
        reranker: folder of the cross-encoder that scores candidates and positives; '' scores them by cosine.
        n_sample: negatives drawn for inspection.
    """

    n_negatives: int = Field(ge=0, le=16)
    lexical_share: float = Field(ge=0, le=1)
    depth: int = Field(ge=1, le=1000)
    index: Literal["flat", "ivf", "hnsw", "sq8", "pq"]
    first_rank: int = Field(ge=0, le=1000)
    max_share_of_positive: float = Field(gt=0, le=1)
    min_margin: float = Field(ge=0, le=1)
    same_query: float = Field(ge=0.7, le=1.01)
    reranker: str = Field(pattern=r"^(\w[\w.-]*)?$")
    n_sample: int = Field(ge=0, le=1000)
    machine: Machine


@dataclass(frozen=True)
class Slots:
    """Number of negatives to mine per query, and the ranking that each is taken from.

    Attributes:
        n_needed: number of negatives, (n_queries,); `most` is the largest.
        is_lexical: True for slots filled from BM25's ranking, (n_queries, most).
    """

    n_needed: Int64
    is_lexical: Bool

    @classmethod
    def of(cls, n_needed: Int64, lexical_share: float) -> "Slots":
        """Spreads the lexical slots evenly over the slots of all queries: at 0.5 every other one is lexical."""
        place = np.arange(n_needed.max(initial=0))
        number = (np.cumsum(n_needed) - n_needed)[:, None] + place
        # 1e-9: in floating point, .29 * 100 is just below 29
        is_due = np.floor((number + 1) * lexical_share + 1e-9) > np.floor(number * lexical_share + 1e-9)
        return cls(n_needed, is_due & (place < n_needed[:, None]))

    def take(self, queries: Int64 | slice) -> "Slots":
        """Returns the slots of some queries, which may repeat."""
        return Slots(self.n_needed[queries], self.is_lexical[queries])


@dataclass(frozen=True)
class Candidates:
    """Candidates with the properties that the rules test, each (n_queries, width); lowest_positive is (n_queries,)."""

    pool: Pool
    scores: Float32
    is_positive: Bool
    answers_like_query: Bool
    is_own_text: Bool
    is_own_negative: Bool
    answers_same_query: Bool
    lowest_positive: Float32

    def take(self, queries: Int64 | slice) -> "Candidates":
        """Returns the candidates of some queries, which may repeat."""
        rest = {field.name: getattr(self, field.name)[queries] for field in fields(self) if field.name != "pool"}
        return Candidates(self.pool.take(queries), **rest)


@dataclass(frozen=True)
class Selection:
    """The reason of every candidate, and the candidates chosen as negatives.

    Attributes:
        reasons: indices into REASONS, (n_queries, width); NO_CANDIDATE where there is none.
        picks: column of the pool that fills each slot, (n_queries, most); -1 where the slot stays empty.
        from_lexical: True where the pick was taken from the lexical list, (n_queries, most).
    """

    reasons: NDArray[np.int8]
    picks: Int64
    from_lexical: Bool

    def count(self, reason: str) -> int:
        """Returns the number of candidates with this reason."""
        return int(self.has(reason).sum())

    def has(self, *reasons: str) -> Bool:
        """Returns a mask of the candidates with one of these reasons."""
        return np.isin(self.reasons, [REASONS.index(reason) for reason in reasons])

    def rows(self, pool: Pool) -> Int64:
        """Returns the corpus rows of the negatives, (n_queries, most); -1 where a slot is empty."""
        padded = np.hstack([pool.rows, np.full((len(pool.rows), 1), -1)])
        return np.take_along_axis(padded, self.picks, axis=1)


def score_limits(lowest_positive: Float32, params: MineParams) -> tuple[Float32, Float32]:
    """Returns the highest allowed score by max_share_of_positive and by min_margin, (n_queries,) each."""
    # measured downwards from the positive: a share of a negative score would lie above it
    distance = np.float32(1 - params.max_share_of_positive) * np.abs(lowest_positive)
    return lowest_positive - distance.astype(np.float32), lowest_positive - np.float32(params.min_margin)


def apply_rules(candidates: Candidates, params: MineParams, slots: Slots) -> Selection:
    """Rejects candidates by the rules and fills each query's slots with the nearest that are left."""
    blocks = query_blocks(len(candidates.scores))
    selections = [_apply_rules(candidates.take(block), params, slots.take(block)) for block in blocks]
    if not selections:  # no query
        selections = [_apply_rules(candidates, params, slots)]
    return Selection(
        *(np.concatenate([getattr(part, field.name) for part in selections]) for field in fields(Selection))
    )


def _apply_rules(candidates: Candidates, params: MineParams, slots: Slots) -> Selection:
    limit_by_share, limit_by_margin = score_limits(candidates.lowest_positive, params)
    reasons = np.full(candidates.scores.shape, REASONS.index("not_needed"), dtype=np.int8)
    rejected = {  # in reverse order of precedence: a later entry overwrites an earlier one
        "within_margin": candidates.scores > limit_by_margin[:, None],
        "too_close": candidates.scores > limit_by_share[:, None],
        "same_query": candidates.answers_same_query,
        "own_negative": candidates.is_own_negative,
        "own_text": candidates.is_own_text,
        "like_query": candidates.answers_like_query,
        "positive": candidates.is_positive,
    }
    for reason, mask in rejected.items():
        reasons[mask] = REASONS.index(reason)
    reasons[candidates.pool.rows < 0] = NO_CANDIDATE
    eligible = reasons == REASONS.index("not_needed")
    passed_over = eligible & _among_first(eligible, candidates.pool, params.first_rank)
    reasons[passed_over] = REASONS.index("passed_over")
    picks, from_lexical = _pick(eligible & ~passed_over, candidates.pool, slots)
    query, slot = np.nonzero(picks >= 0)
    reasons[query, picks[query, slot]] = REASONS.index("kept")
    return Selection(reasons, picks, from_lexical)


def _among_first(eligible: Bool, pool: Pool, n: int) -> Bool:
    """Returns a mask of the candidates that are among the first n eligible ones of either list."""
    mask = np.zeros_like(eligible)
    if n == 0:
        return mask
    for rank in (pool.dense_rank, pool.lexical_rank):
        order = np.argsort(rank, axis=1, kind="stable")
        listed = np.take_along_axis(eligible & (rank != NOT_RANKED), order, axis=1)
        first = listed & (np.cumsum(listed, axis=1) <= n)
        in_pool_order = np.zeros_like(eligible)
        np.put_along_axis(in_pool_order, order, first, axis=1)
        mask |= in_pool_order
    return mask


def _pick(eligible: Bool, pool: Pool, slots: Slots) -> tuple[Int64, Bool]:
    """Fills each slot with the best eligible candidate of its list or, if that has no more, of the other list."""
    dense, lexical = pool.dense_rank.astype(np.int64), pool.lexical_rank.astype(np.int64)  # sums exceed 32 bits
    dense_first, lexical_first = (
        np.where(own != NOT_RANKED, own, NOT_RANKED + other) for own, other in ((dense, lexical), (lexical, dense))
    )
    in_lexical, only_lexical = pool.lexical_rank != NOT_RANKED, pool.dense_rank == NOT_RANKED
    picks = np.full_like(slots.is_lexical, -1, dtype=np.int64)
    from_lexical = np.zeros_like(slots.is_lexical)
    left = eligible.copy()
    for slot in range(slots.is_lexical.shape[1]):
        is_lexical = slots.is_lexical[:, slot]
        order = np.where(left, np.where(is_lexical[:, None], lexical_first, dense_first), 2 * NOT_RANKED + 1)
        best = order.argmin(axis=1)
        query = np.flatnonzero((slot < slots.n_needed) & left.any(axis=1))
        best = best[query]
        picks[query, slot] = best
        from_lexical[query, slot] = np.where(is_lexical[query], in_lexical[query, best], only_lexical[query, best])
        left[query, best] = False
    return picks, from_lexical
