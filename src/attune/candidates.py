"""The documents that may become hard negatives of a query: what embeddings find near it, and what words find."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from attune.retrieval import SLACK

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

NOT_RANKED = 2**31 - 1  # the place in a list that lacks the candidate
BATCH = 8192  # pairs scored at a time: bounds memory


class Pairs(NamedTuple):
    """Queries and documents that belong together: rows of the train queries and of the corpus, (n_pairs,) each."""

    queries: IntArray
    rows: IntArray

    def keys(self) -> IntArray:
        """A number for each pair, the same for the same pair, (n_pairs,)."""
        return keys(self.queries, self.rows)


# what scores pairs of a query and a document, (n_pairs,): higher is nearer; rounded to 6 digits, so that ties are ties
Scorer = Callable[[Pairs], FloatArray]


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
    dense_rank: IntArray
    lexical_rank: IntArray

    @classmethod
    def of(cls, dense: IntArray, lexical: IntArray) -> "Pool":
        """Joins two lists of rows, (n_queries, depth) each; the lexical one may end early, with -1."""
        query = np.arange(len(dense))[:, None]
        _, in_dense, in_lexical = np.intersect1d(keys(query, dense), keys(query, lexical), return_indices=True)
        of_dense = np.full(dense.size, NOT_RANKED)
        of_dense[in_dense] = _places(lexical).ravel()[in_lexical]
        alone = lexical.copy()
        alone[np.unravel_index(in_lexical, lexical.shape)] = -1
        return cls(
            rows=np.hstack([dense, alone]),
            dense_rank=np.hstack([_places(dense), np.full_like(lexical, NOT_RANKED)]),
            lexical_rank=np.hstack([of_dense.reshape(dense.shape), np.where(alone < 0, NOT_RANKED, _places(lexical))]),
        )

    def holds(self, pairs: Pairs) -> BoolArray:
        """Which candidates are among the pairs."""
        return np.isin(keys(np.arange(len(self.rows))[:, None], self.rows), pairs.keys())

    def take(self, queries: IntArray) -> "Pool":
        """The candidates of some queries, which may repeat."""
        return Pool(self.rows[queries], self.dense_rank[queries], self.lexical_rank[queries])


def _places(list_: IntArray) -> IntArray:
    return np.broadcast_to(np.arange(list_.shape[1]), list_.shape)


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


def answers_of_same_queries(vectors: FloatArray, positives: Pairs, same_query: float, threads: int) -> Pairs:
    """What answers the other train queries that mean the same as a query, as far as their embeddings can tell.

    Args:
        vectors: (n_queries, dim) embeddings of length 1.
        positives: the relevant documents of each query, sorted by query.
        same_query: queries with at least this cosine mean the same; above 1 none do.
        threads: how many threads FAISS may use.

    Returns:
        The queries, with the documents that are relevant to another query of the same meaning; sorted, each pair once.
    """
    first, second = _same(vectors, same_query, threads) if same_query <= 1 else (np.empty(0, np.int64),) * 2
    start = np.searchsorted(positives.queries, second)
    count = np.searchsorted(positives.queries, second, side="right") - start
    # for each pair of queries, all places of the second one's documents
    place = np.repeat(start - np.cumsum(count) + count, count) + np.arange(count.sum())
    found = np.unique(keys(np.repeat(first, count), positives.rows[place]))
    return Pairs(found >> 32, found & (2**32 - 1))


def _same(vectors: FloatArray, same_query: float, threads: int) -> tuple[IntArray, IntArray]:
    """All pairs of different queries of the same meaning, both ways round."""
    faiss.omp_set_num_threads(threads)
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    # FAISS proposes in float32 what is decided in float64, as in retrieval
    limits, _, second = index.range_search(vectors, same_query - SLACK)
    n_found: IntArray = limits[1:].astype(np.int64) - limits[:-1].astype(np.int64)
    first = np.repeat(np.arange(len(vectors)), n_found)
    first, second = first[first != second], second[first != second]
    # rounded up to six digits, as scores are, in float32: so is the threshold
    keep = cosines(vectors, vectors)(Pairs(first, second)) >= np.float32(same_query)
    return first[keep], second[keep]
