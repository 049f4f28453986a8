"""How small a difference a test of so many queries can find, and how many queries a given difference takes.

A test that is too small misses real gains, and the gains that it does find look larger than they are. The figures are
those of the paired t-test, which the literature uses to choose how many queries to judge (Webber, Moffat and Zobel,
2008, CIKM; Sakai, 2016, Information Retrieval Journal 19), and with which the paired randomization test agrees on
retrieval scores (Smucker, Allan and Carterette, 2007). From statsmodels.
"""

from dataclasses import dataclass
from math import ceil, isnan

import numpy as np
from numpy.typing import NDArray
from statsmodels.stats.power import TTestPower

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Sensitivity:
    """What a paired test of n queries can find, where differences of queries spread by `sd`.

    Attributes:
        n_queries: of the test, two or more.
        sd: the sample standard deviation of the differences per query.
        confidence: 1 less the level of the two-sided test.
        power: how often the difference in question is to be found.
    """

    n_queries: int
    sd: float
    confidence: float
    power: float

    @classmethod
    def of(cls, deltas: Values, confidence: float, power: float) -> "Sensitivity":
        """From the (n_queries,) differences of a comparison."""
        return cls(len(deltas), float(deltas.std(ddof=1)), confidence, power)

    @property
    def smallest_detectable(self) -> float:
        """The smallest mean difference that is found with this power; 0 where all queries differ alike."""
        return self.sd * _solve(effect_size=None, nobs=self.n_queries, alpha=1 - self.confidence, power=self.power)

    def chance_of(self, delta: float) -> float:
        """How often a mean difference of this size, whatever its sign, is found."""
        if not self.sd:
            return 1.0 if delta else 1 - self.confidence
        size = abs(delta) / self.sd
        return float(TTestPower().power(size, self.n_queries, 1 - self.confidence, alternative="two-sided"))

    def queries_for(self, delta: float) -> int:
        """How many queries find a mean difference of this size, not 0, with this power; never fewer than two."""
        if not self.sd:
            return 2
        found = _solve(effect_size=abs(delta) / self.sd, nobs=None, alpha=1 - self.confidence, power=self.power)
        return 2 if isnan(found) else max(2, ceil(found))  # there is no solution where two queries are more than enough


def _solve(**known: float | None) -> float:
    """The one of the four figures that is None, from the other three."""
    return float(TTestPower().solve_power(**known, alternative="two-sided"))
