"""Relative losses on tasks beside the domain's, with their intervals and the smallest losses that the tasks detect.

Base and tuned have a value on each item of a task (query, pair, text), so a loss is judged on pairs of values. The
standard error is that of the delete-a-group jackknife: leave out each cluster of items in turn, and see how the
difference moves. It serves means and rank correlations alike (Tukey, 1958; Arvesen, 1969, "Jackknifing U-statistics",
Annals of Mathematical Statistics 40) and needs no random numbers. Its t interval holds from 30 clusters on for means;
for rank correlations it is rather too wide than too narrow, as the jackknife's variance is never too small in
expectation (Efron and Stein, 1981, Annals of Statistics 9).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from attune.runtime.arrays import Float64, Int64

MAX_GROUPS = 500  # of the jackknife where every group needs the ranks of all other items: bounds the time


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
        detectable: smallest relative loss that the task detects with the required power.
    """

    task: str
    measure: str
    counts_as: str
    base: float
    tuned: float
    cost: float
    low: float
    high: float
    detectable: float

    @property
    def name(self) -> str:
        """The task's measure, as the receipt of stage probe names it: "general_similarity.spearman"."""
        return f"{self.task}.{self.measure}"

    @property
    def is_certain(self) -> bool:
        """True if the interval lies wholly on the side of a loss."""
        return self.low > 0


def task_cost(items: PairedItems, confidence: float, power: float) -> TaskCost | None:
    """Returns the relative loss on a task, with the interval of the difference as a share of the base's score.

    The smallest detectable loss is (t of the confidence + t of the power) standard errors, the usual approximation of
    the paired t-test's. If no score differs without any cluster, the standard error is 0 and tells nothing; a change of
    1 - (1 - confidence)^(1/n), about 3/n, of n clusters is still compatible with that (the rule of three; Hanley and
    Lippman-Hand, 1983, JAMA 249) and stands for both.

    Args:
        items: of the task.
        confidence: of the two-sided interval, such as 0.95.
        power: such as 0.8.

    Returns:
        None where the base scores 0 or less, so that there is nothing to lose, or where all items are one cluster.
    """
    groups = _groups(items)
    base, tuned = _scores(items, items.base, groups), _scores(items, items.tuned, groups)
    n = len(base) - 1
    if n < 2 or base[0] <= 0:
        return None
    cost = (base[0] - tuned[0]) / base[0]
    if error := _standard_error(base[1:] - tuned[1:]) / base[0]:
        margin = stdtrit(n - 1, (1 + confidence) / 2) * error
        detectable = margin + stdtrit(n - 1, power) * error
    else:
        margin = detectable = 1 - (1 - confidence) ** (1 / n)
    figures = base[0], tuned[0], cost, cost - margin, cost + margin, detectable
    return TaskCost(items.task, items.measure, items.counts_as, *map(float, figures))


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
