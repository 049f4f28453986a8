"""Embedding drift: measures of two spaces of the same texts, the cost on general tasks, and the verdict.

Rows are texts, all of length 1, and row i is the same text in both spaces. Sums are in float64.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from attune.errors import BadInput
from attune.runtime.arrays import Float32, Float64, Int64
from attune.stage import Machine, Params

BLOCK = 1024  # rows whose cosines to all others are held at a time: bounds memory
N_FOLDS = 5
TILT = 1e-6  # share of the largest singular value added to the diagonal: fixes directions that the texts do not span
# Measures that count as cost of a task; recall@10 says the same as nDCG@10, only coarser.
COUNTED = ("ndcg@10", "spearman", "knn_accuracy", "logistic_accuracy", "v_measure")

Figures = Mapping[str, Any]  # a receipt, or the part of it that is known so far


class DriftParams(Params):
    """Thresholds of drift and of a re-index, and the size of the sample.

    Attributes:
        max_cost: drifted if a counted general task loses more than this share of the base's score.
        min_neighbour_overlap: drifted if general texts keep less than this share of their 10 nearest neighbours.
        min_same_cosine: re-index if the mean cosine of a document's vectors by base and by tuned is below this.
        min_stale_overlap: re-index if tuned vectors find less than this share of their 10 nearest among base vectors.
        n_sample: documents of the domain compared.
    """

    max_cost: float = Field(ge=0, le=1)
    min_neighbour_overlap: float = Field(ge=0, le=1)
    min_same_cosine: float = Field(ge=-1, le=1)
    min_stale_overlap: float = Field(ge=0, le=1)
    n_sample: int = Field(ge=2, le=20_000)
    machine: Machine


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


@dataclass(frozen=True)
class Cost:
    """The largest relative loss on a general task, at least 0, and its measure ("" where nothing was lost)."""

    largest: float
    measure: str


def general_cost(base: Figures, tuned: Figures) -> Cost:
    """Returns the largest relative loss over the counted general tasks.

    A task on which the base scores 0 or less has nothing to lose.

    Args:
        base: receipt of probe@base ({"<task>.<measure>": score}).
        tuned: receipt of probe@tuned.

    Raises:
        BadInput: the receipts are not of the same tasks.
    """
    if list(base) != list(tuned):
        odd = ", ".join(sorted(set(base) ^ set(tuned))) or "another order"
        raise BadInput(f"drift: base and tuned were probed with different tasks ({odd}); run `dvc repro`")
    losses = {key: (base[key] - tuned[key]) / base[key] for key in base if _is_counted(key, base) and base[key] > 0}
    measure = max(losses, key=lambda key: losses[key], default="")
    return Cost(losses[measure], measure) if measure and losses[measure] > 0 else Cost(0.0, "")


def _is_counted(key: str, receipt: Figures) -> bool:
    task, _, measure = key.partition(".")
    return measure in COUNTED and bool(receipt[f"{task}.is_counted"])


def is_drifted(figures: Figures, cost: Cost, params: DriftParams) -> bool:
    """Tells whether general tasks lost too much, or general texts kept too few of their neighbours."""
    return bool(
        cost.largest > params.max_cost or figures["general.neighbour_overlap@10"] < params.min_neighbour_overlap
    )


def is_reindex_needed(figures: Figures, params: DriftParams) -> bool:
    """Tells whether vectors of base and tuned must not be mixed in one index, by the domain's documents.

    They may be mixed only if a document's two vectors are nearly equal, which thresholds on cosines need, and if a new
    vector finds the same neighbours among old vectors as among new ones, which search needs. Similarity after a
    rotation does not help a service, which does not rotate.
    """
    is_moved = figures["domain.same_cosine"] < params.min_same_cosine
    return bool(is_moved or figures["domain.stale_overlap@10"] < params.min_stale_overlap)


def drift_verdict(figures: Figures, cost: Cost, params: DriftParams) -> str:
    """Three sentences: movement of the space, its consequence for an index, and the cost on general tasks."""
    headline = "Drifted" if is_drifted(figures, cost, params) else "Not drifted"
    return f"{headline}. {_movement(figures)} {_reindex(figures, params)} {_general(figures, cost, params)}"


def _movement(figures: Figures) -> str:
    domain, general = (figures[f"{texts}.neighbour_overlap@10"] for texts in ("domain", "general"))
    if domain == general == 1 and figures["domain.same_cosine"] > 1 - 1e-6 < figures["general.same_cosine"]:
        return "The space did not move."
    return (
        f"The space moved: of the 10 nearest neighbours {domain:.0%} are the same among the domain's documents and "
        f"{general:.0%} among general texts."
    )


def _reindex(figures: Figures, params: DriftParams) -> str:
    cosine, overlapping = figures["domain.same_cosine"], figures["domain.stale_overlap@10"]
    measured = (
        f"a document's old and new vectors have a mean cosine of {cosine:.2f}, tuned vectors find {overlapping:.0%} of "
        f"their neighbours among the base's, and dev nDCG@10 over the base's vectors is "
        f"{figures['stale_dev_ndcg@10']:.3f} instead of {figures['dev_ndcg@10']:.3f}"
    )
    if is_reindex_needed(figures, params):
        return f"Re-index: vectors of the base cannot be mixed with the tuned encoder's ({measured})."
    return f"No re-index needed: vectors of base and tuned can be mixed ({measured})."


def _general(figures: Figures, cost: Cost, params: DriftParams) -> str:
    if not cost.measure:
        text = "General tasks: nothing was lost"
    else:
        within = "more than" if cost.largest > params.max_cost else "within"
        text = f"General tasks: the largest loss is {cost.largest:.1%} ({cost.measure}), {within} the "
        text += f"{params.max_cost:.1%} allowed"
    kept = figures["general.neighbour_overlap@10"]
    if kept < params.min_neighbour_overlap:
        text += f"; but of the neighbours of general texts at least {params.min_neighbour_overlap:.0%} should be kept"
    return f"{text}."
