"""Did a system get worse between two revisions that scored the same queries, beyond chance?

The difference in a mean over queries is taken from sums over groups, and its spread from leaving out one group at a
time (the delete-a-group jackknife: Kott, 2001, "The delete-a-group jackknife", Journal of Official Statistics 17). With
groups of one query this is the paired t interval.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Change:
    """A difference of means, new minus old, and its confidence interval."""

    delta: float
    low: float
    high: float


def are_paired(old: Mapping[str, Values], new: Mapping[str, Values]) -> bool:
    """Whether two tables have the same groups, of as many queries each, and at least two of them."""
    same = all(np.array_equal(old[key], new[key]) for key in ("group", "n"))
    return same and len(old["n"]) > 1


def change(old: Mapping[str, Values], new: Mapping[str, Values], measure: str, confidence: float) -> Change:
    """How much a measure's mean over queries changed, with its interval.

    Args:
        old: columns of `groups.read_groups`, each (n_groups,).
        new: the same, of the same groups (`are_paired`).
        measure: which column.
        confidence: of the interval, such as 0.95.
    """
    n, difference = old["n"], new[measure] - old[measure]
    total, weighted = n.sum(), (n * difference).sum()
    delta = weighted / total
    without_one = (weighted - n * difference) / (total - n)
    n_groups = len(n)
    error = np.sqrt((n_groups - 1) / n_groups * ((without_one - without_one.mean()) ** 2).sum())
    reach = error * stdtrit(n_groups - 1, (1 + confidence) / 2)
    return Change(float(delta), float(delta - reach), float(delta + reach))
