"""Bootstrap intervals and randomization tests of the difference between two systems on the same queries.

The interval is the percentile bootstrap over queries (Sakai, 2006). The p-value is that of the paired randomization
test with sign flips (Smucker, Allan and Carterette, 2007): the share of resamples with a difference at least this large
in size when, for each query, a coin decides which system got which score. Both come from scipy and are seeded.

Where the tuned system was trained with several seeds, `compare_seeds` gives an interval that also covers other seeds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap, permutation_test

from attune.errors import BadInput
from attune.runtime.arrays import Float64

CELLS = 4_000_000  # resampled values held at a time: bounds memory (32 MB) whatever the number of queries


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
    baseline: Mapping[str, Float64], tuned: Mapping[str, Float64], n_resamples: int, confidence: float, seed: int
) -> dict[str, Comparison]:
    """Compares two systems' per-query values, measure by measure, on the same resampled queries.

    Args:
        baseline: for each measure (n_queries,) values.
        tuned: the same measures of the same queries in the same order.
        n_resamples: of the bootstrap and of the test; the smallest possible p-value is about 2 / n_resamples. With so
            few queries that there are no more sign flips than resamples, all are enumerated: the p-value is exact.
        confidence: of the interval, such as 0.95.
        seed: of both resamplings.

    Raises:
        BadInput: there are fewer than two queries.
    """
    deltas = np.stack([tuned[name] - baseline[name] for name in baseline])  # (n_measures, n_queries)
    low, high = _over_queries(deltas, n_resamples, confidence, seed)
    p_values = permutation_test(
        (deltas,), np.mean, permutation_type="samples", rng=np.random.default_rng(seed), **_steps(deltas, n_resamples)
    ).pvalue
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


def compare_seeds(
    baseline: Mapping[str, Float64], tuned: Mapping[str, Float64], n_resamples: int, confidence: float, seed: int
) -> dict[str, Interval]:
    """Crossed bootstrap: the mean difference and an interval that covers other queries and other seeds.

    Seeds and queries are drawn with replacement, independently of each other, and each draw's mean is over all pairs of
    a drawn seed and a drawn query (the pigeonhole bootstrap; Owen, 2007, Annals of Applied Statistics 1). The interval
    is too wide rather than too narrow where seeds disagree about single queries. Draws n - 1 of n seeds, so that the
    variance of their mean is unbiased (Rao and Wu, 1988, JASA 83); drawing n understates it by 1/n (half, for two
    seeds). Two or three seeds are still a small sample of all seeds; no interval corrects for that.

    Args:
        baseline: for each measure (n_queries,) values.
        tuned: the same measures, (n_seeds, n_queries) values of the same queries in the same order. With one seed the
            interval is that of `compare`, over queries alone.
        n_resamples: of the bootstrap.
        confidence: of the interval, such as 0.95.
        seed: of the resampling.

    Raises:
        BadInput: there are fewer than two queries.
    """
    deltas = np.stack([tuned[name] - baseline[name] for name in baseline])  # (n_measures, n_seeds, n_queries)
    if deltas.shape[1] == 1:
        low, high = _over_queries(deltas[:, 0], n_resamples, confidence, seed)
    else:
        means = _crossed_means(deltas, n_resamples, np.random.default_rng(seed))
        tail = (1 - confidence) / 2
        low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    intervals = zip(baseline, deltas.mean(axis=(1, 2)), low, high, strict=True)
    return {name: Interval(*map(float, figures)) for name, *figures in intervals}


def _crossed_means(deltas: Float64, n_resamples: int, rng: np.random.Generator) -> Float64:
    """Returns (n_resamples, n_measures) means over drawn seeds and queries, with the same draws for every measure."""
    n_measures, n_seeds, n_queries = deltas.shape
    _check_queries(n_queries)
    batch = max(1, CELLS // (n_measures * n_queries))
    means = np.empty((n_resamples, n_measures))
    for start in range(0, n_resamples, batch):
        size = min(batch, n_resamples - start)
        # draws of each seed and of each query
        seeds = rng.multinomial(n_seeds - 1, np.full(n_seeds, 1 / n_seeds), size=size)
        queries = rng.multinomial(n_queries, np.full(n_queries, 1 / n_queries), size=size)
        totals = np.einsum("bs,msq,bq->bm", seeds, deltas, queries, optimize=True)
        means[start : start + size] = totals / ((n_seeds - 1) * n_queries)
    return means


def _over_queries(deltas: Float64, n_resamples: int, confidence: float, seed: int) -> tuple[Float64, Float64]:
    """Returns the (n_measures,) low and high ends of percentile intervals of (n_measures, n_queries) differences."""
    _check_queries(deltas.shape[1])
    interval = bootstrap(
        (deltas,),
        np.mean,
        method="percentile",
        confidence_level=confidence,
        rng=np.random.default_rng(seed),
        **_steps(deltas, n_resamples),
    ).confidence_interval
    return interval.low, interval.high


def _steps(deltas: Float64, n_resamples: int) -> dict[str, int | bool]:
    """Returns scipy's arguments for the resamples; batches bound the memory."""
    return {"n_resamples": n_resamples, "batch": max(1, CELLS // deltas.size), "vectorized": True, "axis": -1}


def _check_queries(n_queries: int) -> None:
    if n_queries < 2:
        raise BadInput(f"comparison: {n_queries} test queries, at least 2 are needed; enlarge the test split")
