"""Intervals and randomization tests of the difference between two systems on the same queries, in clusters.

Queries of one cluster are not independent, clusters are; so clusters are resampled. The interval is that of the
delete-one-cluster jackknife (`clusters`). The p-value is that of the paired randomization test with sign flips
(Smucker, Allan and Carterette, 2007): the share of resamples with a difference at least this large in size when, for
each cluster, a coin decides which system got which scores. It agrees with scipy's `permutation_test`, which takes
minutes with 100,000 queries where a product of matrices takes seconds.

Where the tuned system was trained with several seeds, `compare_seeds` gives an interval that also covers other seeds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, stdtrit

from attune.evaluation.statistics.clusters import ClusterSums, by_cluster
from attune.runtime.arrays import Float64, Int64

CELLS = 4_000_000  # resampled values held at a time: bounds memory (32 MB) whatever the number of queries


class Resampling(NamedTuple):
    """Resamples, confidence and seed of intervals and tests.

    Attributes:
        n_resamples: of the test, whose smallest possible p-value is about 2 / n_resamples, and of the bootstrap over
            seeds. With so few clusters that there are no more sign flips than resamples, all are enumerated: the
            p-value is exact.
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
        baseline: for each measure (n_queries,) values.
        tuned: the same measures of the same queries in the same order.
        clusters: (n_queries,) number of each query's cluster; all different where queries are independent.
        resampling: of the test and the interval.

    Raises:
        BadInput: there are fewer than two clusters.
    """
    deltas = np.stack([tuned[name] - baseline[name] for name in baseline])  # (n_measures, n_queries)
    sums = by_cluster(deltas, clusters)
    low, high = sums.interval(resampling.confidence)
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
    """Returns the two-sided p-values of (n_measures, n_clusters) sums, with the same flips for every measure.

    Twice the smaller share of resamples with a sum at least as large, or as small, as the observed one; the observed
    one counts among drawn resamples (Phipson and Smyth, 2010), not among enumerated ones, which hold it.
    """
    n_measures, n_clusters = sums.shape
    is_exact = n_clusters < 63 and 2**n_clusters <= n_resamples
    n_flips = 2**n_clusters if is_exact else n_resamples
    observed = sums.sum(axis=1)
    tolerance = 1e-12 * np.abs(sums).sum(axis=1)  # sums in another order differ by rounding
    n_above, n_below = np.zeros(n_measures, dtype=np.int64), np.zeros(n_measures, dtype=np.int64)
    batch = max(1, CELLS // n_clusters)
    for start in range(0, n_flips, batch):
        size = min(batch, n_flips - start)
        if is_exact:
            flips = (np.arange(start, start + size)[:, None] >> np.arange(n_clusters) & 1).astype(np.float64)
        else:
            bits = rng.integers(0, 256, (size, (n_clusters + 7) // 8), dtype=np.uint8)
            flips = np.unpackbits(bits, axis=1, count=n_clusters).astype(np.float64)
        flipped = observed - 2 * (flips @ sums.T)  # (size, n_measures)
        n_above += (flipped >= observed - tolerance).sum(axis=0)
        n_below += (flipped <= observed + tolerance).sum(axis=0)
    counted = 0 if is_exact else 1
    p_values: Float64 = 2 * (np.minimum(n_above, n_below) + counted) / (n_flips + counted)
    return p_values.clip(max=1.0)


def compare_seeds(
    baseline: Mapping[str, Float64],
    tuned: Mapping[str, Float64],
    clusters: Int64,
    resampling: Resampling,
) -> dict[str, Interval]:
    """Crossed bootstrap: the mean difference and an interval that covers other queries and other seeds.

    Seeds and clusters are drawn with replacement, independently of each other, and each draw's mean is over all pairs
    of a drawn seed and a query of a drawn cluster (the pigeonhole bootstrap; Owen, 2007, Annals of Applied Statistics
    1). The interval is too wide rather than too narrow where seeds disagree about single queries. Draws n - 1 of n
    seeds and of n clusters, so that the variance of their mean is unbiased (Rao and Wu, 1988, JASA 83); drawing n
    understates it by 1/n (half, for two seeds). The percentiles are those of Student's t over clusters in place of the
    normal distribution, as few clusters know their spread badly (the expanded percentile interval; Hesterberg, 2015,
    The American Statistician 69). Two or three seeds are still a small sample of all seeds; no interval corrects for
    that.

    Args:
        baseline: for each measure (n_queries,) values.
        tuned: the same measures, (n_seeds, n_queries) values of the same queries in the same order. With one seed the
            interval is that of `compare`, over queries alone.
        clusters: (n_queries,) number of each query's cluster.
        resampling: of the bootstrap and the interval.

    Raises:
        BadInput: there are fewer than two clusters.
    """
    deltas = np.stack([tuned[name] - baseline[name] for name in baseline])  # (n_measures, n_seeds, n_queries)
    sums = by_cluster(deltas, clusters)
    if deltas.shape[1] == 1:
        low, high = (ends[:, 0] for ends in sums.interval(resampling.confidence))
    else:
        means = _crossed_means(sums, resampling.n_resamples, np.random.default_rng(resampling.seed))
        tail = float(ndtr(-stdtrit(sums.n_clusters - 1, (1 + resampling.confidence) / 2)))
        low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    intervals = zip(baseline, deltas.mean(axis=(1, 2)), low, high, strict=True)
    return {name: Interval(*map(float, figures)) for name, *figures in intervals}


def _crossed_means(sums: ClusterSums, n_resamples: int, rng: np.random.Generator) -> Float64:
    """Returns (n_resamples, n_measures) means over drawn seeds and clusters, with the same draws for every measure.

    Args:
        sums: over clusters, (n_measures, n_seeds, n_clusters).
        n_resamples: number of draws.
        rng: of the draws.
    """
    n_measures, n_seeds, n_clusters = sums.sums.shape
    batch = max(1, CELLS // (2 * n_clusters))
    means = np.empty((n_resamples, n_measures))
    for start in range(0, n_resamples, batch):
        size = min(batch, n_resamples - start)
        # draws of each seed and of each cluster
        seeds, clusters = _n_draws(n_seeds, size, rng), _n_draws(n_clusters, size, rng)
        by_seed = (clusters @ sums.sums.reshape(-1, n_clusters).T).reshape(size, n_measures, n_seeds)
        totals = np.einsum("bs,bms->bm", seeds, by_seed)
        means[start : start + size] = totals / ((n_seeds - 1) * (clusters @ sums.sizes))[:, None]
    return means


def _n_draws(n: int, size: int, rng: np.random.Generator) -> Float64:
    """Returns (size, n): how often each of n things comes up in n - 1 draws with replacement."""
    drawn = rng.integers(0, n, (size, n - 1)) + n * np.arange(size)[:, None]  # multinomial draws take minutes
    return np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)
