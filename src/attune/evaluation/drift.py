"""How far a space of embeddings moved: measures over the same texts under two encoders, in numpy alone.

Rows are texts, all of length 1, and row i is the same text in both spaces. Sums are in float64.
"""

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Exact = NDArray[np.float64]

BLOCK = 1024  # rows whose cosines to all others are held at a time: bounds memory
N_FOLDS = 5
TILT = 1e-6  # of the largest singular value: settles the directions that the texts leave open


def linear_cka(before: Vectors, after: Vectors) -> float:
    """Likeness of two spaces' geometry, 0 to 1 (linear CKA; Kornblith et al. 2019, arXiv 1905.00414).

    Rotating, shifting or scaling a space does not change it, so it tells whether the texts still lie to each other as
    they did; an index may be useless at 1. Large directions dominate it.

    Args:
        before: (n texts, dim).
        after: (n texts, any dim).

    Returns:
        1 for the same geometry; 0 where a space is a single point.
    """
    x, y = (space.astype(np.float64) - space.mean(axis=0, dtype=np.float64) for space in (before, after))
    norm = float(np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    return float(np.linalg.norm(y.T @ x) ** 2) / norm if norm else 0.0


def nearest(queries: Vectors, space: Vectors, k: int) -> NDArray[np.int64]:
    """(n, k) rows of the nearest others by cosine, nearest first, ties by row; a text is not its own neighbour.

    Args:
        queries: (n texts, dim).
        space: (n texts, dim), the same texts.
        k: fewer than n texts.
    """
    found = np.empty((len(queries), k), dtype=np.int64)
    exact = space.astype(np.float64)
    for start in range(0, len(queries), BLOCK):
        # 6 digits, as in retrieval: what is equal but for rounding ties
        cosines = (queries[start : start + BLOCK].astype(np.float64) @ exact.T).round(6)
        own = np.arange(len(cosines))
        cosines[own, start + own] = -np.inf
        found[start : start + BLOCK] = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return found


def overlap(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """Mean share of each row's (n, k) distinct members that the other's same row has, too."""
    return float((one[:, :, None] == other[:, None, :]).sum() / one.size)


def neighbour_overlap(before: Vectors, after: Vectors, k: int = 10) -> float:
    """Share of each text's k nearest neighbours that are the same in both spaces, 0 to 1.

    What a search for alike texts returns, before and after everything was embedded anew. Of k texts or fewer, each has
    all others for neighbours.
    """
    k = min(k, len(before) - 1)
    return overlap(nearest(before, before, k), nearest(after, after, k))


def stale_overlap(before: Vectors, after: Vectors, k: int = 10) -> float:
    """Share of each text's k nearest neighbours that its new vector also finds among the old vectors, 0 to 1.

    What a service gets that embeds queries with the new encoder and keeps the old one's index.
    """
    k = min(k, len(before) - 1)
    return overlap(nearest(after, before, k), nearest(after, after, k))


def same_cosine(before: Vectors, after: Vectors) -> float:
    """Mean cosine of a text's two vectors, as they are."""
    return float(np.einsum("ij,ij->i", before, after, dtype=np.float64).mean())


def aligned_cosine(before: Vectors, after: Vectors) -> float:
    """Mean cosine of a text's two vectors after the best rotation of one space onto the other (orthogonal Procrustes).

    The rotation is fitted on four fifths of the texts and measured on the fifth that it never saw, in turn: over texts
    that it was fitted to, unrelated spaces of as many dimensions as texts would look the same. Where the texts leave a
    direction open (fewer texts than dimensions), it is not turned.
    """
    x, y = before.astype(np.float64), after.astype(np.float64)
    fold = np.arange(len(x)) % N_FOLDS
    cosines = np.empty(len(x))
    for held_out in (fold == number for number in range(min(N_FOLDS, len(x)))):
        cosines[held_out] = np.einsum("ij,ij->i", x[held_out] @ _rotation(x[~held_out], y[~held_out]), y[held_out])
    return float(cosines.mean())


def _rotation(x: Exact, y: Exact) -> Exact:
    """The (dim, dim) orthogonal matrix that brings x nearest to y (Schoenemann, 1966)."""
    product = x.T @ y
    u, _, v = np.linalg.svd(product + TILT * np.linalg.norm(product, 2) * np.eye(len(product)))
    rotation: Exact = u @ v
    return rotation


def anisotropy(space: Vectors) -> float:
    """Mean cosine of two different texts, over all pairs (Ethayarajh 2019, arXiv 1909.00512).

    Near 0 where all directions are used, 1 where all texts are one.
    """
    n = len(space)
    total = space.sum(axis=0, dtype=np.float64)
    return float((total @ total - np.einsum("ij,ij->", space, space, dtype=np.float64)) / (n * (n - 1)))


def uniformity(space: Vectors) -> float:
    """How evenly texts fill the sphere: log of the mean exp(-2 d^2) over all pairs at distance d.

    0 where all texts are one; the lower the more even, about -4 at best (Wang and Isola 2020, arXiv 2005.10242).
    """
    n, total, exact = len(space), 0.0, space.astype(np.float64)
    for start in range(0, n, BLOCK):
        block = exact[start : start + BLOCK]
        potential = np.exp(4 * (block @ exact.T) - 4)
        own = np.arange(len(block))
        potential[own, start + own] = 0
        total += float(potential.sum())
    return float(np.log(total / (n * (n - 1))))


def alignment(queries: Vectors, documents: Vectors) -> float:
    """Mean squared distance of queries to documents that answer them, row by row, 0 to 4.

    The lower the nearer (Wang and Isola 2020, arXiv 2005.10242).
    """
    return float(2 - 2 * np.einsum("ij,ij->i", queries, documents, dtype=np.float64).mean())
