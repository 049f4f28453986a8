"""Text normalisation for exact matches, and connected components for clusters."""

from unicodedata import normalize

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from attune.runtime.arrays import Int64


def fold(text: str) -> str:
    """Folds case, and characters that Unicode calls compatible (NFKC): composed and decomposed letters, full width."""
    # decomposed first, as in Unicode's caseless matching: some marks change with their case
    return text.casefold() if text.isascii() else normalize("NFKC", normalize("NFKD", text).casefold())


def normalise(text: str) -> str:
    """Folds case, Unicode forms, white space and final punctuation: equal results mean equal texts.

    It keeps symbols (C, C++).
    """
    words = " ".join(fold(text).split())
    return words.rstrip(".?! ") or words


def components(n: int, pairs: Int64) -> Int64:
    """Connected components of n nodes with edges (n_edges, 2); returns each node's lowest member, shape (n,)."""
    graph = coo_array((np.ones(len(pairs), dtype=np.int8), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, labels = connected_components(graph, directed=False)
    _, first = np.unique(labels, return_index=True)
    lowest: Int64 = first[labels].astype(np.int64)
    return lowest
