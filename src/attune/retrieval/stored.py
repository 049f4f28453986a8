"""Search of documents over vectors that an index keeps in fewer bits, as a service runs it."""

from typing import Any

import numpy as np

from attune.retrieval.exact import EXTRA
from attune.retrieval.grouped import DEEPER, first_of_documents
from attune.retrieval.ties import Search
from attune.runtime import indexes
from attune.runtime.arrays import Float32, Int64
from attune.runtime.storage import set_search, stored

SEED = 0  # of the sample of training rows, as in `runtime.Search`


def stored_index(vectors: Float32, storage: str, threads: int) -> Any:  # noqa: ANN401  faiss has no types
    """Returns the index that `runtime.Search` builds of (n, dim) vectors with this storage."""
    index = indexes.build(stored(storage, "Flat"), vectors, np.arange(len(vectors)), SEED, threads)
    set_search(index)
    return index


def stored_search(queries: Float32, index: Any, document_rows: Int64, threads: int) -> Search:  # noqa: ANN401
    """Returns a search of documents by their best passage; scores have 6 digits, ties go to the earlier document.

    Args:
        queries: (n_queries, dim) embeddings.
        index: of the passages.
        document_rows: (n_passages,) the document of each passage, ascending.
        threads: CPU threads.
    """
    n_passages, n_documents = len(document_rows), int(document_rows[-1]) + 1

    def search(rows: Int64, depth: int) -> tuple[Float32, Int64]:
        k = min(depth, n_documents)
        scores, documents = np.zeros((len(rows), k), np.float32), np.full((len(rows), k), -1, np.int64)
        # not one passage more than needed: an index that looks twice takes candidates by their number
        left, n = np.arange(len(rows)), k if n_passages == n_documents else -(-k * n_passages // n_documents) + EXTRA
        while len(left):
            n = min(n, n_passages)
            found, places = indexes.search(index, queries[rows[left]], n, threads)
            found = np.where(places >= 0, np.round(found, 6), np.float32(-np.inf))
            ranked = np.where(places >= 0, document_rows[places], -1)
            order = np.lexsort((ranked, -found))
            found, ranked = (np.take_along_axis(side, order, axis=1) for side in (found, ranked))
            scores[left], documents[left] = first_of_documents(found, ranked, k)
            left = left[(documents[left] < 0).any(axis=1)] if n < n_passages else left[:0]
            n *= DEEPER
        return scores, documents

    return search
