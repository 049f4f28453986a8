"""P-values of the paired randomization test without resampling, and which hypotheses a correction must count.

The paired randomization test asks how often a difference at least this large comes up when, for each cluster of
queries, a coin decides which system got which scores (Smucker, Allan and Carterette, 2007). All 2^n sign flips are
counted here by the shift algorithm (Pagano and Tritchler, 1983, JASA 78; Streitberg and Röhmel, 1986; as in R's
exactRankTests): sums on a grid of small integers have few values, however many flips lead to each. So p has no floor,
as that of resamples has, and the same scores have the same p.

No p-value of n clusters that changed is below 2 / 2^n. A hypothesis whose smallest possible p-value is too large for
the correction cannot be rejected, so it need not be corrected for either (Tarone, 1990, Biometrics 46): a hundred
groups of three queries do not make the others harder to prove.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from attune.runtime.arrays import Float64

MOST_CLUSTERS = 1_000  # whose flips are counted; those of further, smaller differences are taken as normal
CELLS = 50_000  # of the grid, at least
CELLS_PER_CLUSTER = 100  # likewise


def exact_p(sums: Float64) -> float:
    """Returns the two-sided p-value of "no difference" of the sums of differences over clusters, (n_clusters,).

    Twice the share of sign flips with a sum at least as far on the side of the observed one; sums that differ by no
    more than the grid's rounding count as equal, so that p errs upwards (by a twentieth at most).
    """
    changed = sums[np.argsort(-np.abs(sums), kind="stable")][: np.count_nonzero(sums)]
    if not len(changed):
        return 1.0
    n_counted = min(MOST_CLUSTERS, len(changed))
    sizes = np.abs(changed) / np.abs(changed[:n_counted]).sum() * max(CELLS, CELLS_PER_CLUSTER * n_counted)
    steps, others = np.rint(sizes[:n_counted]).astype(np.int64), sizes[n_counted:]
    rounding = int(np.sqrt(n_counted))  # three standard deviations of the sum's rounding error
    if not len(others):
        smaller = min(steps[changed > 0].sum(), steps[changed < 0].sum()) + rounding
        return min(1.0, 2 * float(_shares(int(smaller), steps).sum()))
    smaller = min(sizes[changed > 0].sum(), sizes[changed < 0].sum()) + rounding - sizes.sum() / 2
    shares = _shares(int(steps.sum()), steps)
    # what the others may sum to, from their mean; half of the largest corrects for sums that are equal
    room = smaller + others[0] / 2 - (np.arange(len(shares)) - steps.sum() / 2)
    return min(1.0, 2 * float(shares @ ndtr(2 * room / np.sqrt((others**2).sum()))))


def _shares(limit: int, steps: NDArray[np.int64]) -> Float64:
    """Returns, for each sum from 0 to the limit, the share of all subsets of the steps, (n,) integers, that have it."""
    numbers, reached = np.zeros(limit + 1), 0
    numbers[0] = 1.0
    for step in steps[::-1]:  # the smallest first
        reached = min(limit, reached + step)
        numbers[step : reached + 1] += numbers[: max(0, reached + 1 - step)].copy()
    return numbers * 0.5 ** len(steps)


def smallest_exact_p(sums: Float64) -> float:
    """Returns the smallest p-value that any sign flip of these sums over clusters, (n_clusters,), could have."""
    return float(min(1.0, 2 * 0.5 ** np.count_nonzero(sums)))


def countable(smallest: Float64, level: float) -> NDArray[np.bool_]:
    """Tells which hypotheses the correction counts: those that could be rejected although it counts all of them.

    Which these are depends on sizes of differences alone, never on their signs, so Holm's correction of the counted
    ones keeps the level.

    Args:
        smallest: (n_hypotheses,) smallest possible p-values.
        level: of significance.
    """
    for n_counted in range(1, len(smallest) + 1):
        counted: NDArray[np.bool_] = smallest <= level / n_counted
        if counted.sum() <= n_counted:
            return counted
    return np.zeros(0, dtype=np.bool_)
