"""Mean over queries that come in clusters: its standard error and interval, and the clusters' sums.

Queries of one cluster share documents or read alike, so their scores rise and fall together, and a thousand of them
hold less information than a thousand independent ones. The clusters are independent, so they are what is left out,
flipped and drawn. Clusters of one query each give the textbook's figures for independent queries.

The standard error is that of the delete-one-cluster jackknife with Student's t on one degree of freedom less than there
are clusters: CV3 of MacKinnon, Nielsen and Webb (2023, Journal of Applied Econometrics 38). Simulated on differences of
retrieval scores (many at 0, skewed; 30 to 1,000 queries; clusters of one, of four, of unequal sizes with a fifth of the
queries in one), it holds its level or stays below it, where the percentile and BCa bootstrap of so few clusters do not.
With clusters of equal size it equals the cluster-robust interval of statsmodels; with one query each, the paired t
interval. Takes numpy and scipy alone, because the gate runs where nothing else is installed.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from attune.errors import BadInput
from attune.runtime.arrays import Float64, Int64


@dataclass(frozen=True)
class ClusterSums:
    """Sums of values over the queries of each cluster.

    Attributes:
        sums: (..., n_clusters).
        sizes: (n_clusters,) number of queries of each cluster.
    """

    sums: Float64
    sizes: Float64

    @property
    def n_clusters(self) -> int:
        """Number of clusters."""
        return len(self.sizes)

    @property
    def mean(self) -> Float64:
        """(...,) means over queries: a cluster counts by its size."""
        mean: Float64 = self.sums.sum(axis=-1) / self.sizes.sum()
        return mean

    @property
    def error(self) -> Float64:
        """(...,) standard errors of the means, by the delete-one-cluster jackknife (two clusters or more)."""
        residuals = self.sums - self.mean[..., None] * self.sizes
        shifts = residuals / (self.sizes.sum() - self.sizes)  # mean over all queries, less that without the cluster
        n = self.n_clusters
        error: Float64 = np.sqrt((n - 1) / n * (shifts**2).sum(axis=-1))
        return error

    def reach(self, confidence: float) -> Float64:
        """Returns the (...,) half widths of the means' confidence intervals (two clusters or more)."""
        reach: Float64 = self.error * stdtrit(self.n_clusters - 1, (1 + confidence) / 2)
        return reach

    def interval(self, confidence: float) -> tuple[Float64, Float64]:
        """Returns the (...,) low and high ends of the means' confidence intervals (two clusters or more)."""
        reach = self.reach(confidence)
        return self.mean - reach, self.mean + reach


def numbered(cluster_ids: Int64 | list[str]) -> Int64:
    """Returns the (n_queries,) numbers of the queries' clusters, from 0 in the order in which clusters first appear."""
    _, first, inverse = np.unique(np.asarray(cluster_ids), return_index=True, return_inverse=True)
    numbers: Int64 = np.argsort(np.argsort(first))[inverse]
    return numbers


def by_cluster(values: Float64, clusters: Int64) -> ClusterSums:
    """Sums values over the queries of each cluster.

    Args:
        values: (..., n_queries).
        clusters: (n_queries,) any number for each cluster; clusters are ordered by their first query.

    Raises:
        BadInput: there are fewer than two clusters, so that a mean has no standard error.
    """
    if (n := len(np.unique(clusters))) < 2:
        raise BadInput(
            f"comparison: {values.shape[-1]} test queries in {n} cluster(s), at least 2 clusters are needed; "
            "enlarge the test split"
        )
    return cluster_sums(values, clusters)


def cluster_sums(values: Float64, clusters: Int64) -> ClusterSums:
    """Sums values as `by_cluster` does, of a single cluster, too, where "cannot tell" is an outcome."""
    numbers = numbered(clusters)
    sizes = np.bincount(numbers).astype(np.float64)
    sums = [np.bincount(numbers, weights=row) for row in values.reshape(-1, len(numbers))]
    return ClusterSums(np.array(sums, dtype=np.float64).reshape(*values.shape[:-1], len(sizes)), sizes)
