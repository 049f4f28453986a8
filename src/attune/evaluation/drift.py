"""Embedding drift: measures of two spaces of the same texts.

Rows are texts, all of length 1, and row i is the same text in both spaces. Sums are in float64.
"""

import numpy as np

from attune.runtime.arrays import Float32, Float64, Int64

BLOCK = 1024  # rows whose cosines to all others are held at a time: bounds memory
N_FOLDS = 5
TILT = 1e-6  # share of the largest singular value added to the diagonal: fixes directions that the texts do not span


def linear_cka(before: Float32, after: Float32) -> float:
    """Linear CKA: similarity of two spaces' geometry, 0 to 1 (Kornblith et al. 2019, arXiv 1905.00414).

    Invariant to rotation, shift and scale: it measures whether the texts keep their positions relative to each other.
    A CKA of 1 does not mean that an old index still works, as CKA ignores rotation. Directions of large variance
    dominate.

    Args:
        before: (n texts, dim).
        after: (n texts, any dim).

    Returns:
        1 for the same geometry; 0 where a space is a single point.
    """
    x, y = (space.astype(np.float64) - space.mean(axis=0, dtype=np.float64) for space in (before, after))
    norm = float(np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    return float(np.linalg.norm(y.T @ x) ** 2) / norm if norm else 0.0


def nearest(queries: Float32, space: Float32, k: int) -> Int64:
    """Returns the (n, k) rows of each text's nearest others by cosine, nearest first, ties by row.

    Args:
        queries: (n texts, dim).
        space: (n texts, dim), the same texts; a text is not its own neighbour.
        k: fewer than n texts.
    """
    rows = np.empty((len(queries), k), dtype=np.int64)
    exact = space.astype(np.float64)
    for start in range(0, len(queries), BLOCK):
        # 6 digits, as in retrieval: cosines that differ only by float32 error tie
        cosines = (queries[start : start + BLOCK].astype(np.float64) @ exact.T).round(6)
        own = np.arange(len(cosines))
        cosines[own, start + own] = -np.inf
        rows[start : start + BLOCK] = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return rows


def overlap(one: Int64, other: Int64) -> float:
    """Mean overlap of row i of both arrays, (n, k) with distinct members in a row, as a share of k."""
    return float((one[:, :, None] == other[:, None, :]).sum() / one.size)


def neighbour_overlap(before: Float32, after: Float32, k: int = 10) -> float:
    """Share of each text's k nearest neighbours that are the same in both spaces, 0 to 1.

    Compares a search for similar texts before tuning with one after everything was embedded again. With at most
    k + 1 texts the overlap is 1.
    """
    k = min(k, len(before) - 1)
    return overlap(nearest(before, before, k), nearest(after, after, k))


def stale_overlap(before: Float32, after: Float32, k: int = 10) -> float:
    """Share of each text's k nearest neighbours that its new vector also finds among the old vectors, 0 to 1.

    Simulates a service that embeds queries with the new encoder and keeps the old encoder's index.
    """
    k = min(k, len(before) - 1)
    return overlap(nearest(after, before, k), nearest(after, after, k))


def same_cosine(before: Float32, after: Float32) -> float:
    """Mean cosine of a text's two vectors, without alignment."""
    return float(np.einsum("ij,ij->i", before, after, dtype=np.float64).mean())


def aligned_cosine(before: Float32, after: Float32) -> float:
    """Mean cosine of a text's two vectors after the best rotation of one space onto the other (orthogonal Procrustes).

    Cross-validated: the rotation is fitted on four fifths of the texts and measured on the remaining fifth, in turn.
    Measured on the texts that it was fitted to, unrelated spaces with as many dimensions as texts would look the same.
    Directions that the texts do not span (fewer texts than dimensions) are not rotated.
    """
    x, y = before.astype(np.float64), after.astype(np.float64)
    fold = np.arange(len(x)) % N_FOLDS
    cosines = np.empty(len(x))
    for test in (fold == number for number in range(min(N_FOLDS, len(x)))):
        cosines[test] = np.einsum("ij,ij->i", x[test] @ _rotation(x[~test], y[~test]), y[test])
    return float(cosines.mean())


def _rotation(x: Float64, y: Float64) -> Float64:
    """Returns the (dim, dim) orthogonal matrix that brings x nearest to y (Schoenemann, 1966)."""
    product = x.T @ y
    u, _, v = np.linalg.svd(product + TILT * np.linalg.norm(product, 2) * np.eye(len(product)))
    rotation: Float64 = u @ v
    return rotation


def anisotropy(space: Float32) -> float:
    """Mean cosine of two different texts, over all pairs (Ethayarajh 2019, arXiv 1909.00512).

    Near 0 where all directions are used, 1 where all vectors are equal.
    """
    n = len(space)
    total = space.sum(axis=0, dtype=np.float64)
    return float((total @ total - np.einsum("ij,ij->", space, space, dtype=np.float64)) / (n * (n - 1)))


def uniformity(space: Float32) -> float:
    """Uniformity on the sphere: log of the mean exp(-2 d^2) over all pairs at distance d.

    0 where all vectors are equal; lower is more even, about -4 at best (Wang and Isola 2020, arXiv 2005.10242).
    """
    n, total, exact = len(space), 0.0, space.astype(np.float64)
    for start in range(0, n, BLOCK):
        block = exact[start : start + BLOCK]
        potential = np.exp(4 * (block @ exact.T) - 4)
        own = np.arange(len(block))
        potential[own, start + own] = 0
        total += float(potential.sum())
    return float(np.log(total / (n * (n - 1))))


def alignment(queries: Float32, documents: Float32) -> float:
    """Mean squared distance of queries to their relevant documents, row by row, 0 to 4.

    Lower is closer (Wang and Isola 2020, arXiv 2005.10242).
    """
    return float(2 - 2 * np.einsum("ij,ij->i", queries, documents, dtype=np.float64).mean())
