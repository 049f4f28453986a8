"""The documents that may become hard negatives of a query: what embeddings find near it, and what words find."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Ranks = NDArray[np.int32]

NOT_RANKED = 2**31 - 1  # the place in a list that lacks the candidate
BATCH = 8192  # pairs scored at a time: bounds memory
PART = 2**14  # queries whose candidates are looked at at a time: likewise
LOOKED_UP = 2**20  # pairs whose documents' queries are looked up at a time: likewise


class Pairs(NamedTuple):
    """Queries and documents that belong together: rows of the train queries and of the corpus, (n_pairs,) each."""

    queries: IntArray
    rows: IntArray

    def keys(self) -> IntArray:
        """A number for each pair, the same for the same pair, (n_pairs,)."""
        return keys(self.queries, self.rows)


# what scores pairs of a query and a document, (n_pairs,): higher is nearer; rounded to 6 digits, so that ties are ties
Scorer = Callable[[Pairs], FloatArray]
# what is true or not of each pair, (n_pairs,)
Judge = Callable[[Pairs], BoolArray]


def keys(queries: IntArray, rows: IntArray) -> IntArray:
    """A number for each query and document, the same for the same two; the arrays are broadcast."""
    return (queries << 32) + rows


@dataclass(frozen=True)
class Pool:
    """Every query's candidates, each document once; all arrays are (n_queries, width).

    Attributes:
        rows: rows of the corpus, nearest first, then what only the lexical list has; -1 where there is nothing.
        dense_rank: the place in the list by embeddings, from 0; NOT_RANKED if it is not there.
        lexical_rank: the place in the list by words, likewise.
    """

    rows: IntArray
    dense_rank: Ranks
    lexical_rank: Ranks

    @classmethod
    def of(cls, dense: IntArray, lexical: IntArray) -> "Pool":
        """Joins two lists of rows, (n_queries, depth) each; the lexical one may end early, with -1."""
        if lexical.shape[1] == 0:  # ranks that are views of one row: no memory, however many queries
            return cls(dense, _places(dense), np.broadcast_to(np.int32(NOT_RANKED), dense.shape))
        query = np.arange(len(dense))[:, None]
        _, in_dense, in_lexical = np.intersect1d(keys(query, dense), keys(query, lexical), return_indices=True)
        of_dense = np.full(dense.size, NOT_RANKED, np.int32)
        of_dense[in_dense] = _places(lexical).ravel()[in_lexical]
        alone = lexical.copy()
        alone[np.unravel_index(in_lexical, lexical.shape)] = -1
        not_ranked = np.full(lexical.shape, NOT_RANKED, np.int32)
        return cls(
            rows=np.hstack([dense, alone]),
            dense_rank=np.hstack([_places(dense), not_ranked]),
            lexical_rank=np.hstack([of_dense.reshape(dense.shape), np.where(alone < 0, not_ranked, _places(lexical))]),
        )

    def holds(self, pairs: Pairs) -> BoolArray:
        """Which candidates are among the pairs, which are sorted by query."""
        held = np.empty(self.rows.shape, dtype=np.bool_)
        for part in parts(len(held)):
            first, last = np.searchsorted(pairs.queries, [part.start, part.stop])
            some = Pairs(pairs.queries[first:last], pairs.rows[first:last])
            held[part] = np.isin(keys(np.arange(part.start, part.stop)[:, None], self.rows[part]), some.keys())
        return held

    def which(self, judge: Judge) -> BoolArray:
        """The candidates of which it is true."""
        true = self.rows >= 0
        for part in parts(len(true)):
            query, place = np.nonzero(true[part])
            true[part][query, place] = judge(Pairs(query + part.start, self.rows[part][query, place]))
        return true

    def take(self, queries: IntArray | slice) -> "Pool":
        """The candidates of some queries, which may repeat."""
        return Pool(self.rows[queries], self.dense_rank[queries], self.lexical_rank[queries])


def _places(list_: IntArray) -> Ranks:
    return np.broadcast_to(np.arange(list_.shape[1], dtype=np.int32), list_.shape)


def parts(n_queries: int) -> list[slice]:
    """Some queries after others, so that what is made on the way fits into memory."""
    return [slice(start, min(start + PART, n_queries)) for start in range(0, n_queries, PART)]


def cosines(queries: FloatArray, corpus: FloatArray) -> Scorer:
    """Scores pairs by the inner product of their embeddings, (n_queries, dim) and (n_documents, dim)."""

    def score(pairs: Pairs) -> FloatArray:
        scores = np.empty(len(pairs.rows), dtype=np.float32)
        for start in range(0, len(scores), BATCH):
            part = slice(start, start + BATCH)
            left, right = queries[pairs.queries[part]], corpus[pairs.rows[part]]
            scores[part] = np.round(np.einsum("ij,ij->i", left, right, dtype=np.float64), 6)
        return scores

    return score


def nearest_other_asker(pairs: Pairs, positives: Pairs, query_cosines: Scorer) -> FloatArray:
    """How like a query is the likest of the other train queries that its document answers.

    Looks from each document to who asked for it, so that the work grows with the pairs, not with all queries squared.

    Args:
        pairs: train queries and documents.
        positives: the relevant documents of all train queries.
        query_cosines: scores pairs of train queries.

    Returns:
        The greatest cosine for each pair, (n_pairs,); -1 where nobody else has asked for the document.
    """
    order = np.argsort(positives.rows, kind="stable")
    asked, rows = positives.queries[order], positives.rows[order]
    nearest = np.full(len(pairs.rows), -1, dtype=np.float32)
    for begin in range(0, len(nearest), LOOKED_UP):
        part = slice(begin, begin + LOOKED_UP)
        start = np.searchsorted(rows, pairs.rows[part])
        count = np.searchsorted(rows, pairs.rows[part], side="right") - start
        # for each pair, all places of its document's queries
        pair = np.repeat(np.arange(len(count)), count)
        first, second = (
            pairs.queries[part][pair],
            asked[np.repeat(start - np.cumsum(count) + count, count) + np.arange(count.sum())],
        )
        other = first != second
        np.maximum.at(nearest[part], pair[other], query_cosines(Pairs(first[other], second[other])))
    return nearest


def answers_same_query(vectors: FloatArray, positives: Pairs, same_query: float) -> Judge:
    """Judges whether a document answers another train query that means the same, as far as embeddings can tell.

    Args:
        vectors: (n_queries, dim) embeddings of length 1 of the train queries.
        positives: the relevant documents of each.
        same_query: queries with at least this cosine mean the same; above 1 none do.
    """

    def does(pairs: Pairs) -> BoolArray:
        if same_query > 1:
            return np.zeros(len(pairs.rows), dtype=np.bool_)
        # rounded up to six digits, as scores are, in float32: so is the threshold
        return nearest_other_asker(pairs, positives, cosines(vectors, vectors)) >= np.float32(same_query)

    return does
