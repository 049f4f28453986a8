"""Label curve: how a score grows with the labels, and what more of them would bring.

Learning curves mostly follow a power law of the number of examples (Hestness et al., 2017, arXiv 1712.00409; Viering
and Loog, 2023, IEEE TPAMI 45, on when they do not), y = a - b n^-c; c near 0 is growth by the logarithm. Exponents from
0 to 1 are tried, and none is chosen: the interval of a forecast reaches over the prediction intervals of all curves
that the points do not reject (profile likelihood; Bates and Watts, 1988, Nonlinear Regression Analysis, chapter 6). A
forecast far beyond the points is thus wide where they fit both a curve that goes on and one that has nearly ended. It
is of one further measurement on the same queries, so it holds the noise of a draw of labels. Takes no random numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from attune.runtime.arrays import Float64

EXPONENTS = tuple(round(0.05 * place, 2) for place in range(21))  # 0 stands for the logarithm
N_PARAMETERS = 3
MIN_SIZES = 4  # different numbers of labels; fewer leave nothing to judge three parameters by
ROUNDING = 1e-9  # residuals below are none


@dataclass(frozen=True)
class Forecast:
    """Score expected with so many labels, and its interval; `value` is of the exponent that fits best."""

    n: float
    value: float
    low: float
    high: float


def shape(n: Float64, exponent: float) -> Float64:
    """Returns (1 - n^-c) / c of some numbers, log n at c = 0: what a power law is a line in."""
    return np.log(n) if exponent == 0 else (1 - n**-exponent) / exponent


def forecasts(n: Sequence[float], scores: Sequence[float], at: Sequence[float], confidence: float) -> list[Forecast]:
    """Fits the curve and returns the score expected at other numbers of labels.

    Args:
        n: number of labels of each measurement, above 0; several measurements may have the same.
        scores: between 0 and 1, of the same measurements.
        at: numbers of labels to forecast.
        confidence: of the intervals, such as 0.95.

    Returns:
        A forecast each, within 0 and 1; none where there are fewer than four different numbers of labels.
    """
    unit, y = np.asarray(n, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if len(np.unique(unit)) < MIN_SIZES:
        return []
    scale, df = unit.max(), len(y) - N_PARAMETERS
    t = float(stdtrit(df, (1 + confidence) / 2))
    lines = {exponent: _line(shape(unit / scale, exponent), y) for exponent in EXPONENTS}
    least = min(line.rss for line in lines.values())
    best = min(lines, key=lambda exponent: lines[exponent].rss)
    kept = [e for e, line in lines.items() if line.rss <= least * (1 + t**2 / df) + ROUNDING]
    error = np.sqrt(least / df)
    found = []
    for one in at:
        ends = [lines[e].interval(float(shape(np.array(one / scale), e)), float(t * error)) for e in kept]
        middle = lines[best].at(float(shape(np.array(one / scale), best)))
        ends.append((middle, middle))
        low, high, value = (
            min(1.0, max(0.0, end)) for end in (min(e[0] for e in ends), max(e[1] for e in ends), middle)
        )
        found.append(Forecast(float(one), value, low, high))
    return found


@dataclass(frozen=True)
class _Line:
    """Least-squares line: mean of x and y, slope, sum of squares of x, number of points, sum of squared residuals."""

    x: float
    y: float
    slope: float
    spread: float
    n: int
    rss: float

    def at(self, x: float) -> float:
        return self.y + self.slope * (x - self.x)

    def interval(self, x: float, reach: float) -> tuple[float, float]:
        """Returns the ends of the prediction interval, given t times the standard error of one measurement."""
        half = reach * float(np.sqrt(1 + 1 / self.n + (x - self.x) ** 2 / self.spread))
        return self.at(x) - half, self.at(x) + half


def _line(x: Float64, y: Float64) -> _Line:
    dx, dy = x - x.mean(), y - y.mean()
    spread = float(dx @ dx)
    slope = float(dx @ dy) / spread
    residuals = dy - slope * dx
    return _Line(float(x.mean()), float(y.mean()), slope, spread, len(x), float(residuals @ residuals))
