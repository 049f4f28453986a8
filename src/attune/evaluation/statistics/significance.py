"""Intervals and randomization tests of the difference between two systems on the same queries, in clusters.

Queries of one cluster are not independent, clusters are; so clusters are left out and flipped. The interval is that of
the delete-one-cluster jackknife (`clusters`) with one winning and one losing cluster added (`decision`). The p-value is
that of the paired randomization test, exact (`sign_flips`).

Where the tuned system was trained with several seeds, `compare_seeds` gives an interval that also covers other seeds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from attune.evaluation.statistics.clusters import by_cluster
from attune.evaluation.statistics.decision import decision_interval, with_one_each
from attune.evaluation.statistics.sign_flips import exact_p
from attune.runtime.arrays import Float64, Int64


@dataclass(frozen=True)
class Interval:
    """Mean difference over seeds and queries, and its confidence interval."""

    delta: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True)
class Comparison:
    """Mean difference per query, its confidence interval, its p-value, and the queries that won, tied and lost."""

    delta: float
    ci_low: float
    ci_high: float
    p_value: float
    wins: int
    ties: int
    losses: int


def compare(
    baseline: Mapping[str, Float64],
    tuned: Mapping[str, Float64],
    clusters: Int64,
    confidence: float,
) -> dict[str, Comparison]:
    """Compares two systems' per-query values, measure by measure.

    Args:
        baseline: for each measure (n_queries,) values between 0 and 1.
        tuned: the same measures of the same queries in the same order.
        clusters: (n_queries,) number of each query's cluster; all different where queries are independent.
        confidence: of the intervals.

    Raises:
        BadInput: there are fewer than two clusters.
    """
    deltas = np.stack([tuned[name] - baseline[name] for name in baseline])  # (n_measures, n_queries)
    sums = by_cluster(deltas, clusters)
    low, high = decision_interval(sums, confidence)
    return {
        name: Comparison(
            delta=float(delta.mean()),
            ci_low=float(low[i]),
            ci_high=float(high[i]),
            p_value=exact_p(sums.sums[i]),
            wins=int((delta > 0).sum()),
            ties=int((delta == 0).sum()),
            losses=int((delta < 0).sum()),
        )
        for i, (name, delta) in enumerate(zip(baseline, deltas, strict=True))
    }


def compare_seeds(
    baseline: Mapping[str, Float64],
    tuned: Mapping[str, Float64],
    clusters: Int64,
    confidence: float,
) -> dict[str, Interval]:
    """Returns the mean difference and an interval that covers other queries and other seeds.

    The error has two parts, of clusters and of seeds, each with its own degrees of freedom: a handful of seeds knows
    its spread badly. Each part is multiplied by its own quantile of Student's t before they are added in squares, which
    keeps the confidence whatever the two variances are (Banerjee, 1961, Sankhya A 23); with two seeds the quantile at
    95% is 12.7, with three 4.3, with five 2.8. Satterthwaite's common degrees of freedom and the bootstrap are
    narrower and do not keep it with two or three seeds. What seeds and queries do together counts in both parts, so the
    interval is too wide rather than too narrow where seeds disagree about single queries.

    Args:
        baseline: for each measure (n_queries,) values between 0 and 1.
        tuned: the same measures, (n_seeds, n_queries) values of the same queries in the same order. With one seed the
            interval is that of `compare`, over queries alone.
        clusters: (n_queries,) number of each query's cluster.
        confidence: of the interval, such as 0.95.

    Raises:
        BadInput: there are fewer than two clusters.
    """
    deltas = np.stack([tuned[name] - baseline[name] for name in baseline])  # (n_measures, n_seeds, n_queries)
    averaged = with_one_each(by_cluster(deltas.mean(axis=1), clusters))
    reach = np.hypot(averaged.reach(confidence), _seeds_reach(deltas.mean(axis=2), confidence))
    ends = ((averaged.mean + side * reach).clip(-1, 1) for side in (-1, 1))
    intervals = zip(baseline, deltas.mean(axis=(1, 2)), *ends, strict=True)
    return {name: Interval(*map(float, figures)) for name, *figures in intervals}


def _seeds_reach(means: Float64, confidence: float) -> Float64:
    """Returns the (n_measures,) half widths of the t intervals of the mean over seeds; 0 with one seed.

    Args:
        means: (n_measures, n_seeds) of each seed's encoder.
        confidence: of the intervals.
    """
    n_seeds = means.shape[1]
    if n_seeds == 1:
        return np.zeros(len(means))
    error: Float64 = means.std(axis=1, ddof=1) / np.sqrt(n_seeds)
    return error * float(stdtrit(n_seeds - 1, (1 + confidence) / 2))
