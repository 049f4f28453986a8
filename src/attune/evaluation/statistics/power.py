"""Power analysis: the smallest difference that a test of n queries detects, and the queries that a difference needs.

A test that is too small misses real gains, and the gains that it does detect look larger than they are. The figures are
those of the paired t-test, which the literature uses to choose how many queries to judge (Webber, Moffat and Zobel,
2008, CIKM; Sakai, 2016, Information Retrieval Journal 19), and with which the paired randomization test agrees on
retrieval scores (Smucker, Allan and Carterette, 2007). From statsmodels.
"""

from dataclasses import dataclass
from math import ceil, isnan

from statsmodels.stats.power import TTestPower

from attune.runtime.arrays import Float64


@dataclass(frozen=True)
class Sensitivity:
    """Sensitivity of a two-sided paired test.

    Attributes:
        n_queries: of the test, two or more.
        sd: sample standard deviation of the differences per query.
        confidence: 1 less the significance level.
        power: required probability of detecting a difference.
    """

    n_queries: int
    sd: float
    confidence: float
    power: float

    @classmethod
    def of(cls, deltas: Float64, confidence: float, power: float) -> "Sensitivity":
        """Returns the sensitivity of a comparison with these (n_queries,) differences."""
        return cls(len(deltas), float(deltas.std(ddof=1)), confidence, power)

    @property
    def smallest_detectable(self) -> float:
        """Smallest mean difference detected with this power; 0 where the differences of all queries are equal."""
        return self.sd * _solve(effect_size=None, nobs=self.n_queries, alpha=1 - self.confidence, power=self.power)

    def chance_of(self, delta: float) -> float:
        """Returns the probability of detecting a mean difference of this size, whatever its sign."""
        if not self.sd:
            return 1.0 if delta else 1 - self.confidence
        size = abs(delta) / self.sd
        return float(TTestPower().power(size, self.n_queries, 1 - self.confidence, alternative="two-sided"))

    def queries_for(self, delta: float) -> int:
        """Returns the number of queries that detect a mean difference of this size, not 0; at least two."""
        if not self.sd:
            return 2
        needed = _solve(effect_size=abs(delta) / self.sd, nobs=None, alpha=1 - self.confidence, power=self.power)
        return 2 if isnan(needed) else max(2, ceil(needed))  # no solution: two queries are more than enough


def _solve(**known: float | None) -> float:
    """Solves for whichever of the four figures (effect_size, nobs, alpha, power) is None."""
    return float(TTestPower().solve_power(**known, alternative="two-sided"))
