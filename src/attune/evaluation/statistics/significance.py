"""Intervals and randomization tests of the difference between two systems on the same queries, in clusters.

Queries of one cluster are not independent, clusters are; so clusters are resampled. The interval is that of the
delete-one-cluster jackknife (`clusters`) with one winning and one losing cluster added (`decision`). The p-value is
that of the paired randomization test with sign flips (Smucker, Allan and Carterette, 2007): the share of resamples with
a difference at least this large in size when, for each cluster, a coin decides which system got which scores. It agrees
with scipy's `permutation_test`, which takes minutes with 100,000 queries where a product of matrices takes seconds.

Where the tuned system was trained with several seeds, `compare_seeds` gives an interval that also covers other seeds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from attune.evaluation.statistics.clusters import by_cluster
from attune.evaluation.statistics.decision import decision_interval, with_one_each
from attune.runtime.arrays import Float64, Int64

CELLS = 4_000_000  # resampled values held at a time: bounds memory (32 MB) whatever the number of queries


class Resampling(NamedTuple):
    """Resamples and seed of the test, and confidence of the intervals.

    Attributes:
        n_resamples: of the test, whose smallest possible p-value is about 2 / n_resamples. Where so few clusters
            differ that there are no more sign flips than resamples, all are enumerated: the p-value is exact.
        confidence: of the intervals, such as 0.95.
        seed: of the draws.
    """

    n_resamples: int
    confidence: float
    seed: int


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
    resampling: Resampling,
) -> dict[str, Comparison]:
    """Compares two systems' per-query values, measure by measure, with the same sign flips for every measure.

    Args:
        baseline: for each measure (n_queries,) values between 0 and 1.
        tuned: the same measures of the same queries in the same order.
        clusters: (n_queries,) number of each query's cluster; all different where queries are independent.
        resampling: of the test and the interval.

    Raises:
        BadInput: there are fewer than two clusters.
    """
    deltas = np.stack([tuned[name] - baseline[name] for name in baseline])  # (n_measures, n_queries)
    sums = by_cluster(deltas, clusters)
    low, high = decision_interval(sums, resampling.confidence)
    p_values = _sign_flip_p_values(sums.sums, resampling.n_resamples, np.random.default_rng(resampling.seed))
    return {
        name: Comparison(
            delta=float(delta.mean()),
            ci_low=float(low[i]),
            ci_high=float(high[i]),
            p_value=float(p_values[i]),
            wins=int((delta > 0).sum()),
            ties=int((delta == 0).sum()),
            losses=int((delta < 0).sum()),
        )
        for i, (name, delta) in enumerate(zip(baseline, deltas, strict=True))
    }


def _sign_flip_p_values(sums: Float64, n_resamples: int, rng: np.random.Generator) -> Float64:
    """Returns the two-sided p-values of (n_measures, n_clusters) sums.

    Twice the smaller share of resamples with a sum at least as large, or as small, as the observed one. Flips of
    clusters that do not differ change nothing, so few that do have few flips, which are enumerated. Else flips are
    drawn, the same for every measure, and the observed sum counts among them (Phipson and Smyth, 2010).
    """
    n_differing = np.count_nonzero(sums, axis=1)
    is_exact = n_differing <= np.log2(n_resamples)
    p_values = np.empty(len(sums))
    for i in np.flatnonzero(is_exact):
        differing = sums[i : i + 1, sums[i] != 0]
        p_values[i] = 2 * _n_beyond(differing, _all_flips(differing.shape[1]))[0] / 2.0 ** n_differing[i]
    if not is_exact.all():
        n_beyond = _n_beyond(sums[~is_exact], _drawn_flips(sums.shape[1], n_resamples, rng))
        p_values[~is_exact] = 2 * (n_beyond + 1) / (n_resamples + 1)
    return p_values.clip(max=1.0)


def _n_beyond(sums: Float64, flips: Iterator[Float64]) -> Int64:
    """Returns the (n_measures,) numbers of flips whose sum is at least as large, or as small, as observed.

    The smaller of the two.

    Args:
        sums: (n_measures, n_clusters).
        flips: batches of (size, n_clusters), 1 where a cluster changes sides, else 0.
    """
    observed = sums.sum(axis=1)
    tolerance = 1e-12 * np.abs(sums).sum(axis=1)  # sums in another order differ by rounding
    n_above, n_below = (np.zeros(len(sums), dtype=np.int64) for _ in range(2))
    for batch in flips:
        flipped = observed - 2 * (batch @ sums.T)  # (size, n_measures)
        n_above += (flipped >= observed - tolerance).sum(axis=0)
        n_below += (flipped <= observed + tolerance).sum(axis=0)
    return np.minimum(n_above, n_below)


def _all_flips(n_clusters: int) -> Iterator[Float64]:
    """Yields all 2^n_clusters flips, in batches of (size, n_clusters)."""
    for start, size in _batches(2**n_clusters, n_clusters):
        yield (np.arange(start, start + size)[:, None] >> np.arange(n_clusters) & 1).astype(np.float64)


def _drawn_flips(n_clusters: int, n_resamples: int, rng: np.random.Generator) -> Iterator[Float64]:
    """Yields random flips, in batches of (size, n_clusters)."""
    for _, size in _batches(n_resamples, n_clusters):
        bits = rng.integers(0, 256, (size, (n_clusters + 7) // 8), dtype=np.uint8)
        yield np.unpackbits(bits, axis=1, count=n_clusters).astype(np.float64)


def _batches(n_rows: int, n_columns: int) -> Iterator[tuple[int, int]]:
    """Yields start and size of batches of at most CELLS values."""
    most = max(1, CELLS // max(1, n_columns))
    for start in range(0, n_rows, most):
        yield start, min(most, n_rows - start)


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
