"""How far a space of embeddings moved: measures over the same texts under two encoders, in numpy alone.

Rows are texts, all of length 1, and row i is the same text in both spaces. Sums are in float64.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attune.errors import BadInput

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


# What counts as cost, of each task: recall@10 says the same as nDCG@10, only coarser.
COUNTED = ("ndcg@10", "spearman", "knn_accuracy", "logistic_accuracy", "v_measure")

Scores = Mapping[str, Any]


@dataclass(frozen=True)
class Thresholds:
    """From where on tuning has cost too much, the space has moved too far, and old vectors no longer serve."""

    max_cost: float
    min_neighbour_overlap: float
    min_same_cosine: float
    min_stale_overlap: float


@dataclass(frozen=True)
class Cost:
    """The largest relative loss of a general task, at least 0, and the measure it is of ("" where nothing was lost)."""

    largest: float
    measure: str


def cost(base: Scores, tuned: Scores) -> Cost:
    """What tuning cost, from the receipts of probe@base and probe@tuned ({"<task>.<measure>": score}).

    A task that the base scores 0 or less on has nothing to lose.

    Raises:
        BadInput: the receipts are not of the same tasks.
    """
    if list(base) != list(tuned):
        odd = ", ".join(sorted(set(base) ^ set(tuned))) or "another order"
        raise BadInput(f"drift: base and tuned were probed with different tasks ({odd}); run `dvc repro`")
    losses = {key: (base[key] - tuned[key]) / base[key] for key in base if _is_counted(key, base) and base[key] > 0}
    measure = max(losses, key=lambda key: losses[key], default="")
    return Cost(losses[measure], measure) if measure and losses[measure] > 0 else Cost(0.0, "")


def _is_counted(key: str, scores: Scores) -> bool:
    task, _, measure = key.partition(".")
    return measure in COUNTED and bool(scores[f"{task}.is_counted"])


def is_drifted(figures: Scores, lost: Cost, limits: Thresholds) -> bool:
    """Whether general tasks lost too much, or general texts have too few of their old neighbours."""
    return bool(
        lost.largest > limits.max_cost or figures["general.neighbour_overlap@10"] < limits.min_neighbour_overlap
    )


def is_reindex_needed(figures: Scores, limits: Thresholds) -> bool:
    """Whether vectors of base and tuned must not be mixed, by the domain's documents.

    They may be mixed only if a document's two vectors are nearly one (what thresholds on cosines need), and a new
    vector finds among the old ones what it finds among the new (what search needs). Likeness after a rotation does not
    help a service, which does not rotate.
    """
    is_elsewhere = figures["domain.same_cosine"] < limits.min_same_cosine
    return bool(is_elsewhere or figures["domain.stale_overlap@10"] < limits.min_stale_overlap)


def verdict(figures: Scores, lost: Cost, limits: Thresholds) -> str:
    """Three sentences: how far the space moved, what that means for an index, what it cost."""
    headline = "Drifted" if is_drifted(figures, lost, limits) else "Not drifted"
    return f"{headline}. {_moved(figures)} {_index(figures, limits)} {_paid(figures, lost, limits)}"


def _moved(figures: Scores) -> str:
    domain, general = (figures[f"{texts}.neighbour_overlap@10"] for texts in ("domain", "general"))
    if domain == general == 1 and figures["domain.same_cosine"] > 1 - 1e-6 < figures["general.same_cosine"]:
        return "The space did not move."
    return (
        f"The space moved: of the 10 nearest neighbours {domain:.0%} are the same among the domain's documents and "
        f"{general:.0%} among general texts."
    )


def _index(figures: Scores, limits: Thresholds) -> str:
    cosine, searched = figures["domain.same_cosine"], figures["domain.stale_overlap@10"]
    measured = (
        f"a document's old and new vectors have a mean cosine of {cosine:.2f}, tuned vectors find {searched:.0%} of "
        f"their neighbours among the base's, and dev nDCG@10 over the base's vectors is "
        f"{figures['stale_dev_ndcg@10']:.3f} instead of {figures['dev_ndcg@10']:.3f}"
    )
    if is_reindex_needed(figures, limits):
        return f"Re-index: vectors of the base cannot be mixed with the tuned encoder's ({measured})."
    return f"No re-index needed: vectors of base and tuned can be mixed ({measured})."


def _paid(figures: Scores, lost: Cost, limits: Thresholds) -> str:
    if not lost.measure:
        paid = "General tasks: nothing was lost"
    else:
        within = "more than" if lost.largest > limits.max_cost else "within"
        paid = f"General tasks: the largest loss is {lost.largest:.1%} ({lost.measure}), {within} the "
        paid += f"{limits.max_cost:.1%} allowed"
    kept = figures["general.neighbour_overlap@10"]
    if kept < limits.min_neighbour_overlap:
        paid += f"; but of the neighbours of general texts at least {limits.min_neighbour_overlap:.0%} should be kept"
    return f"{paid}."
