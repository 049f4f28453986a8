"""Holm's correction of p-values for the number of comparisons.

Of 20 comparisons without any difference, one is significant at the 5% level by chance. Holm's correction (1979,
Scandinavian Journal of Statistics 6) raises the p-values so that the probability of any false alarm among all
comparisons stays below the level, however they depend on each other. Written out, because statsmodels, against which
the tests compare it, takes two seconds to import.
"""

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns the p-values after Holm's correction for all of them, in the same order."""
    raw = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(raw)
    corrected = np.empty_like(raw)
    # the smallest times n, the next times n - 1 and so on; none below those of smaller ones
    corrected[order] = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1)).clip(max=1)
    return [float(p) for p in corrected]
