"""Exact nearest neighbours by inner product, with an order that does not depend on machine, threads or batch size.

FAISS proposes candidates in float32; they are scored again in float64 and rounded to 6 digits, so that duplicates in
the corpus tie exactly, and ties go to the earlier corpus row. Where a tie (or float32 noise) could reach over the last
candidate, all that can tie is scored: the result is exact at the cut-off too. Meant for embeddings of about unit
length, where float32 errors stay below the rounding. The corpus is read in blocks, never copied whole: it may be a
memory-mapped file.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from attune.retrieval.vectors import FloatArray, IntArray, blocks, check

BATCH = 8192  # queries that go through the corpus together: bounds memory, and the corpus is read seldom
FEW = 256  # queries whose last place is unsure, scored together
SCORED = 2  # queries scored again at a time: their candidates stay in the processor's cache
EXTRA = 16  # candidates beyond k
ON_GPU = 2048  # neighbours at most that faiss-gpu finds
SLACK = 2e-6  # a candidate this far below the k-th cannot round to the same score


def top_k(
    queries: FloatArray, corpus: FloatArray, k: int, threads: int, among: IntArray | None = None
) -> tuple[FloatArray, IntArray]:
    """Finds the k corpus rows with the greatest inner product for each query.

    Args:
        queries: (n_queries, dim) embeddings.
        corpus: (n_documents, dim) embeddings.
        k: how many rows to return; all of them when the corpus is smaller.
        threads: how many threads may be used.
        among: the rows of the corpus that count, ascending; None for all.

    Returns:
        Scores (n_queries, min(k, n_documents)), descending, and their corpus rows, ascending where scores are equal.

    Raises:
        BadInput: the corpus is empty, the dimensions differ, or a value is NaN or infinite.
    """
    check(queries, corpus)
    faiss.omp_set_num_threads(threads)
    faiss.cvar.distance_compute_blas_threshold = 1  # its own, 128,000 numbers, makes 300 queries slower than 1000
    k = min(k, len(corpus) if among is None else len(among))
    scores = np.empty((len(queries), k), dtype=np.float32)
    rows = np.empty((len(queries), k), dtype=np.int64)
    # delay: a bar only where it takes a while; disable=None: none where nobody watches
    for start in tqdm(range(0, len(queries), BATCH), desc="search", unit="batch", delay=3, disable=None):
        batch = slice(start, start + BATCH)
        asked = np.ascontiguousarray(queries[batch], dtype=np.float32)
        scores[batch], rows[batch] = _search(asked, corpus, k, threads, among)
    return scores, rows


def _search(
    queries: FloatArray, corpus: FloatArray, k: int, threads: int, among: IntArray | None
) -> tuple[FloatArray, IntArray]:
    """One batch; queries whose k-th place is not yet certain are searched again with all that can be there."""
    proposed, candidates = _propose(queries, corpus, k + EXTRA, among)
    scores, rows = rescored(queries, corpus, candidates, k, threads)
    if candidates.shape[1] == k + EXTRA:  # else these were all there are
        unsure = np.flatnonzero(proposed[:, -1] + SLACK >= scores[:, -1])
        for start in range(0, len(unsure), FEW):
            few = unsure[start : start + FEW]
            scores[few], rows[few] = _scored_in_full(queries[few], corpus, k, scores[few, -1], among)
    return scores, rows


def _propose(queries: FloatArray, corpus: FloatArray, n: int, among: IntArray | None) -> tuple[FloatArray, IntArray]:
    """The n best rows in float32, (n_queries, n) or as many as there are: FAISS's of each block, merged."""
    scores, rows = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    for block_rows, block in blocks(corpus, among):
        found, places = _knn(queries, block, min(n, len(block)))
        scores, rows = np.hstack([scores, found]), np.hstack([rows, block_rows[places]])
        best = np.argsort(-scores, axis=1)[:, :n]
        scores, rows = np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)
    return scores, rows


def _knn(queries: FloatArray, block: FloatArray, n: int) -> tuple[FloatArray, IntArray]:
    """The n best rows of a block in float32: on a GPU where faiss-gpu has one, else on the CPU."""
    metric = faiss.METRIC_INNER_PRODUCT
    if n <= ON_GPU and (gpu := _gpu()) is not None:
        found: tuple[FloatArray, IntArray] = faiss.knn_gpu(gpu, queries, block, n, metric=metric)
    else:
        found = faiss.knn(queries, block, n, metric=metric)
    return found


@cache
def _gpu() -> Any:  # noqa: ANN401  faiss has no types
    """What faiss-gpu computes with, None where it is absent or sees no GPU; made once, it holds memory there."""
    gpus = getattr(faiss, "get_num_gpus", lambda: 0)()
    return faiss.StandardGpuResources() if gpus else None


def rescored(
    queries: FloatArray, corpus: FloatArray, candidates: IntArray, k: int, threads: int
) -> tuple[FloatArray, IntArray]:
    """Scores candidates in float64, rounds, and keeps each query's k best, ties by ascending row.

    Args:
        queries, corpus: (n_queries, dim) and (n_documents, dim).
        candidates: (n_queries, n) rows of the corpus, none twice for a query.
        k: at most n.
        threads: how many score.
    """
    exact = np.empty(candidates.shape)

    def score(start: int) -> None:
        some = slice(start, start + SCORED)
        documents, asked = corpus[candidates[some]].astype(np.float64), queries[some].astype(np.float64)
        # equal texts add up equally here; BLAS's order depends on the place, and is used where rounding absorbs that
        np.einsum("qkd,qd->qk", documents, asked, out=exact[some])

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(score, range(0, len(queries), SCORED)))
    scores = np.round(exact, 6)
    best = np.lexsort((candidates, -scores))[:, :k]
    kept = np.take_along_axis(scores, best, axis=1).astype(np.float32)
    return kept, np.take_along_axis(candidates, best, axis=1)


def _scored_in_full(
    queries: FloatArray, corpus: FloatArray, k: int, floor: FloatArray, among: IntArray | None
) -> tuple[FloatArray, IntArray]:
    """The k best of all rows, where k are known that score at least the floor, (n_queries,).

    Where every row of a block can tie, its scores take FEW x block x 8 bytes: 0.4 GB at 384 dimensions, thrice over.
    """
    exactly = queries.astype(np.float64)
    scores, rows = np.empty((len(queries), 0)), np.empty((len(queries), 0), np.int64)
    for block_rows, block in blocks(corpus, among):
        able = np.flatnonzero((queries @ block.T >= (floor - SLACK)[:, None]).any(axis=0))
        found = np.round(exactly @ block[able].astype(np.float64).T, 6)
        scores = np.hstack([scores, found])
        rows = np.hstack([rows, np.broadcast_to(block_rows[able], found.shape)])
        best = _first(scores, min(k, scores.shape[1]))
        scores, rows = np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")  # rows are ascending among equals
    return np.take_along_axis(scores, order, axis=1).astype(np.float32), np.take_along_axis(rows, order, axis=1)


def _first(scores: NDArray[np.float64], k: int) -> IntArray:
    """Places of the k greatest of each row, ascending; among equals the first. Without sorting: a row may be long."""
    if k == 0:
        return np.empty((len(scores), 0), np.int64)
    last = np.partition(scores, -k, axis=1)[:, [-k]]
    above, equal = scores > last, scores == last
    needed = k - above.sum(axis=1, keepdims=True)
    return np.nonzero(above | (equal & (np.cumsum(equal, axis=1) <= needed)))[1].reshape(len(scores), k)
