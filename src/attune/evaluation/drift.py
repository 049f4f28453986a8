"""Embedding drift: measures of two spaces of the same texts.

Rows are texts, all of length 1, and row i is the same text in both spaces. Sums are in float64.

Few texts share neighbours by chance, equal texts are each other's neighbours in any space, and the plain estimate of
CKA is far above 0 for unrelated spaces of fewer texts than dimensions. So `distinct` leaves equal texts out, CKA and
the overlaps are 0 in expectation for unrelated spaces, and below `MIN_TEXTS` texts they are None: too few texts.

Texts are a sample, so what a limit judges has an interval, by the jackknife that leaves out a tenth of the texts at a
time (Shao and Wu 1989, Annals of Statistics 17). A text counts as query and as neighbour of others, so the plain error
of a mean over texts is too small for an overlap; leaving it out in both roles is right and errs on the wide side.
"""

import numpy as np
from scipy.special import stdtrit

from attune.runtime.arrays import Float32, Float64, Int64

BLOCK = 1024  # rows whose cosines to all others are held at a time: bounds memory
N_FOLDS = 5
N_GROUPS = 10  # of texts, each left out once for an interval
DEPTH = 60  # neighbours per text, of which 10 are still there when a group is left out
N_NEIGHBOURS = 10
# Fewer texts are too few to measure a space. From here on CKA and overlap of 95% of samples lie within .06 of the mean,
# 0 for unrelated spaces; of half as many texts they do not (simulated in test_drift_measures.py). The 10 nearest are a
# tenth of the texts at most.
MIN_TEXTS = 100
TILT = 1e-6  # share of the largest singular value added to the diagonal: fixes directions that the texts do not span


def figures(texts: str, before: Float32, after: Float32) -> dict[str, float | None]:
    """Measures two spaces of the same texts; where geometry and neighbours are compared, equal texts count once.

    Args:
        texts: name of the texts, the prefix of every key.
        before: (n texts, dim) by base.
        after: (n texts, dim) by tuned.

    Returns:
        Figures by key, the number of different texts among them. CKA and overlaps are None for too few of these.
    """
    rows = distinct(before, after)
    old, new = before[rows], after[rows]
    values = {
        "cka": linear_cka(old, new),
        "neighbour_overlap@10": neighbour_overlap(old, new),
        "stale_overlap@10": stale_overlap(old, new),
        "same_cosine": same_cosine(before, after),
        "aligned_cosine": aligned_cosine(old, new),
        "base_anisotropy": anisotropy(before),
        "tuned_anisotropy": anisotropy(after),
        "base_uniformity": uniformity(before),
        "tuned_uniformity": uniformity(after),
    }
    return {f"{texts}.{name}": value for name, value in values.items()} | {f"n_{texts}_texts": len(rows)}


def distinct(before: Float32, after: Float32) -> Int64:
    """Returns the rows of the texts without repetitions: of texts that are equal in both spaces, the first.

    Texts are equal if both cosines are 1 to 6 digits: copies, and texts that are equal up to the encoder's max_length.
    Texts that only one space cannot tell apart stay, as there it lost something.

    Args:
        before: (n texts, dim).
        after: (n texts, any dim).
    """
    is_first = np.ones(len(before), dtype=bool)
    spaces = before.astype(np.float64), after.astype(np.float64)
    for start in range(0, len(before), BLOCK):
        part = slice(start, start + BLOCK)
        equal = np.logical_and(*((space[part] @ space[: part.stop].T).round(6) >= 1 for space in spaces))
        is_first[part] = ~np.tril(equal, start - 1).any(axis=1)  # earlier rows only
    return np.flatnonzero(is_first)


def linear_cka(before: Float32, after: Float32) -> float | None:
    """Linear CKA, debiased: similarity of two spaces' geometry, 1 for the same and about 0 for unrelated ones.

    CKA (Kornblith et al. 2019, arXiv 1905.00414) from unbiased estimates of HSIC (Song et al. 2012, JMLR 13, equation
    5). The plain estimate grows with the number of dimensions per text (Murphy et al. 2024, arXiv 2405.01012).
    Invariant to rotation, shift and scale: it measures whether the texts keep their positions relative to each other.
    A CKA of 1 does not mean that an old index still works, as CKA ignores rotation. Directions of large variance
    dominate.

    Args:
        before: (n texts, dim).
        after: (n texts, any dim).

    Returns:
        -1 to 1; 0 where a space is a single point; None for fewer than `MIN_TEXTS` texts.
    """
    if len(before) < MIN_TEXTS:
        return None
    x, y = (space.astype(np.float64) - space.mean(axis=0, dtype=np.float64) for space in (before, after))
    norm = unbiased_hsic(x, x) * unbiased_hsic(y, y)
    return unbiased_hsic(x, y) / float(np.sqrt(norm)) if norm > 0 else 0.0


def unbiased_hsic(x: Float64, y: Float64) -> float:
    """Unbiased HSIC of linear kernels (Song et al. 2012, equation 5), times n (n - 3), without a matrix of texts.

    Args:
        x: (n texts, dim), at least 4; centred for accuracy, as a shift does not change the value.
        y: (n texts, any dim).
    """
    n = len(x)
    own_x, own_y = (np.einsum("ij,ij->i", space, space) for space in (x, y))  # the kernels' diagonals, set to 0
    row_x, row_y = x @ x.sum(axis=0) - own_x, y @ y.sum(axis=0) - own_y  # sums of the kernels' rows
    product = np.linalg.norm(x.T @ y) ** 2 - own_x @ own_y
    return float(product + row_x.sum() * row_y.sum() / ((n - 1) * (n - 2)) - 2 * (row_x @ row_y) / (n - 2))


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


def beyond_chance(shared: float, k: int, n: int) -> float:
    """Rescales an overlap so that 0 is chance: (shared - k / (n - 1)) / (1 - k / (n - 1)).

    k / (n - 1) is the exact expectation for unrelated spaces of n texts. The result is R_NX of Lee et al. 2013
    (Neurocomputing 112): 1 where all neighbours are the same, below 0 where fewer are than by chance.
    """
    chance = k / (n - 1)
    return (shared - chance) / (1 - chance)


def neighbour_overlap(before: Float32, after: Float32) -> float | None:
    """Share of each text's 10 nearest neighbours that are the same in both spaces, beyond chance.

    Compares a search for similar texts before tuning with one after everything was embedded again.

    Returns:
        At most 1, 0 in expectation for unrelated spaces; None for fewer than `MIN_TEXTS` texts.
    """
    return _shared(before, before, after)


def stale_overlap(before: Float32, after: Float32) -> float | None:
    """Share of each text's 10 nearest neighbours that its new vector also finds among the old vectors, beyond chance.

    Simulates a service that embeds queries with the new encoder and keeps the old encoder's index.

    Returns:
        At most 1, 0 in expectation for unrelated spaces; None for fewer than `MIN_TEXTS` texts.
    """
    return _shared(after, before, after)


def _shared(queries: Float32, before: Float32, after: Float32) -> float | None:
    """Overlap beyond chance of what queries find among the old vectors with the neighbours among the new ones."""
    if len(before) < MIN_TEXTS:
        return None
    old, new = nearest(queries, before, N_NEIGHBOURS), nearest(after, after, N_NEIGHBOURS)
    return beyond_chance(overlap(old, new), N_NEIGHBOURS, len(before))


def neighbour_interval(before: Float32, after: Float32, confidence: float) -> tuple[float | None, float | None]:
    """Ends of the confidence interval of `neighbour_overlap`; None for fewer than `MIN_TEXTS` texts."""
    return _shared_interval(before, before, after, confidence)


def stale_interval(before: Float32, after: Float32, confidence: float) -> tuple[float | None, float | None]:
    """Ends of the confidence interval of `stale_overlap`; None for fewer than `MIN_TEXTS` texts."""
    return _shared_interval(after, before, after, confidence)


def _shared_interval(
    queries: Float32, before: Float32, after: Float32, confidence: float
) -> tuple[float | None, float | None]:
    shared = _shared(queries, before, after)
    if shared is None:
        return None, None
    depth = min(DEPTH, len(before) - 1)
    lists = nearest(queries, before, depth), nearest(after, after, depth)
    left_out = []
    for group in range(N_GROUPS):
        old, new = (_without(group, ranked) for ranked in lists)
        left_out.append(beyond_chance(overlap(old, new), N_NEIGHBOURS, len(old)))
    return jackknife_interval(shared, np.array(left_out), confidence)


def _without(group: int, ranked: Int64) -> Int64:
    """Returns the 10 nearest of each text outside a group, among the texts outside it."""
    rows = ranked[np.arange(len(ranked)) % N_GROUPS != group]
    kept = np.argsort(rows % N_GROUPS == group, axis=1, kind="stable")[:, :N_NEIGHBOURS]
    return np.take_along_axis(rows, kept, axis=1)


def cosine_interval(before: Float32, after: Float32, confidence: float) -> tuple[float, float]:
    """Ends of the confidence interval of `same_cosine`."""
    rows = np.arange(len(before)) % N_GROUPS
    left_out = [same_cosine(before[rows != group], after[rows != group]) for group in range(min(N_GROUPS, len(rows)))]
    return jackknife_interval(same_cosine(before, after), np.array(left_out), confidence)


def jackknife_interval(value: float, left_out: Float64, confidence: float) -> tuple[float, float]:
    """Returns the t interval of a figure of which (n_groups,) values without one group each are known."""
    n = len(left_out)
    error = np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum())
    reach = float(error * stdtrit(n - 1, (1 + confidence) / 2))
    return value - reach, value + reach


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
