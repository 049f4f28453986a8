"""Which texts are the same, and which rows hang together."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def normalise(text: str) -> str:
    """What counts as the same text: case, layout and the mark at the end do not; symbols do (C is not C++)."""
    words = " ".join(text.casefold().split())
    return words.rstrip(".?! ") or words


def components(n: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """The connected components of n nodes tied by edges (n_edges, 2): each node's lowest fellow, shape (n,)."""
    graph = coo_array((np.ones(len(pairs), dtype=np.int8), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, labels = connected_components(graph, directed=False)
    _, first = np.unique(labels, return_index=True)
    lowest: NDArray[np.int64] = first[labels].astype(np.int64)
    return lowest
