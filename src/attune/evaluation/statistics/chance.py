"""Significance: its level and rule, and the smallest possible p-value of drawn resamples.

A randomization test of n resamples yields no p-value below 2 / (n + 1), whatever the difference, and Holm's correction
multiplies that by the number of comparisons. Where this floor is above the significance level, no comparison can be
significant, and "nothing significant" carries no information.
"""

import math


def significance_level(confidence: float) -> float:
    """Returns the significance level of a confidence: 0.05 of 0.95."""
    return float(f"{1 - confidence:.6g}")


def is_significant(p_value: float, confidence: float) -> bool:
    """Tells whether a p-value, corrected where there are several comparisons, is at most the significance level."""
    return p_value <= significance_level(confidence)


def smallest_p(n_resamples: int, n_comparisons: int = 1) -> float:
    """Returns the smallest p-value that can result, Holm-corrected for the number of comparisons."""
    return min(1.0, 2 * n_comparisons / (n_resamples + 1))


def too_few_resamples(n_resamples: int, n_comparisons: int, confidence: float) -> str:
    """Returns a warning where no difference could have been significant, however large; else an empty text."""
    smallest, level = smallest_p(n_resamples, n_comparisons), significance_level(confidence)
    if not n_comparisons or smallest <= level:
        return ""
    needed = 100 * math.ceil(2 * n_comparisons / level / 100)
    return (
        f"Too few resamples to tell: with {n_resamples:,} no corrected p-value of {n_comparisons:,} comparisons is "
        f"below {smallest:.3f}, and at most {level:g} is asked; raise report.n_resamples to {needed:,} or more."
    )
