"""Approximate nearest neighbours by a FAISS index, with the measured recall.

The index only proposes candidates: they are scored and ordered as in exact search, so scores are reliable and only
neighbours can be missing. Their share is measured against exact search on a sample of the queries, every time. Good
enough for candidates of hard negatives, which rules accept or reject; not for evaluation, where a missed document would
count against the encoder, and differently for each encoder.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from attune.retrieval.exact import EXTRA, rescored, top_k
from attune.retrieval.vectors import validate
from attune.runtime.arrays import Float32, Int64
from attune.runtime.indexes import build, factory, recall, search

N_SAMPLE = 500  # queries that recall is measured on: with 50 neighbours each, to about a hundredth
BATCH = 8192  # queries per call of FAISS: bounds memory
OVERFETCH = {"pq": 4}  # candidates per neighbour; pq's scores are coarse, so the right order needs more candidates


@dataclass(frozen=True)
class Neighbours:
    """Nearest neighbours, and the index that proposed them.

    Attributes:
        scores: (n_queries, k), descending.
        rows: of the corpus, (n_queries, k), ascending where scores are equal.
        index: description for faiss.index_factory; `Flat` is exact.
        recall: share of the exact neighbours that were retrieved, on a sample of the queries.
    """

    scores: Float32
    rows: Int64
    index: str
    recall: float


def approximate_top_k(
    queries: Float32, corpus: Float32, k: int, among: Int64, kind: str, seed: int, threads: int
) -> Neighbours:
    """Returns the k corpus rows with the greatest inner product for each query; a few true ones may be missed.

    Args:
        queries: (n_queries, dim) embeddings.
        corpus: (n_documents, dim) embeddings.
        k: number of rows to return; all of them when there are fewer.
        among: the corpus rows to search, ascending.
        kind: of index, one of `runtime.indexes.KINDS`; with too few rows for training, search is exact.
        seed: of the samples of training rows and of queries to measure recall on.
        threads: CPU threads.

    Raises:
        BadInput: the corpus is empty, the dimensions differ, or a value is NaN or infinite.
    """
    description = factory(kind, len(among), corpus.shape[1])
    k = min(k, len(among))
    if description == "Flat":
        return Neighbours(*top_k(queries, corpus, k, threads, among), description, recall=1.0)
    validate(queries, corpus)
    index = build(description, corpus, among, seed, threads)
    n = min(max(k + EXTRA, k * OVERFETCH.get(kind, 1)), len(among))
    scores, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    for start in range(0, len(queries), BATCH):
        batch = slice(start, start + BATCH)
        scores[batch], rows[batch] = _search(index, queries[batch], corpus, k, n, among, threads)
    sample = np.sort(np.random.default_rng(seed).permutation(len(queries))[:N_SAMPLE])
    exact = top_k(queries[sample], corpus, k, threads, among)[1]
    return Neighbours(scores, rows, description, recall(rows[sample], exact) if len(sample) else 1.0)


def _search(
    index: Any,  # noqa: ANN401  faiss has no types
    queries: Float32,
    corpus: Float32,
    k: int,
    n: int,
    among: Int64,
    threads: int,
) -> tuple[Float32, Int64]:
    """Searches one batch; queries for which the index returns fewer than k rows are searched exactly."""
    _, places = search(index, queries, n, threads)
    enough = (places[:, :k] >= 0).all(axis=1)
    scores, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    width = n if (places[enough] >= 0).all() else k
    scores[enough], rows[enough] = rescored(queries[enough], corpus, among[places[enough, :width]], k, threads)
    if not enough.all():
        scores[~enough], rows[~enough] = top_k(queries[~enough], corpus, k, threads, among)
    return scores, rows
