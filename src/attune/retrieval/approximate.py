"""Near neighbours by an index that may miss some, and how many it misses.

The index only proposes: what it finds is scored and ordered as exact search does it, so scores can be relied on and
only neighbours can be lacking. Their share is measured against exact search on a sample of the queries, every time.
Good enough for candidates, where the rules decide what becomes of them. Not for evaluation, where a miss would be
taken for a fault of the encoder, and differently for each encoder.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attune.retrieval.exact import EXTRA, rescored, top_k
from attune.retrieval.vectors import FloatArray, IntArray, check
from attune.runtime.indexes import build, factory, recall

N_SAMPLE = 500  # queries that recall is measured on: with 50 neighbours each, to about a hundredth
BATCH = 8192  # queries per call of FAISS: bounds memory
PROPOSED = {"pq": 4}  # times k: its scores are coarse, so that the right order is found only among more


@dataclass(frozen=True)
class Neighbours:
    """What was found, and by what.

    Attributes:
        scores: (n_queries, k), descending.
        rows: of the corpus, (n_queries, k), ascending where scores are equal.
        index: in the language of faiss.index_factory; `Flat` is exact.
        recall: the share of the exact neighbours that were found, on a sample of the queries.
    """

    scores: FloatArray
    rows: IntArray
    index: str
    recall: float


def near(
    queries: FloatArray, corpus: FloatArray, k: int, among: IntArray, kind: str, seed: int, threads: int
) -> Neighbours:
    """Finds about the k corpus rows with the greatest inner product for each query.

    Args:
        queries: (n_queries, dim) embeddings.
        corpus: (n_documents, dim) embeddings.
        k: how many rows to return; all of them when there are fewer.
        among: the rows of the corpus that count, ascending.
        kind: of index, one of `runtime.indexes.KINDS`; with too few rows to train it, exact search is done instead.
        seed: of the draws, of rows to train on and of queries to measure on.
        threads: how many may be used.

    Raises:
        BadInput: the corpus is empty, the dimensions differ, or a value is NaN or infinite.
    """
    description = factory(kind, len(among), corpus.shape[1])
    k = min(k, len(among))
    if description == "Flat":
        return Neighbours(*top_k(queries, corpus, k, threads, among), description, recall=1.0)
    check(queries, corpus)
    index = build(description, corpus, among, seed, threads)
    n = min(max(k + EXTRA, k * PROPOSED.get(kind, 1)), len(among))
    scores, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    for start in range(0, len(queries), BATCH):
        batch = slice(start, start + BATCH)
        scores[batch], rows[batch] = _batch(index, queries[batch], corpus, k, n, among, threads)
    sample = np.sort(np.random.default_rng(seed).permutation(len(queries))[:N_SAMPLE])
    exact = top_k(queries[sample], corpus, k, threads, among)[1]
    return Neighbours(scores, rows, description, recall(rows[sample], exact) if len(sample) else 1.0)


def _batch(
    index: Any,  # noqa: ANN401  faiss has no types
    queries: FloatArray,
    corpus: FloatArray,
    k: int,
    n: int,
    among: IntArray,
    threads: int,
) -> tuple[NDArray[np.float32], IntArray]:
    """Queries for which the index has fewer than k rows are answered exactly."""
    _, places = index.search(np.ascontiguousarray(queries, dtype=np.float32), n)
    enough = (places[:, :k] >= 0).all(axis=1)
    scores, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    width = n if (places[enough] >= 0).all() else k
    scores[enough], rows[enough] = rescored(queries[enough], corpus, among[places[enough, :width]], k, threads)
    if not enough.all():
        scores[~enough], rows[~enough] = top_k(queries[~enough], corpus, k, threads, among)
    return scores, rows
