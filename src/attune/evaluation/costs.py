"""Relative losses on tasks beside the domain's, with their intervals and the smallest losses that the tasks detect.

Base and tuned have a value on each item of a task (query, pair, text), so a loss is judged on pairs of values. The
standard error is that of the delete-a-group jackknife: leave out each cluster of items in turn, and see how the
difference moves. It serves means and rank correlations alike (Tukey, 1958; Arvesen, 1969, "Jackknifing U-statistics",
Annals of Mathematical Statistics 40) and needs no random numbers. Its t interval holds from 30 clusters on for means;
for rank correlations it is rather too wide than too narrow, as the jackknife's variance is never too small in
expectation (Efron and Stein, 1981, Annals of Statistics 9).

Several tasks are each tested for a loss, so the p-values of that t-test are Holm-corrected for all of them, and a loss
is certain only where the corrected one is significant. Intervals are those of single tasks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from attune.evaluation.statistics.chance import is_significant, significance_level
from attune.evaluation.statistics.holm import holm
from attune.runtime.arrays import Float64, Int64

MAX_GROUPS = 500  # of the jackknife where every group needs the ranks of all other items: bounds the time
ROUNDING = 1e-12  # standard error up to which the groups differ by rounding alone


@dataclass(frozen=True)
class PairedItems:
    """The values of base and tuned on the items of a task.

    Attributes:
        task: its name.
        measure: ndcg@10, knn_accuracy (means of the values), or spearman (rank correlation of values and grades).
        counts_as: general or near_domain.
        clusters: (n items,) name of the cluster of each item; items of one cluster are no independent evidence.
        base: (n items,) values.
        tuned: (n items,) values.
        grades: (n items,) of similarity; unused by other measures.
    """

    task: str
    measure: str
    counts_as: str
    clusters: NDArray[np.str_]
    base: Float64
    tuned: Float64
    grades: Float64


@dataclass(frozen=True)
class TaskCost:
    """Relative loss of a measure, 1 - tuned/base: above 0 tuned is worse.

    Attributes:
        task: its name.
        measure: as in PairedItems.
        counts_as: general or near_domain.
        base: score of the base.
        tuned: score of tuned.
        cost: relative loss.
        low: lower end of its interval.
        high: upper end: a larger loss is ruled out at this confidence.
        p_holm: p-value of the change, corrected for all tested tasks.
        is_significant: whether p_holm is at most the significance level.
        detectable: smallest relative loss that is significant with the required power, by the level that Holm's
            correction asks of the smallest p-value.
    """

    task: str
    measure: str
    counts_as: str
    base: float
    tuned: float
    cost: float
    low: float
    high: float
    p_holm: float
    is_significant: bool
    detectable: float

    @property
    def name(self) -> str:
        """The task's measure, as the receipt of stage probe names it: "general_similarity.spearman"."""
        return f"{self.task}.{self.measure}"

    @property
    def is_certain(self) -> bool:
        """True if the interval lies wholly on the side of a loss, and the corrected p-value is significant."""
        return self.low > 0 and self.is_significant


@dataclass(frozen=True)
class Unmeasured:
    """A task whose loss cannot be measured, and why."""

    task: str
    measure: str
    counts_as: str
    reason: str

    @property
    def name(self) -> str:
        """The task's measure, as that of TaskCost."""
        return f"{self.task}.{self.measure}"


@dataclass(frozen=True)
class Change:
    """Change of a score before any correction: relative loss, its standard error, and the number of clusters."""

    base: float
    tuned: float
    error: float
    n_clusters: int

    @property
    def cost(self) -> float:
        """Relative loss."""
        return (self.base - self.tuned) / self.base

    @property
    def p_value(self) -> float:
        """Two-sided p-value: that of the t-test, or of the rule of three where no cluster differs from the others."""
        if self.error <= ROUNDING:
            return float((1 - min(1.0, abs(self.cost))) ** self.n_clusters)
        return float(2 * stdtr(self.n_clusters - 1, -abs(self.cost) / self.error))

    def margin(self, confidence: float, power: float = 0.5) -> float:
        """Returns half the width of the interval; with a power, the smallest loss that is detected with it.

        That loss is (t of the confidence + t of the power) standard errors, the usual approximation of the paired
        t-test's. If all clusters change alike, the standard error is 0 and tells nothing; a change of
        1 - (1 - confidence)^(1/n), about 3/n, of n clusters is still compatible with that (the rule of three; Hanley
        and Lippman-Hand, 1983, JAMA 249) and stands for both.
        """
        if self.error <= ROUNDING:
            return float(1 - (1 - confidence) ** (1 / self.n_clusters))
        n = self.n_clusters - 1
        return float((stdtrit(n, (1 + confidence) / 2) + stdtrit(n, power)) * self.error)


def task_costs(
    tasks: Sequence[PairedItems], confidence: float, power: float
) -> tuple[list[TaskCost], list[Unmeasured]]:
    """Returns the relative losses on all tasks, each with the interval of the difference as a share of base's score.

    Args:
        tasks: their items.
        confidence: of the two-sided intervals, such as 0.95.
        power: such as 0.8.

    Returns:
        The losses, and the tasks without one: the base scores 0 or less, or all items are one cluster.
    """
    changes = [(items, change_of(items)) for items in tasks]
    tested = [(items, change) for items, change in changes if isinstance(change, Change)]
    unmeasured = [
        Unmeasured(items.task, items.measure, items.counts_as, reason)
        for items, reason in changes
        if isinstance(reason, str)
    ]
    corrected = holm([change.p_value for _, change in tested])
    strictest = 1 - significance_level(confidence) / max(1, len(tested))
    costs = [
        TaskCost(
            task=items.task,
            measure=items.measure,
            counts_as=items.counts_as,
            base=change.base,
            tuned=change.tuned,
            cost=change.cost,
            low=change.cost - change.margin(confidence),
            high=change.cost + change.margin(confidence),
            p_holm=p_holm,
            is_significant=is_significant(p_holm, confidence),
            detectable=change.margin(strictest, power),
        )
        for (items, change), p_holm in zip(tested, corrected, strict=True)
    ]
    return costs, unmeasured


def change_of(items: PairedItems) -> Change | str:
    """Returns the change on a task, or why it cannot be measured, in words."""
    groups = _groups(items)
    base, tuned = _scores(items, items.base, groups), _scores(items, items.tuned, groups)
    if base[0] <= 0:
        return "the base scores 0 or less, so there is nothing to lose"
    if len(base) - 1 < 2:
        return "all items are one cluster, so the interval is unknown"
    error = _standard_error(base[1:] - tuned[1:]) / float(base[0])
    return Change(float(base[0]), float(tuned[0]), error, len(base) - 1)


def _standard_error(left_out: Float64) -> float:
    """Returns the jackknife's standard error from the (n groups,) figures without each group."""
    n = len(left_out)
    return float(np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum()))


def _groups(items: PairedItems) -> Int64:
    """Returns the group, from 0, that each item is left out with: its cluster; for rank correlations at most 500."""
    groups = np.unique(items.clusters, return_inverse=True)[1].astype(np.int64)
    return groups % MAX_GROUPS if items.measure == "spearman" else groups


def _scores(items: PairedItems, values: Float64, groups: Int64) -> Float64:
    """Returns the score on all items, then the score without each group."""
    n = int(groups.max()) + 1
    if items.measure == "spearman":
        kept = [np.full(len(values), True), *(groups != group for group in range(n))]
        return np.array([spearman(values[rows], items.grades[rows]) for rows in kept])
    totals, counts = np.bincount(groups, values, n), np.bincount(groups, minlength=n)
    left = np.maximum(len(values) - counts, 1)  # a single group leaves nothing, which scores 0
    return np.concatenate([[values.mean()], (totals.sum() - totals) / left])


def spearman(one: Float64, other: Float64) -> float:
    """Spearman's rank correlation of two (n,) arrays, ties at their mean rank; 0 where one of them is constant."""
    ranks = np.stack([_ranks(one), _ranks(other)])
    ranks -= ranks.mean(axis=1, keepdims=True)
    spread = float(np.sqrt(np.prod((ranks**2).sum(axis=1))))
    return float(ranks[0] @ ranks[1]) / spread if spread else 0.0


def _ranks(values: Float64) -> Float64:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    means: Float64 = np.cumsum(counts) - (counts - 1) / 2
    ranks: Float64 = means[places]
    return ranks


def least_kept(costs: Sequence[TaskCost]) -> dict[str, float | str]:
    """Returns the least share of a score that is kept on some tasks, with its task; {} without tasks."""
    worst = max(costs, key=lambda cost: (cost.cost, cost.task), default=None)
    return {"least_near_kept": 1 - worst.cost, "least_near_kept_of": worst.name} if worst else {}
