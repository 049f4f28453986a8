"""How small a p-value can get, and which differences are beyond chance.

A randomization test of n resamples finds no p-value below 2 / (n + 1), whatever the difference; Holm's correction
multiplies that by the number of comparisons. Where this floor is not below the level asked for, nothing can be
significant, and that nothing is says nothing.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def max_p(confidence: float) -> float:
    """The p-value below which a difference is called significant: 0.05 of 0.95."""
    return float(f"{1 - confidence:.6g}")


def floor(n_resamples: int, n_comparisons: int = 1) -> float:
    """The smallest p-value that can come out, corrected (Holm) for the number of comparisons."""
    return min(1.0, 2 * n_comparisons / (n_resamples + 1))


def too_few_resamples(n_resamples: int, n_comparisons: int, confidence: float) -> str:
    """A warning where no difference could have been significant, however large; else empty."""
    least, level = floor(n_resamples, n_comparisons), max_p(confidence)
    if not n_comparisons or least < level:
        return ""
    needed = 100 * (math.floor(2 * n_comparisons / level / 100) + 1)
    return (
        f"Too few resamples to tell: with {n_resamples:,} no corrected p-value of {n_comparisons:,} comparisons is "
        f"below {least:.3f}, and less than {level:g} is asked; raise report.n_resamples to {needed:,} or more."
    )


def worse(rows: Sequence[Row], confidence: float) -> list[Row]:
    """The slices that lost, beyond chance and beyond having looked at many; the largest loss first."""
    level = max_p(confidence)
    lost = [row for row in rows if row["delta"] < 0 and row["p_holm"] is not None and row["p_holm"] < level]
    return sorted(lost, key=lambda row: float(row["delta"]))
