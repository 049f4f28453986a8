"""Base against tuned on every task and measure, with p-values corrected for the number of comparisons."""

from collections.abc import Mapping
from dataclasses import dataclass

from attune.evaluation.statistics.holm import holm
from attune.evaluation.statistics.power import Sensitivity
from attune.evaluation.statistics.significance import Comparison, compare
from attune.runtime.arrays import Float64, Int64

Scores = Mapping[str, Float64]  # (n_queries,) values of each measure


@dataclass(frozen=True)
class TaskComparison:
    """A task and measure in metrics/plots/comparisons.csv; `low` and `high` are the ends of the interval of delta.

    All rows are one family: `p_holm` is corrected for their number, and so is the level of `smallest_detectable`.
    """

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


def compare_tasks(
    tasks: Mapping[str, tuple[Scores, Scores, Int64]], confidence: float, power: float
) -> list[TaskComparison]:
    """Compares base and tuned task by task and measure by measure.

    Args:
        tasks: for each task the scores of base and of tuned on the same queries in the same order, and the (n_queries,)
            numbers of these queries' clusters, at least two.
        confidence: of the intervals; 1 less the significance level of all tests together.
        power: of the smallest detectable difference, at the level that Holm's correction for all of these comparisons
            asks of the smallest p-value.

    Raises:
        BadInput: the queries of a task are in fewer than two clusters.
    """
    compared = [
        (task, measure, base[measure], tuned[measure], clusters, comparison)
        for task, (base, tuned, clusters) in tasks.items()
        for measure, comparison in compare(base, tuned, clusters, confidence).items()
    ]
    corrected = holm([comparison.p_value for *_, comparison in compared])
    return [
        _task_comparison(*one, p, confidence, power, len(corrected)) for one, p in zip(compared, corrected, strict=True)
    ]


def _task_comparison(
    task: str,
    measure: str,
    base: Float64,
    tuned: Float64,
    clusters: Int64,
    comparison: Comparison,
    p_holm: float,
    confidence: float,
    power: float,
    n_comparisons: int,
) -> TaskComparison:
    return TaskComparison(
        task=task,
        measure=measure,
        n=len(base),
        base=float(base.mean()),
        tuned=float(tuned.mean()),
        delta=comparison.delta,
        low=comparison.ci_low,
        high=comparison.ci_high,
        p=comparison.p_value,
        p_holm=p_holm,
        wins=comparison.wins,
        ties=comparison.ties,
        losses=comparison.losses,
        smallest_detectable=Sensitivity.of(
            tuned - base, clusters, confidence, power, n_comparisons
        ).smallest_detectable,
    )
