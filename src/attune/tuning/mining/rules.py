"""The rules that reject hard-negative candidates, and the choice of negatives among the candidates that pass.

A row of training is a query with one of its positives. Each candidate of the query gets one outcome in each row, the
first in this list that applies; all but the last two reject it:

    positive       it is judged relevant to the query; near-identical documents share their judgments (stage prepare)
    like_query     it is judged relevant to another train query that reads nearly the same (prepare.similar_query)
    own_text       its text is the query's own text (split.leave_out_own_text)
    own_negative   the user's data gives it as a negative of the query, so it is used already
    same_query     it is relevant to another train query with the same meaning (mine.same_query)
    too_close      it scores above mine.max_share_of_positive times the row's own positive
    within_margin  it scores above the row's own positive minus mine.min_margin
    passed_over    it is one of the mine.first_rank nearest eligible candidates of a ranking
    kept           it becomes a negative
    not_needed     it passed all rules, but others fill the row's slots

Every rule judges a pair of query and document. None rejects by connected components: with a few answers per query and a
few queries per document, nearly all rows hang together, and a query would have next to nothing to choose from.

The two limits on the score are positive-aware mining (Moreira et al. 2024, "NV-Retriever", arXiv 2407.15831): the
nearest unjudged documents are often right answers. Training compares a negative with the positive of its own row, and
so do the limits: measured from the lowest of forty positives, they would leave a query next to no near candidate.

A slot gets the nearest candidate among those that the query's other rows use least. Rows choose in the order of their
positives' scores, lowest first, because the lowest has the fewest to choose from.

As a last resort, random fill (`random_fill.py`) may take rejected candidates and the query's own negatives, but never
a document that positive, like_query, own_text or same_query rejects.
"""

from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

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
NOT_LEFT = 2**62  # above the place of every candidate that is left


class MineParams(Params):
    """Number of negatives, search for candidates, and thresholds of the rules.

    Attributes:
        n_negatives: negatives per training row: those of the user's data first, the rest mined.
        lexical_share: share of mined negatives taken from BM25's ranking.
        depth: candidates per ranking.
        index: type of the FAISS index; flat is exact.
        first_rank: number of nearest eligible candidates of each ranking that are passed over.
        max_share_of_positive: highest score of a negative, as a share of its row's positive.
        min_margin: least distance of a negative's score below its row's positive.
        same_query: least cosine of train queries that mean the same; above 1 turns the rule off.
        positive_passage: passage in which training reads a relevant document: the nearest to the query, or the first.
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
    positive_passage: Literal["nearest", "first"]
    reranker: str = Field(pattern=r"^(\w[\w.-]*)?$")
    n_sample: int = Field(ge=0, le=1000)
    machine: Machine


class Rows(NamedTuple):
    """Rows of training, each a query with one of its positives.

    Attributes:
        queries: number of each row's query among the candidates, ascending, (n_rows,).
        positive_scores: score of each row's own positive, (n_rows,).
    """

    queries: Int64
    positive_scores: Float32

    def turns(self, block: slice) -> list[Int64]:
        """Returns the rows of some queries in turns, each with one row of every query that has any left.

        A query's rows come in the order of their positives' scores, lowest first.
        """
        first, last = np.searchsorted(self.queries, [block.start, block.stop])
        queries = self.queries[first:last]
        order = first + np.lexsort((self.positive_scores[first:last], queries))
        turn = np.arange(len(queries)) - np.searchsorted(queries, queries)
        return np.split(order[np.argsort(turn, kind="stable")], np.cumsum(np.bincount(turn))[:-1])


@dataclass(frozen=True)
class Slots:
    """Number of negatives to mine per row, and the ranking that each is taken from.

    Attributes:
        n_needed: number of negatives, (n_rows,); `most` is the largest.
        is_lexical: True for slots filled from BM25's ranking, (n_rows, most).
    """

    n_needed: Int64
    is_lexical: Bool

    @classmethod
    def of(cls, n_needed: Int64, lexical_share: float) -> "Slots":
        """Spreads the lexical slots evenly over the slots of all rows: at 0.5 every other one is lexical."""
        place = np.arange(n_needed.max(initial=0))
        number = (np.cumsum(n_needed) - n_needed)[:, None] + place
        # 1e-9: in floating point, .29 * 100 is just below 29
        is_due = np.floor((number + 1) * lexical_share + 1e-9) > np.floor(number * lexical_share + 1e-9)
        return cls(n_needed, is_due & (place < n_needed[:, None]))

    def take(self, rows: Int64) -> "Slots":
        """Returns the slots of some rows, which may repeat."""
        return Slots(self.n_needed[rows], self.is_lexical[rows])


@dataclass(frozen=True)
class Candidates:
    """Candidates of each query with the properties that the rules test, each (n_queries, width)."""

    pool: Pool
    scores: Float32
    is_positive: Bool
    answers_like_query: Bool
    is_own_text: Bool
    is_own_negative: Bool
    answers_same_query: Bool

    def take(self, queries: Int64) -> "Candidates":
        """Returns the candidates of some queries, which may repeat."""
        rest = {field.name: getattr(self, field.name)[queries] for field in fields(self) if field.name != "pool"}
        return Candidates(self.pool.take(queries), **rest)


@dataclass(frozen=True)
class Selection:
    """The reason of every candidate in each row, and the candidates chosen as negatives.

    Attributes:
        reasons: indices into REASONS, (n_rows, width); NO_CANDIDATE where there is none.
        picks: column of the pool that fills each slot, (n_rows, most); -1 where the slot stays empty.
        from_lexical: True where the pick was taken from the lexical list, (n_rows, most).
    """

    reasons: NDArray[np.int8]
    picks: Int64
    from_lexical: Bool

    @classmethod
    def empty(cls, n_rows: int, width: int, most: int) -> "Selection":
        """Returns a selection in which no candidate has a reason yet."""
        return cls(
            reasons=np.full((n_rows, width), NO_CANDIDATE, dtype=np.int8),
            picks=np.full((n_rows, most), -1, dtype=np.int64),
            from_lexical=np.zeros((n_rows, most), dtype=np.bool_),
        )

    def count(self, reason: str) -> int:
        """Returns the number of candidates with this reason, each counted in every row of its query."""
        return int(self.has(reason).sum())

    def has(self, *reasons: str) -> Bool:
        """Returns a mask of the candidates with one of these reasons."""
        return np.isin(self.reasons, [REASONS.index(reason) for reason in reasons])

    def documents(self, pool: Pool, queries: Int64) -> Int64:
        """Returns the negatives as rows of the corpus, (n_rows, most); -1 where a slot is empty.

        Args:
            pool: candidates of each query.
            queries: number of each row's query in the pool, (n_rows,).
        """
        documents: Int64 = np.where(self.picks < 0, -1, pool.rows[queries[:, None], self.picks])
        return documents


def score_limits(positive_scores: Float32, params: MineParams) -> tuple[Float32, Float32]:
    """Returns the highest allowed score by max_share_of_positive and by min_margin, (n_rows,) each."""
    # measured downwards from the positive: a share of a negative score would lie above it
    distance = np.float32(1 - params.max_share_of_positive) * np.abs(positive_scores)
    return positive_scores - distance.astype(np.float32), positive_scores - np.float32(params.min_margin)


def apply_rules(candidates: Candidates, rows: Rows, params: MineParams, slots: Slots) -> Selection:
    """Rejects candidates by the rules and fills each row's slots with the nearest that other rows use least."""
    selection = Selection.empty(len(rows.queries), candidates.scores.shape[1], slots.is_lexical.shape[1])
    for block in query_blocks(len(candidates.scores)):
        n_uses = np.zeros_like(candidates.scores[block], dtype=np.int64)
        for turn in rows.turns(block):
            queries, place = rows.queries[turn], rows.queries[turn] - block.start
            limits = score_limits(rows.positive_scores[turn], params)
            part = _apply_rules(candidates.take(queries), limits, params.first_rank, slots.take(turn), n_uses[place])
            for field in fields(Selection):
                getattr(selection, field.name)[turn] = getattr(part, field.name)
            row, slot = np.nonzero(part.picks >= 0)
            n_uses[place[row], part.picks[row, slot]] += 1
    return selection


def _apply_rules(
    candidates: Candidates, limits: tuple[Float32, Float32], first_rank: int, slots: Slots, n_uses: Int64
) -> Selection:
    """Returns the selection of one row for each query, by its limits; n_uses: uses of each candidate by other rows."""
    limit_by_share, limit_by_margin = limits
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
    passed_over = eligible & _among_first(eligible, candidates.pool, first_rank)
    reasons[passed_over] = REASONS.index("passed_over")
    picks, from_lexical = _pick(eligible & ~passed_over, candidates.pool, slots, n_uses)
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


def _pick(eligible: Bool, pool: Pool, slots: Slots, n_uses: Int64) -> tuple[Int64, Bool]:
    """Fills each slot with the best eligible candidate of its list or, if that has no more, of the other list.

    Candidates that other rows use less come first, in whichever list they are.
    """
    dense, lexical = pool.dense_rank.astype(np.int64), pool.lexical_rank.astype(np.int64)  # sums exceed 32 bits
    by_uses = 2 * NOT_RANKED * n_uses  # every sum of two ranks is below 2 * NOT_RANKED
    dense_first, lexical_first = (
        by_uses + np.where(own != NOT_RANKED, own, NOT_RANKED + other)
        for own, other in ((dense, lexical), (lexical, dense))
    )
    in_lexical, only_lexical = pool.lexical_rank != NOT_RANKED, pool.dense_rank == NOT_RANKED
    picks = np.full_like(slots.is_lexical, -1, dtype=np.int64)
    from_lexical = np.zeros_like(slots.is_lexical)
    left = eligible.copy()
    for slot in range(slots.is_lexical.shape[1]):
        is_lexical = slots.is_lexical[:, slot]
        order = np.where(left, np.where(is_lexical[:, None], lexical_first, dense_first), NOT_LEFT)
        best = order.argmin(axis=1)
        query = np.flatnonzero((slot < slots.n_needed) & left.any(axis=1))
        best = best[query]
        picks[query, slot] = best
        from_lexical[query, slot] = np.where(is_lexical[query], in_lexical[query, best], only_lexical[query, best])
        left[query, best] = False
    return picks, from_lexical
