"""What the figures of drift mean, in sentences that a person can quote."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from attune.errors import BadInput

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
