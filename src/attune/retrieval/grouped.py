"""Exact search of documents that are embedded in passages: a document scores as its best passage.

Passages are ranked exactly (`exact.top_k`), and the first passage of each document in that ranking is its best one. The
search goes deeper until k documents have come, so the ranking of documents is exact at its cut-off, too. Passages stand
in the order of their documents, so documents of equal score come in the order of the corpus.
"""

import numpy as np

from attune.retrieval.exact import EXTRA, top_k
from attune.retrieval.ties import Search
from attune.runtime.arrays import Float32, Int64

DEEPER = 4  # times as many passages where k of them were of too few documents


def document_top_k(
    queries: Float32, passages: Float32, document_rows: Int64, k: int, threads: int, among: Int64 | None = None
) -> tuple[Float32, Int64]:
    """Returns the k documents with the greatest inner product of a passage for each query.

    Args:
        queries: (n_queries, dim) embeddings.
        passages: (n_passages, dim) embeddings.
        document_rows: the document of each passage, (n_passages,), ascending.
        k: number of documents; all of them if there are fewer.
        threads: CPU threads.
        among: the documents to search, ascending; None for all.

    Returns:
        Scores (n_queries, min(k, n_documents)), descending, and document rows, ascending where scores are equal.
    """
    n_documents = int(document_rows[-1]) + 1 if len(document_rows) else 0
    if len(document_rows) == n_documents:
        return top_k(queries, passages, k, threads, among)
    places = None if among is None else np.flatnonzero(np.isin(document_rows, among))
    n_passages = len(document_rows) if places is None else len(places)
    k = min(k, n_documents if among is None else len(among))
    scores, rows = np.zeros((len(queries), k), np.float32), np.full((len(queries), k), -1, np.int64)
    left, n = np.arange(len(queries)), -(-k * len(document_rows) // n_documents) + EXTRA
    while len(left):
        found, ranked = top_k(queries[left], passages, n, threads, places)
        scores[left], rows[left] = first_of_documents(found, document_rows[ranked], k)
        left = left[(rows[left] < 0).any(axis=1)] if n < n_passages else left[:0]
        n *= DEEPER
    return scores, rows


def first_of_documents(scores: Float32, documents: Int64, k: int) -> tuple[Float32, Int64]:
    """Returns the first k distinct documents of each ranking of passages, in its order.

    Args:
        scores: (n_queries, depth) of the passages, descending.
        documents: (n_queries, depth) row of each passage's document; -1 for none.
        k: number of documents.

    Returns:
        Scores and document rows, (n_queries, k); row -1 and score 0 where a ranking holds fewer documents.
    """
    by_document = np.argsort(documents, axis=1, kind="stable")
    ordered = np.take_along_axis(documents, by_document, axis=1)
    is_new = (ordered >= 0) & (np.diff(ordered, axis=1, prepend=-1) != 0)
    is_first = np.zeros_like(is_new)
    np.put_along_axis(is_first, by_document, is_new, axis=1)
    best = np.argsort(~is_first, axis=1, kind="stable")[:, :k]
    is_first = np.take_along_axis(is_first, best, axis=1)
    rows = np.where(is_first, np.take_along_axis(documents, best, axis=1), -1)
    kept = np.where(is_first, np.take_along_axis(scores, best, axis=1), np.float32(0))
    n_lacking = ((0, 0), (0, k - best.shape[1]))
    return np.pad(kept, n_lacking), np.pad(rows, n_lacking, constant_values=-1)


def document_search(queries: Float32, passages: Float32, document_rows: Int64, threads: int) -> Search:
    """Returns a search of documents by their best passage; see `document_top_k`."""

    def search(rows: Int64, depth: int) -> tuple[Float32, Int64]:
        return document_top_k(queries[rows], passages, document_rows, depth, threads)

    return search
