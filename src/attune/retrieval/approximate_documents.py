"""Approximate search of documents that are embedded in passages, by an index of passages."""

import numpy as np

from attune.retrieval.approximate import Neighbours, approximate_top_k
from attune.retrieval.exact import EXTRA
from attune.retrieval.grouped import document_top_k, first_of_documents
from attune.runtime.arrays import Float32, Int64


def approximate_document_top_k(
    queries: Float32, passages: Float32, document_rows: Int64, k: int, among: Int64, kind: str, seed: int, threads: int
) -> Neighbours:
    """Returns the k documents with the nearest passages by an index of passages; a few true ones may be missed.

    Queries for which the index finds passages of fewer documents are searched exactly.

    Args:
        queries, passages, document_rows, k, threads: as in `document_top_k`.
        among: the documents to search, ascending.
        kind, seed: as in `approximate.approximate_top_k`; the recall is that of passages.
    """
    n_documents = int(document_rows[-1]) + 1 if len(document_rows) else 0
    if len(document_rows) == n_documents:
        return approximate_top_k(queries, passages, k, among, kind, seed, threads)
    places = np.flatnonzero(np.isin(document_rows, among))
    k = min(k, len(among))
    n = -(-k * len(document_rows) // n_documents) + EXTRA
    found = approximate_top_k(queries, passages, n, places, kind, seed, threads)
    scores, rows = first_of_documents(found.scores, document_rows[found.rows], k)
    few = np.flatnonzero((rows < 0).any(axis=1))
    if len(few):
        scores[few], rows[few] = document_top_k(queries[few], passages, document_rows, k, threads, among)
    return Neighbours(scores, rows, found.index, found.recall)
