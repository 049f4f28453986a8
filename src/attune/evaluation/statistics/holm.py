"""Holm's correction of p-values for the number of comparisons.

Of 20 comparisons without any difference, one is significant at the 5% level by chance. Holm's correction (1979,
Scandinavian Journal of Statistics 6) raises the p-values so that the probability of any false alarm among all
comparisons stays below the level, however they depend on each other. From statsmodels.
"""

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns the p-values after Holm's correction for all of them, in the same order."""
    from statsmodels.stats.multitest import multipletests  # noqa: PLC0415 - takes two seconds to import

    return [float(p) for p in multipletests(list(p_values), method="holm")[1]] if p_values else []
