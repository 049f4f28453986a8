"""Means over queries and their standard errors, which are those over clusters of queries.

Queries of a cluster are no independent evidence. One function for probes of learning rates, restarts, merge's choice
and its floors.
"""

from typing import NamedTuple

import numpy as np

from attune.runtime.arrays import Float64, Int64

TOLERANCE = 1e-6  # differences of nDCG up to this size are rounding


class Estimate(NamedTuple):
    """A mean or a ratio of means over queries, and its standard error, infinite where there is one cluster only."""

    value: float
    error: float


def gain(values: Float64, of_base: Float64, clusters: Int64) -> Estimate:
    """Returns the mean paired difference over queries.

    Args:
        values: (n_queries,) scores.
        of_base: (n_queries,) scores of the base.
        clusters: (n_queries,) number of each query's cluster.
    """
    differences = values - of_base
    mean = float(differences.mean())
    return Estimate(mean, _standard_error(differences - mean, clusters))


def kept(values: Float64, of_base: Float64, clusters: Int64) -> Estimate:
    """Returns the mean score as a share of the base's, by the delta method; 1 if the base scores 0.

    Arguments are those of `gain`.
    """
    total = float(of_base.mean())
    if not total:
        return Estimate(1.0, 0.0)
    ratio = float(values.mean()) / total
    return Estimate(ratio, _standard_error(values - ratio * of_base, clusters) / total)


def _standard_error(residuals: Float64, clusters: Int64) -> float:
    """Returns the standard error of a mean whose residuals are correlated within clusters (Liang and Zeger, 1986)."""
    sums = np.bincount(clusters, weights=residuals)[np.unique(clusters)]
    if len(sums) < 2:
        return float("inf")
    return float(np.sqrt(len(sums) / (len(sums) - 1) * (sums**2).sum()) / len(residuals))
