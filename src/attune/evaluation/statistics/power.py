"""Power analysis: the smallest difference that a test of n queries detects, and the queries that a difference needs.

A test that is too small misses real gains, and the gains that it does detect look larger than they are. The figures are
those of the paired t-test, which the literature uses to choose how many queries to judge (Webber, Moffat and Zobel,
2008, CIKM; Sakai, 2016, Information Retrieval Journal 19), and with which the paired randomization test agrees on
retrieval scores (Smucker, Allan and Carterette, 2007). Its power is that of the noncentral t distribution (Cohen,
1988), from scipy; the solver of statsmodels fails at some numbers of clusters. Queries that come in clusters count as
the clusters do: the standard error and the degrees of freedom are those of `clusters` (the design effect of Kish,
1965).

A test is one of a family whose p-values are corrected together, so its power is that at the level which Holm's
correction asks of the smallest p-value: the level divided by the number of comparisons. The standard error is that of
the interval that decides, so queries that do not differ at all still leave something to detect.
"""

from dataclasses import dataclass
from math import ceil, isnan, sqrt

from scipy.optimize import brentq
from scipy.special import nctdtr, stdtrit

from attune.evaluation.statistics.clusters import by_cluster
from attune.evaluation.statistics.decision import clusters_for, with_one_each
from attune.runtime.arrays import Float64, Int64


@dataclass(frozen=True)
class Sensitivity:
    """Sensitivity of a two-sided paired test, one of several whose p-values are corrected together.

    Attributes:
        n_queries: of the test.
        n_clusters: of these queries, two or more; `n_queries` where they are independent.
        error: standard error of the mean difference, above 0.
        confidence: 1 less the significance level of the family.
        power: required probability of detecting a difference.
        n_comparisons: in the family.
    """

    n_queries: int
    n_clusters: int
    error: float
    confidence: float
    power: float
    n_comparisons: int = 1

    @classmethod
    def of(
        cls, deltas: Float64, clusters: Int64, confidence: float, power: float, n_comparisons: int = 1
    ) -> "Sensitivity":
        """Returns the sensitivity of a comparison with these differences.

        Args:
            deltas: (n_queries,) differences between -1 and 1.
            clusters: (n_queries,) number of each query's cluster.
            confidence: 1 less the significance level of the family.
            power: required probability of detecting a difference.
            n_comparisons: in the family.

        Raises:
            BadInput: there are fewer than two clusters.
        """
        sums = by_cluster(deltas, clusters)
        error = float(with_one_each(sums).error)
        return cls(len(deltas), sums.n_clusters, error, confidence, power, n_comparisons)

    @property
    def level(self) -> float:
        """Significance level of this test: that of the family divided by the number of comparisons."""
        return (1 - self.confidence) / self.n_comparisons

    @property
    def sd(self) -> float:
        """Standard deviation between clusters of average size; between queries where they are independent."""
        return self.error * sqrt(self.n_clusters)

    @property
    def smallest_detectable(self) -> float:
        """Smallest mean difference detected with this power; 1 where none is, however large."""
        high = self.error
        while self.chance_of(high) < self.power:
            if high >= 1:
                return 1.0
            high = min(1.0, 2 * high)
        return float(brentq(lambda delta: self.chance_of(delta) - self.power, 0.0, high))

    def chance_of(self, delta: float) -> float:
        """Returns the probability of detecting a mean difference of this size, whatever its sign."""
        df, shift = self.n_clusters - 1, abs(delta) / self.error
        edge = float(stdtrit(df, 1 - self.level / 2))
        above = 1 - float(nctdtr(df, shift, edge))
        if isnan(above):  # which scipy gives at single points far beyond the edge
            return float(shift > edge)
        # beyond a shift of 5 the other tail is below a millionth, and scipy's value NaN in places
        return above + (float(nctdtr(df, shift, -edge)) if shift < 5 else 0.0)

    def queries_for(self, delta: float) -> int:
        """Returns the number of queries, clustered as these are, that detect a mean difference of this size, not 0."""
        needed = clusters_for(abs(delta), self.error, self.n_clusters, self.level, self.power)
        return ceil(max(2, needed) * self.n_queries / self.n_clusters)
