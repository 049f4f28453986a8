"""Exact nearest neighbours by inner product, with an order that does not depend on machine, threads or batch size.

FAISS proposes candidates in float32; they are scored again in float64 and rounded to 6 digits, so that duplicates in
the corpus tie exactly, and ties go to the earlier corpus row. Where a tie (or float32 noise) could reach over the last
candidate, more are fetched, up to the whole corpus: the result is exact at the cut-off too. Meant for embeddings of
about unit length, where float32 errors stay below the rounding.
"""

from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from attune.errors import BadInput

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

BATCH = 1024  # queries per FAISS call: bounds memory, long enough to keep every thread busy
EXTRA = 16  # candidates beyond k at the first attempt
SLACK = 2e-6  # a candidate this far below the k-th cannot round to the same score


def top_k(queries: FloatArray, corpus: FloatArray, k: int, threads: int) -> tuple[FloatArray, IntArray]:
    """Finds the k corpus rows with the greatest inner product for each query.

    Args:
        queries: (n_queries, dim) embeddings.
        corpus: (n_documents, dim) embeddings.
        k: how many rows to return; all of them when the corpus is smaller.
        threads: how many threads FAISS may use.

    Returns:
        Scores (n_queries, min(k, n_documents)), descending, and their corpus rows, ascending where scores are equal.

    Raises:
        BadInput: the corpus is empty, the dimensions differ, or a value is NaN or infinite.
    """
    _check(queries, corpus)
    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatIP(corpus.shape[1])
    index.add(np.ascontiguousarray(corpus, dtype=np.float32))
    k = min(k, len(corpus))
    scores = np.empty((len(queries), k), dtype=np.float32)
    rows = np.empty((len(queries), k), dtype=np.int64)
    # delay: a bar only for a search that takes a while; disable=None: none where nobody watches
    for start in tqdm(range(0, len(queries), BATCH), desc="search", unit="batch", delay=3, disable=None):
        batch = slice(start, start + BATCH)
        scores[batch], rows[batch] = _search(index, queries[batch], corpus, k, k + EXTRA)
    return scores, rows


def _search(
    index: faiss.Index, queries: FloatArray, corpus: FloatArray, k: int, fetch: int
) -> tuple[FloatArray, IntArray]:
    """One batch; queries whose k-th place is not yet certain are searched again with twice as many candidates."""
    fetch = min(fetch, len(corpus))
    proposed, candidates = index.search(np.ascontiguousarray(queries, dtype=np.float32), fetch)
    ranked = [_rank(query, corpus, found, k) for query, found in zip(queries, candidates, strict=True)]
    scores = np.array([score for score, _ in ranked], dtype=np.float32)
    rows = np.array([row for _, row in ranked], dtype=np.int64)
    if fetch < len(corpus):
        unsure = np.flatnonzero(proposed[:, -1] + SLACK >= scores[:, -1])
        if unsure.size:
            scores[unsure], rows[unsure] = _search(index, queries[unsure], corpus, k, 2 * fetch)
    return scores, rows


def _rank(query: FloatArray, corpus: FloatArray, candidates: IntArray, k: int) -> tuple[NDArray[np.float64], IntArray]:
    """Scores candidates in float64 and keeps the k best, ties by ascending row."""
    scores = np.round(corpus[candidates].astype(np.float64) @ query.astype(np.float64), 6)
    best = np.lexsort((candidates, -scores))[:k]
    return scores[best], candidates[best]


def _check(queries: FloatArray, corpus: FloatArray) -> None:
    if len(corpus) == 0:
        raise BadInput("retrieval: the corpus has no embeddings; at least one document is needed")
    if queries.shape[1] != corpus.shape[1]:
        raise BadInput(
            f"retrieval: queries have {queries.shape[1]} dimensions, the corpus {corpus.shape[1]}; "
            "embed both with the same encoder"
        )
    for name, array in (("query", queries), ("corpus", corpus)):
        bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
        if bad.size:
            raise BadInput(
                f"retrieval: {bad.size} {name} embeddings hold NaN or infinity (first: row {bad[0]}); "
                "check the encoder and embed again"
            )


def load_embeddings(path: Path, n_rows: int, table: str) -> FloatArray:
    """Opens (n_rows, dim) embeddings without reading them into memory.

    Raises:
        BadInput: the file is missing or damaged, or holds another number of rows than the table it belongs to.
    """
    try:
        array: FloatArray = np.load(path, mmap_mode="r")
    except FileNotFoundError:
        raise BadInput(f"{path}: not found; run `dvc repro` to make it") from None
    except (ValueError, EOFError) as error:
        raise BadInput(f"{path}: not a readable array ({error}); delete it and run `dvc repro`") from None
    if array.ndim != 2 or len(array) != n_rows:
        raise BadInput(
            f"{path}: shape {array.shape}, expected {n_rows} rows as in {table}; embed again with `dvc repro`"
        )
    return array
