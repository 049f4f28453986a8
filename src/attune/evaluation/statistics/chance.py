"""Significance: its level and rule, the smallest possible p-value, and the slices that lost significantly.

A randomization test of n resamples yields no p-value below 2 / (n + 1), whatever the difference, and Holm's correction
multiplies that by the number of comparisons. Where this floor is above the significance level, no comparison can be
significant, and "nothing significant" carries no information.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any


def significance_level(confidence: float) -> float:
    """Returns the significance level of a confidence: 0.05 of 0.95."""
    return float(f"{1 - confidence:.6g}")


def is_significant(p_value: float, confidence: float) -> bool:
    """Tells whether a p-value, corrected where there are several comparisons, is at most the significance level."""
    return p_value <= significance_level(confidence)


def smallest_p(n_resamples: int, n_comparisons: int = 1) -> float:
    """Returns the smallest p-value that can result, Holm-corrected for the number of comparisons."""
    return min(1.0, 2 * n_comparisons / (n_resamples + 1))


def clusters_needed(confidence: float) -> int:
    """Returns the least number of clusters of which a randomization test can be significant.

    n clusters have 2^n sign flips, and no p-value is below two of them: 6 clusters at a confidence of 0.95.
    """
    return math.ceil(math.log2(2 / significance_level(confidence)))


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


def significant_losses(rows: Sequence[Mapping[str, Any]], confidence: float) -> list[Mapping[str, Any]]:
    """Returns the slices that lost significantly after Holm's correction, the largest loss first.

    Args:
        rows: with `delta` and `p_holm`; a row without a p-value is never significant.
        confidence: 1 less the significance level.
    """
    tested = [row for row in rows if row["p_holm"] is not None]
    lost = [row for row in tested if row["delta"] < 0 and is_significant(row["p_holm"], confidence)]
    return sorted(lost, key=lambda row: float(row["delta"]))
