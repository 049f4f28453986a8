"""Tuned against base on every task and measure, with p-values that allow for how many comparisons there are.

Of 20 comparisons in which nothing changed, one is "significant" at the 5% level by chance. Holm's correction (1979,
Scandinavian Journal of Statistics 6) raises the p-values so that any false alarm among all of them is as rare as the
level says, however they depend on each other. From statsmodels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from statsmodels.stats.multitest import multipletests

from attune.evaluation.statistics.power import Sensitivity
from attune.evaluation.statistics.significance import Comparison, compare

Values = NDArray[np.float64]
Scores = Mapping[str, Values]  # (n_queries,) values of each measure


class Resampling(NamedTuple):
    """How carefully to compare: see `compare`."""

    n_resamples: int
    confidence: float
    seed: int


@dataclass(frozen=True)
class TaskComparison:
    """A task and measure in metrics/plots/comparisons.csv; `low` and `high` are the ends of the interval of delta."""

    task: str
    measure: str
    n: int
    base: float
    tuned: float
    delta: float
    low: float
    high: float
    p: float
    p_holm: float
    wins: int
    ties: int
    losses: int
    smallest_detectable: float


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values after Holm's correction for all of them, in the same order."""
    return [float(p) for p in multipletests(list(p_values), method="holm")[1]] if p_values else []


def compare_tasks(
    tasks: Mapping[str, tuple[Scores, Scores]], resampling: Resampling, power: float
) -> list[TaskComparison]:
    """Compares base and tuned task by task and measure by measure.

    Args:
        tasks: for each task the scores of base and of tuned, of the same queries in the same order, two at least.
        resampling: of the intervals and the tests.
        power: at which the smallest detectable difference is told; for a single comparison, without the correction.
    """
    found = [
        (task, measure, base[measure], tuned[measure], comparison)
        for task, (base, tuned) in tasks.items()
        for measure, comparison in compare(base, tuned, *resampling).items()
    ]
    corrected = holm([comparison.p_value for *_, comparison in found])
    return [_row(*one, p, resampling.confidence, power) for one, p in zip(found, corrected, strict=True)]


def _row(
    task: str,
    measure: str,
    base: Values,
    tuned: Values,
    found: Comparison,
    p_holm: float,
    confidence: float,
    power: float,
) -> TaskComparison:
    return TaskComparison(
        task=task,
        measure=measure,
        n=len(base),
        base=float(base.mean()),
        tuned=float(tuned.mean()),
        delta=found.delta,
        low=found.ci_low,
        high=found.ci_high,
        p=found.p_value,
        p_holm=p_holm,
        wins=found.wins,
        ties=found.ties,
        losses=found.losses,
        smallest_detectable=Sensitivity.of(tuned - base, confidence, power).smallest_detectable,
    )
