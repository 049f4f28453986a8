"""The verdict on drift: losses on general and near-domain tasks, movement of the space, and the need to re-index."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from attune.evaluation.bridge import Kept
from attune.evaluation.costs import TaskCost, Unmeasured
from attune.evaluation.drift import MIN_TEXTS
from attune.stage import Machine, Params

Figures = Mapping[str, Any]  # a receipt, or the part of it that is known so far
NAMES = {"domain": "the domain's documents", "general": "general texts"}
STILL = 1e-6  # distance from 1 of the mean cosine of equal vectors, at most: float32 error


class DriftParams(Params):
    """Thresholds of drift and of a re-index, and the size of the sample.

    Attributes:
        max_cost: drifted if a general task certainly loses, and loses more than this share of the base's score. A
            general task that cannot detect such a loss is not counted. Certain is a loss whose interval lies above 0
            and whose p-value is significant after Holm's correction for all tasks.
        min_neighbour_overlap: drifted if general texts certainly keep less than this share of their 10 nearest
            neighbours, beyond chance; undecided if the interval holds it.
        min_same_cosine: re-index unless the mean cosine of a document's vectors by base and by tuned is certainly at
            least this.
        min_stale_overlap: re-index unless tuned vectors certainly find at least this share of their 10 nearest among
            base vectors, beyond chance.
        n_sample: documents of the domain compared.
        n_bridge: documents embedded again for a map of all other vectors.
    """

    max_cost: float = Field(ge=0, le=1)
    min_neighbour_overlap: float = Field(ge=0, le=1)
    min_same_cosine: float = Field(ge=-1, le=1)
    min_stale_overlap: float = Field(ge=0, le=1)
    n_sample: int = Field(ge=2, le=20_000)
    n_bridge: int = Field(ge=20, le=100_000)
    machine: Machine


@dataclass(frozen=True)
class Losses:
    """Relative losses on the tasks that count as general or as near the domain.

    Attributes:
        costs: of the tasks that can be measured.
        max_cost: limit of the general tasks.
        confidence: of the intervals.
        unmeasured: the other tasks.
    """

    costs: Sequence[TaskCost]
    max_cost: float
    confidence: float
    unmeasured: Sequence[Unmeasured] = ()

    @property
    def general(self) -> list[TaskCost]:
        """The general tasks."""
        return [cost for cost in self.costs if cost.counts_as == "general"]

    @property
    def near_domain(self) -> list[TaskCost]:
        """The near-domain tasks."""
        return [cost for cost in self.costs if cost.counts_as == "near_domain"]

    @property
    def counted(self) -> list[TaskCost]:
        """The general tasks that are counted."""
        return [cost for cost in self.general if self.is_counted(cost)]

    @property
    def excessive(self) -> list[TaskCost]:
        """The general tasks that certainly lost more than max_cost."""
        return [cost for cost in self.general if self._is_excessive(cost)]

    @property
    def worse_near_domain(self) -> list[TaskCost]:
        """The near-domain tasks with a certain loss, whatever its size."""
        return [cost for cost in self.near_domain if cost.is_certain]

    def is_counted(self, cost: TaskCost) -> bool:
        """Tells whether a task is counted: a general one if it detects a loss of max_cost, or found one that counts.

        A near-domain task always is, as any certain loss there counts, whatever its size.
        """
        return cost.counts_as == "near_domain" or self._is_excessive(cost) or cost.detectable <= self.max_cost

    def _is_excessive(self, cost: TaskCost) -> bool:
        """Tells whether a loss above max_cost is certain: by the test of a loss, and by the interval of its size."""
        return cost.is_certain and cost.low > self.max_cost


def largest(costs: Sequence[TaskCost]) -> TaskCost | None:
    """Returns the task with the largest relative loss, or None where none lost anything."""
    worst = max(costs, key=lambda cost: cost.cost, default=None)
    return worst if worst and worst.cost > 0 else None


def is_drifted(figures: Figures, losses: Losses, params: DriftParams) -> bool:
    """Tells whether a general task lost too much, general texts lost their neighbours, or a near-domain task lost."""
    return bool(losses.excessive or losses.worse_near_domain or _has_lost_neighbours(figures, params))


def is_decided(figures: Figures, losses: Losses, params: DriftParams) -> bool:
    """Tells whether *not drifted* would be an answer.

    Each counted general task, of one or more, excludes a loss above max_cost, and general texts certainly kept their
    neighbours, or none of them moved.
    """
    is_within = bool(losses.counted) and all(cost.high <= losses.max_cost for cost in losses.counted)
    is_answered = is_within and _has_kept_neighbours(figures, params)
    return is_drifted(figures, losses, params) or is_answered


def is_reindex_needed(figures: Figures, params: DriftParams) -> bool:
    """Tells whether vectors of base and tuned must not be mixed in one index, by the domain's documents.

    They may be mixed only if a document's two vectors are nearly equal, which thresholds on cosines need, and if a new
    vector finds the same neighbours among old vectors as among new ones, which search needs. Similarity after a
    rotation does not help a service, which does not rotate. Both must be certain, as a needless re-index costs an hour
    and mixed vectors cost answers, so the low ends of the intervals decide. Documents too few to compare neighbours,
    which are soon embedded again, are not mixed if they moved.
    """
    kept = figures["domain.stale_overlap@10_low"]
    is_moved = figures["domain.same_cosine_low"] < params.min_same_cosine
    is_lost = kept < params.min_stale_overlap if kept is not None else not _is_still(figures, "domain")
    return bool(is_moved or is_lost)


def _has_lost_neighbours(figures: Figures, params: DriftParams) -> bool:
    most = figures["general.neighbour_overlap@10_high"]
    return most is not None and most < params.min_neighbour_overlap


def _has_kept_neighbours(figures: Figures, params: DriftParams) -> bool:
    least = figures["general.neighbour_overlap@10_low"]
    return _is_still(figures, "general") if least is None else bool(least >= params.min_neighbour_overlap)


def _is_still(figures: Figures, texts: str) -> bool:
    """Tells whether all vectors of these texts are the same by base and by tuned."""
    return bool(figures[f"{texts}.same_cosine"] > 1 - STILL)


def drift_verdict(figures: Figures, losses: Losses, params: DriftParams) -> str:
    """Five sentences: result, movement of the space, need to re-index, losses on general and on near-domain tasks.

    A sixth one names the tasks that cannot be measured, where there are any.
    """
    if is_drifted(figures, losses, params):
        headline = "Drifted"
    else:
        headline = "Not drifted" if is_decided(figures, losses, params) else "Undecided whether it drifted"
    sentences = _movement(figures), _reindex(figures, params), _general(figures, losses, params), _near_domain(losses)
    return " ".join(filter(None, [f"{headline}.", *sentences, _unmeasured(losses)]))


def _movement(figures: Figures) -> str:
    kept = {texts: figures[f"{texts}.neighbour_overlap@10"] for texts in NAMES}
    if all(share in (1, None) and _is_still(figures, texts) for texts, share in kept.items()):
        return "The space did not move."
    shares = [
        f"{share:.0%} are the same among {NAMES[texts]}" if share is not None else _too_few(figures, texts)
        for texts, share in kept.items()
    ]
    link = "; " if None in kept.values() else " and "
    return f"The space moved: of the 10 nearest neighbours, chance subtracted, {link.join(shares)}."


def _too_few(figures: Figures, texts: str) -> str:
    return f"{NAMES[texts]} are too few to compare neighbours ({figures[f'n_{texts}_texts']:,}, {MIN_TEXTS} needed)"


def _reindex(figures: Figures, params: DriftParams) -> str:
    cosine, kept = figures["domain.same_cosine"], figures["domain.stale_overlap@10"]
    neighbours = (
        f"tuned vectors find {kept:.0%} of their neighbours among the base's"
        if kept is not None
        else _too_few(figures, "domain")
    )
    measured = (
        f"a document's old and new vectors have a mean cosine of {cosine:.2f}, {neighbours}, and dev nDCG@10 over the "
        f"base's vectors is {figures['stale_dev_ndcg@10']:.3f} instead of {figures['dev_ndcg@10']:.3f}"
    )
    if is_reindex_needed(figures, params):
        return f"Re-index: vectors of the base cannot be mixed with the tuned encoder's ({measured}).{_bridge(figures)}"
    return f"No re-index needed: vectors of base and tuned can be mixed ({measured})."


def _bridge(figures: Figures) -> str:
    """Says, with a space before it, what a linear map of the base's vectors keeps of the gain; "" if none is known."""
    if (n := figures.get("bridge.n_documents")) is None:
        return ""
    names = ("base_dev_ndcg@10", "dev_ndcg@10", "share", "share_low", "share_high")
    before, bridged, *share = (figures[f"bridge.{name}"] for name in names)
    kept = Kept(before, bridged, figures["dev_ndcg@10"], *share).words
    return f" Until then, `attune bridge`: a linear map of old vectors, fitted on {n:,} documents, has {kept}."


def _general(figures: Figures, losses: Losses, params: DriftParams) -> str:
    limit, text = f"the {losses.max_cost:.1%} allowed", "General tasks: "
    if worst := largest(losses.excessive):
        text += f"the largest loss is {_claimed(worst, losses)}, more than {limit}"
    elif losses.counted:
        text += _none_above(losses.counted, losses)
        text += " on those counted" if len(losses.counted) < len(losses.general) else ""
        if worst := largest(losses.counted):
            text += f"; the largest is {_shown(worst, losses)}"
        is_open = any(cost.high > losses.max_cost for cost in losses.counted)
        text += f"; a loss above {limit} is not ruled out" if is_open else ""
    else:
        text += f"no task detects a loss of {losses.max_cost:.1%} (drift.max_cost), so none is ruled out"
    silent = [_not_counted(cost, losses) for cost in losses.general if not losses.is_counted(cost)]
    if silent:
        text += f"; not counted, as only larger losses are detectable: {', '.join(silent)}"
    return f"{text}{_neighbours(figures, losses, params)}."


def _not_counted(cost: TaskCost, losses: Losses) -> str:
    """Names a task that is not counted with the loss that it detects, and with the one that it has found, if any."""
    lost = f", which lost {_claimed(cost, losses, '')}" if cost.is_certain else ""
    return f"{cost.name} (from {cost.detectable:.1%}){lost}"


def _neighbours(figures: Figures, losses: Losses, params: DriftParams) -> str:
    """Names the share of neighbours that general texts should keep, where they do not certainly keep it."""
    if _has_kept_neighbours(figures, params):
        return ""
    ends = [figures[f"general.neighbour_overlap@10_{end}"] for end in ("low", "high")]
    share = f"{params.min_neighbour_overlap:.0%} of their neighbours"
    if None in ends:
        return f"; {NAMES['general']} are too few to tell whether they keep {share}"
    measured = f"{losses.confidence:.0%} interval {ends[0]:.0%} to {ends[1]:.0%}"
    if _has_lost_neighbours(figures, params):
        return f"; but {NAMES['general']} should keep at least {share} ({measured})"
    return f"; it is open whether {NAMES['general']} keep {share} ({measured})"


def _near_domain(losses: Losses) -> str:
    if not losses.near_domain:
        has_any = any(task.counts_as == "near_domain" for task in losses.unmeasured)
        none = "none that can be measured" if has_any else "none"
        return f"Near-domain tasks: {none}, so the gain is measured on queries like those of training only."
    if worse := losses.worse_near_domain:
        lost = (f"{cost.name} {cost.base:.3f} -> {cost.tuned:.3f}, {_claimed(cost, losses, '')}" for cost in worse)
        return f"Near-domain tasks: tuned is worse than base ({'; '.join(lost)})."
    text = _none_above(losses.near_domain, losses)
    if worst := largest(losses.near_domain):
        text += f"; the largest is {_claimed(worst, losses)}, which may be chance"
    return f"Near-domain tasks: {text}."


def _unmeasured(losses: Losses) -> str:
    tasks = "; ".join(f"{task.name} ({task.reason})" for task in losses.unmeasured)
    return f"Not measured: {tasks}." if tasks else ""


def _none_above(costs: Sequence[TaskCost], losses: Losses) -> str:
    """States the largest loss that the intervals leave open; a gain on every task is beyond that."""
    widest = max(costs, key=lambda cost: cost.high)
    if widest.high <= 0:
        return f"tuned gains on each ({losses.confidence:.0%} intervals above 0)"
    return f"no loss above {widest.high:.1%} found"


def _shown(cost: TaskCost, losses: Losses, name: str | None = None, p: str = "") -> str:
    name = f"{cost.name}, " if name is None else name
    return f"{cost.cost:.1%} ({name}{losses.confidence:.0%} interval {cost.low:.1%} to {cost.high:.1%}{p})"


def _claimed(cost: TaskCost, losses: Losses, name: str | None = None) -> str:
    """Shows a loss with its p-value, where it is claimed, or might have been."""
    p = "p < 0.001" if cost.p_holm < 0.001 else f"p = {cost.p_holm:.3f}"
    n = len(losses.costs)
    return _shown(cost, losses, name, f", {p}, Holm-corrected for {n} task{'s' if n > 1 else ''}")
