"""Power analysis: the smallest difference that a test of n queries detects, and the queries that a difference needs.

A test that is too small misses real gains, and the gains that it does detect look larger than they are. The figures are
those of the paired t-test, which the literature uses to choose how many queries to judge (Webber, Moffat and Zobel,
2008, CIKM; Sakai, 2016, Information Retrieval Journal 19), and with which the paired randomization test agrees on
retrieval scores (Smucker, Allan and Carterette, 2007). From statsmodels. Queries that come in clusters count as the
clusters do: the standard error and the degrees of freedom are those of `clusters` (the design effect of Kish, 1965).
"""

from dataclasses import dataclass
from math import ceil, isnan, sqrt

from statsmodels.stats.power import TTestPower

from attune.evaluation.statistics.clusters import by_cluster
from attune.runtime.arrays import Float64, Int64


@dataclass(frozen=True)
class Sensitivity:
    """Sensitivity of a two-sided paired test.

    Attributes:
        n_queries: of the test.
        n_clusters: of these queries, two or more; `n_queries` where they are independent.
        error: standard error of the mean difference.
        confidence: 1 less the significance level.
        power: required probability of detecting a difference.
    """

    n_queries: int
    n_clusters: int
    error: float
    confidence: float
    power: float

    @classmethod
    def of(cls, deltas: Float64, clusters: Int64, confidence: float, power: float) -> "Sensitivity":
        """Returns the sensitivity of a comparison with these differences.

        Args:
            deltas: (n_queries,) differences.
            clusters: (n_queries,) number of each query's cluster.
            confidence: 1 less the significance level.
            power: required probability of detecting a difference.

        Raises:
            BadInput: there are fewer than two clusters.
        """
        sums = by_cluster(deltas, clusters)
        return cls(len(deltas), sums.n_clusters, float(sums.error), confidence, power)

    @property
    def sd(self) -> float:
        """Standard deviation between clusters of average size; between queries where they are independent."""
        return self.error * sqrt(self.n_clusters)

    @property
    def smallest_detectable(self) -> float:
        """Smallest mean difference detected with this power; 0 where the differences of all queries are equal."""
        return self.sd * _solve(effect_size=None, nobs=self.n_clusters, alpha=1 - self.confidence, power=self.power)

    def chance_of(self, delta: float) -> float:
        """Returns the probability of detecting a mean difference of this size, whatever its sign."""
        if not self.error:
            return 1.0 if delta else 1 - self.confidence
        size = abs(delta) / self.sd
        return float(TTestPower().power(size, self.n_clusters, 1 - self.confidence, alternative="two-sided"))

    def queries_for(self, delta: float) -> int:
        """Returns the number of queries, clustered as these are, that detect a mean difference of this size, not 0.

        At least two clusters of the average size.
        """
        size = self.n_queries / self.n_clusters
        if not self.error:
            return ceil(2 * size)
        needed = _solve(effect_size=abs(delta) / self.sd, nobs=None, alpha=1 - self.confidence, power=self.power)
        # no solution: two clusters are more than enough
        return ceil(2 * size) if isnan(needed) else ceil(max(2, needed) * size)


def _solve(**known: float | None) -> float:
    """Solves for whichever of the four figures (effect_size, nobs, alpha, power) is None."""
    return float(TTestPower().solve_power(**known, alternative="two-sided"))
