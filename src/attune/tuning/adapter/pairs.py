"""Pairs of train for a softmax over frozen document embeddings, a document of several passages as its nearest one."""

import numpy as np
from numpy.typing import NDArray

from attune.runtime.arrays import Float32, Int64
from attune.tuning.adapter.fit import Pairs, without_tiny


def train_pairs(
    judgments: Int64,
    own_texts: Int64,
    is_usable: NDArray[np.bool_],
    queries: Float32,
    document_rows: Int64,
    documents: Float32,
) -> Pairs:
    """Returns the pairs of train with the embeddings of the documents that train may use.

    A document of several passages is the passage nearest to the query.

    Args:
        judgments: (n, 3) query row, document row, relevance.
        own_texts: (n, 2) query row, document row of documents with the query's own text.
        is_usable: (n_documents,) of the documents of train.
        queries: (n_queries, dim) embeddings.
        document_rows: (n_passages,) document row of each passage, ascending.
        documents: (n_passages, dim) embeddings.
    """
    kept = np.flatnonzero(is_usable[document_rows])
    own, vectors = document_rows[kept], documents[kept]

    def ranges(pairs: Int64) -> tuple[Int64, Int64, Int64]:
        """Returns the query row of each pair with a usable document, and the range of its document's passages."""
        pairs = pairs[is_usable[pairs[:, 1]]]
        return pairs[:, 0], np.searchsorted(own, pairs[:, 1]), np.searchsorted(own, pairs[:, 1], side="right")

    relevant = judgments[judgments[:, 2] > 0, :2]
    pairs = [
        (query, start + int(np.argmax(vectors[start:stop] @ queries[query])))
        for query, start, stop in zip(*ranges(relevant), strict=True)
    ]
    masked = [
        (query, row)
        for query, start, stop in zip(*ranges(np.vstack([relevant, own_texts])), strict=True)
        for row in range(start, stop)
    ]
    rows = (np.array(own_pairs, dtype=np.int64).reshape(-1, 2) for own_pairs in (pairs, masked))
    return Pairs(without_tiny(queries), without_tiny(vectors), *rows)
