"""Text normalisation for exact matches, and connected components for clusters."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from attune.runtime.arrays import Int64


def normalise(text: str) -> str:
    """Folds case, white space and final punctuation, so that equal results mean equal texts; keeps symbols (C, C++)."""
    words = " ".join(text.casefold().split())
    return words.rstrip(".?! ") or words


def components(n: int, pairs: Int64) -> Int64:
    """Connected components of n nodes with edges (n_edges, 2); returns each node's lowest member, shape (n,)."""
    graph = coo_array((np.ones(len(pairs), dtype=np.int8), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, labels = connected_components(graph, directed=False)
    _, first = np.unique(labels, return_index=True)
    lowest: Int64 = first[labels].astype(np.int64)
    return lowest
