"""Rankings that do not end inside a tie, so that a score does not depend on which of equal documents was kept.

A search to a fixed depth keeps the documents of the lowest corpus rows among those that tie at its last rank. Equal
scores are equal numbers: cosines have 6 digits, BM25 likewise.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from attune.retrieval.exact import top_k
from attune.runtime.arrays import Float32, Int64

# Documents by which a tie is followed beyond the depth: bounds memory. Of a longer one, which empty or repeated texts
# make, the documents of the lowest rows count, and the others as not ranked.
MAX_TIED = 1000

# ranks documents for the queries in these rows to a depth: scores, descending, and document rows, -1 for none
Search = Callable[[Int64, int], tuple[Float32, Int64]]


def exact_search(queries: Float32, corpus: Float32, threads: int) -> Search:
    """Returns a search of a corpus, (n_documents, dim), by inner product; see `exact.top_k`."""

    def search(rows: Int64, depth: int) -> tuple[Float32, Int64]:
        return top_k(queries[rows], corpus, depth, threads)

    return search


def through_ties(search: Search, n_queries: int, depth: int) -> tuple[Float32, Int64]:
    """Ranks documents to a depth, and on to the last document that ties with the one at this depth.

    Args:
        search: is called for all queries, and once more, deeper, for those with a tie at the depth.
        n_queries: number of queries.
        depth: at least 1.

    Returns:
        Scores and document rows, (n_queries, depth or more), as those of a search; row -1 and score 0 beyond the depth
        where no tie reaches.
    """
    scores, rows = search(np.arange(n_queries), depth + 1)
    tied = np.flatnonzero(_in_tie(scores, rows, depth).any(axis=1))
    scores, rows = scores[:, :depth], rows[:, :depth]
    if not len(tied):
        return scores, rows
    deeper_scores, deeper_rows = search(tied, depth + MAX_TIED)
    in_tie = _in_tie(deeper_scores, deeper_rows, depth)
    width = int(in_tie.sum(axis=1).max())
    scores, rows = np.pad(scores, ((0, 0), (0, width))), np.pad(rows, ((0, 0), (0, width)), constant_values=-1)
    part = slice(depth, depth + width)
    scores[tied, part] = np.where(in_tie, deeper_scores[:, depth:], np.float32(0))[:, :width]
    rows[tied, part] = np.where(in_tie, deeper_rows[:, depth:], -1)[:, :width]
    return scores, rows


def _in_tie(scores: Float32, rows: Int64, depth: int) -> NDArray[np.bool_]:
    """Tells which documents beyond a depth have the score of the one at this depth."""
    in_tie: NDArray[np.bool_] = (rows[:, depth:] >= 0) & (scores[:, depth:] == scores[:, depth - 1 : depth])
    return in_tie


def without_pairs(scores: Float32, rows: Int64, pairs: Int64) -> tuple[Float32, Int64]:
    """Returns a ranking without some pairs of query and document: those below move up.

    Args:
        scores: (n_queries, depth) of the ranked documents.
        rows: (n_queries, depth) document rows, -1 where nothing is ranked.
        pairs: (n_pairs, 2) query row, document row.

    Returns:
        Scores and document rows of the same shape; row -1 and score 0 where nothing is ranked.
    """
    if not len(pairs):
        return scores, rows
    is_out = np.isin((np.arange(len(rows))[:, None] << 32) + rows, (pairs[:, 0] << 32) + pairs[:, 1])
    order = np.argsort(is_out, axis=1, kind="stable")
    rows = np.take_along_axis(np.where(is_out, -1, rows), order, axis=1)
    scores = np.take_along_axis(np.where(is_out, np.float32(0), scores), order, axis=1)
    return scores, rows
