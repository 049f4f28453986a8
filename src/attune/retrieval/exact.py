"""Exact nearest neighbours by inner product, in an order independent of machine, threads and batch size.

FAISS proposes candidates in float32. They are scored again in float64 and rounded to 6 digits, so that duplicates in
the corpus tie exactly; ties go to the earlier corpus row. Where a tie (or float32 rounding) could extend beyond the
last candidate, all rows that can tie are scored: the result is exact at the cut-off too. This holds for embeddings of
roughly unit length, whose float32 errors stay below the rounding. The corpus is read in blocks, never copied as a
whole, and may be a memory-mapped file.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import faiss
import numpy as np
from tqdm import tqdm

from attune.retrieval.vectors import blocks, validate
from attune.runtime.arrays import Float32, Float64, Int64
from attune.runtime.faiss_settings import faiss_settings

BATCH = 8192  # queries per pass over the corpus: bounds memory, and the corpus is read seldom
UNSURE_BATCH = 256  # queries whose rank k may be a tie that are scored together
RESCORED_BATCH = 2  # queries scored again at a time: their candidates stay in the processor's cache
EXTRA = 16  # candidates beyond k
MAX_GPU_NEIGHBOURS = 2048  # limit of faiss-gpu
TIE_TOLERANCE = 2e-6  # a candidate this far below the k-th cannot round to the same score
BLAS_THRESHOLD = 1  # FAISS multiplies matrices for any number of queries


def top_k(queries: Float32, corpus: Float32, k: int, threads: int, among: Int64 | None = None) -> tuple[Float32, Int64]:
    """Returns the k corpus rows with the greatest inner product for each query.

    Args:
        queries: (n_queries, dim) embeddings.
        corpus: (n_documents, dim) embeddings.
        k: number of rows to return; all of them when the corpus is smaller.
        threads: CPU threads.
        among: the corpus rows to search, ascending; None for all.

    Returns:
        Scores (n_queries, min(k, n_documents)), descending, and their corpus rows, ascending where scores are equal.

    Raises:
        BadInput: the corpus is empty, the dimensions differ, or a value is NaN or infinite.
    """
    validate(queries, corpus)
    k = min(k, len(corpus) if among is None else len(among))
    scores = np.empty((len(queries), k), dtype=np.float32)
    rows = np.empty((len(queries), k), dtype=np.int64)
    with faiss_settings(faiss, BLAS_THRESHOLD, threads):
        # delay: no bar for quick searches; disable=None: none without a terminal
        for start in tqdm(range(0, len(queries), BATCH), desc="search", unit="batch", delay=3, disable=None):
            part = slice(start, start + BATCH)
            batch = np.ascontiguousarray(queries[part], dtype=np.float32)
            scores[part], rows[part] = _search(batch, corpus, k, threads, among)
    return scores, rows


def _search(queries: Float32, corpus: Float32, k: int, threads: int, among: Int64 | None) -> tuple[Float32, Int64]:
    """Searches one batch; for a query whose rank k may be a tie, scores every row that could reach it."""
    proposed, candidates = _propose(queries, corpus, k + EXTRA, among)
    scores, rows = rescored(queries, corpus, candidates, k, threads)
    if candidates.shape[1] == k + EXTRA:  # fewer candidates are the whole corpus
        unsure = np.flatnonzero(proposed[:, -1] + TIE_TOLERANCE >= scores[:, -1])
        for start in range(0, len(unsure), UNSURE_BATCH):
            part = unsure[start : start + UNSURE_BATCH]
            scores[part], rows[part] = _scored_in_full(queries[part], corpus, k, scores[part, -1], among)
    return scores, rows


def _propose(queries: Float32, corpus: Float32, n: int, among: Int64 | None) -> tuple[Float32, Int64]:
    """Returns the n best rows in float32, (n_queries, min(n, n_documents)): FAISS's of each block, merged."""
    scores, rows = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    for block_rows, block in blocks(corpus, among):
        block_scores, places = _knn(queries, block, min(n, len(block)))
        scores, rows = np.hstack([scores, block_scores]), np.hstack([rows, block_rows[places]])
        best = np.argsort(-scores, axis=1)[:, :n]
        scores, rows = np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)
    return scores, rows


def _knn(queries: Float32, block: Float32, n: int) -> tuple[Float32, Int64]:
    """Returns the n best rows of a block in float32, searched on a GPU where faiss-gpu has one."""
    metric = faiss.METRIC_INNER_PRODUCT
    if n <= MAX_GPU_NEIGHBOURS and (gpu := _gpu()) is not None:
        neighbours: tuple[Float32, Int64] = faiss.knn_gpu(gpu, queries, block, n, metric=metric)
    else:
        neighbours = faiss.knn(queries, block, n, metric=metric)
    return neighbours


@cache
def _gpu() -> Any:  # noqa: ANN401  faiss has no types
    """Returns faiss-gpu's resources, None without it or without a GPU; created once, because they hold GPU memory."""
    gpus = getattr(faiss, "get_num_gpus", lambda: 0)()
    return faiss.StandardGpuResources() if gpus else None


def rescored(queries: Float32, corpus: Float32, candidates: Int64, k: int, threads: int) -> tuple[Float32, Int64]:
    """Scores candidates in float64, rounds, and keeps each query's k best, ties by ascending row.

    Args:
        queries: (n_queries, dim).
        corpus: (n_documents, dim).
        candidates: (n_queries, n) rows of the corpus, none twice for a query.
        k: at most n.
        threads: CPU threads.
    """
    exact = np.empty(candidates.shape)

    def score(start: int) -> None:
        part = slice(start, start + RESCORED_BATCH)
        documents, batch = corpus[candidates[part]].astype(np.float64), queries[part].astype(np.float64)
        # einsum adds up equal texts equally; BLAS's order depends on the place, so it is used only before rounding
        np.einsum("qkd,qd->qk", documents, batch, out=exact[part])

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(score, range(0, len(queries), RESCORED_BATCH)))
    scores = np.round(exact, 6)
    best = np.lexsort((candidates, -scores))[:, :k]
    kept = np.take_along_axis(scores, best, axis=1).astype(np.float32)
    return kept, np.take_along_axis(candidates, best, axis=1)


def _scored_in_full(
    queries: Float32, corpus: Float32, k: int, floor: Float32, among: Int64 | None
) -> tuple[Float32, Int64]:
    """Returns the k best of all rows, given that k rows score at least the floor, (n_queries,).

    If every row of a block can tie, holds up to three arrays of UNSURE_BATCH x block float64 scores, 0.4 GB each at 384
    dimensions.
    """
    exactly = queries.astype(np.float64)
    scores, rows = np.empty((len(queries), 0)), np.empty((len(queries), 0), np.int64)
    for block_rows, block in blocks(corpus, among):
        able = np.flatnonzero((queries @ block.T >= (floor - TIE_TOLERANCE)[:, None]).any(axis=0))
        block_scores = np.round(exactly @ block[able].astype(np.float64).T, 6)
        scores = np.hstack([scores, block_scores])
        rows = np.hstack([rows, np.broadcast_to(block_rows[able], block_scores.shape)])
        best = _greatest(scores, min(k, scores.shape[1]))
        scores, rows = np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")  # rows are ascending among equals
    return np.take_along_axis(scores, order, axis=1).astype(np.float32), np.take_along_axis(rows, order, axis=1)


def _greatest(scores: Float64, k: int) -> Int64:
    """Returns the places of the k greatest of each row, ascending, the first among equals; in linear time."""
    if k == 0:
        return np.empty((len(scores), 0), np.int64)
    last = np.partition(scores, -k, axis=1)[:, [-k]]
    above, equal = scores > last, scores == last
    needed = k - above.sum(axis=1, keepdims=True)
    return np.nonzero(above | (equal & (np.cumsum(equal, axis=1) <= needed)))[1].reshape(len(scores), k)
