"""Exact test of few queries: p-values of the paired randomization test without resampling, and whose p can be small.

The paired randomization test asks how often a difference at least this large comes up when, for each cluster of
queries, a coin decides which system got which scores (Smucker, Allan and Carterette, 2007). All 2^n sign flips are
counted here by the shift algorithm (Pagano and Tritchler, 1983, JASA 78; Streitberg and Röhmel, 1986; as in R's
exactRankTests): sums on a grid of small integers have few values, however many flips lead to each. So 25 queries that
all got worse have p = 6e-8, where 10,000 resamples would end at 2e-4, and the correction for a hundred groups of
queries hides no loss. The p-values of `compare`, which draws the flips, agree within the error of the draws.

No p-value of n clusters that changed is below 2 / 2^n. A hypothesis whose smallest possible p-value is too large for
the correction cannot be rejected, so it need not be corrected for either (Tarone, 1990, Biometrics 46): a hundred
groups of three queries do not make the others harder to prove.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from attune.runtime.arrays import Float64

MOST_CLUSTERS = 1_000  # beyond it the normal distribution, which is off by a tenth of p at most there
CELLS = 20_000  # of the grid, at least
CELLS_PER_CLUSTER = 40  # likewise


def exact_p(sums: Float64) -> float:
    """Returns the two-sided p-value of "no difference" of the sums of differences over clusters, (n_clusters,).

    Twice the share of sign flips with a sum at least as far on the side of the observed one; sums that differ by no
    more than the grid's rounding count as equal, so that p errs upwards (by a tenth at most).
    """
    changed = sums[sums != 0]
    if len(changed) > MOST_CLUSTERS:
        return float(2 * ndtr(-abs(changed.sum()) / np.sqrt((changed**2).sum())))
    if not len(changed):
        return 1.0
    cells = max(CELLS, CELLS_PER_CLUSTER * len(changed))
    steps = np.rint(np.abs(changed) / np.abs(changed).sum() * cells).astype(np.int64)
    rounding = int(np.sqrt(len(changed)))  # three standard deviations of the sum's rounding error
    smaller = min(steps[changed > 0].sum(), steps[changed < 0].sum()) + rounding
    return min(1.0, 2 * _share_up_to(int(smaller), np.sort(steps)))


def _share_up_to(limit: int, steps: NDArray[np.int64]) -> float:
    """Returns the share of all subsets of the steps, (n,) integers of 0 or more, whose sum is at most the limit."""
    shares = np.zeros(limit + 1)  # of the subsets so far, by their sum
    shares[0] = 1.0
    for step in steps:
        shares *= 0.5
        if step <= limit:
            shares[step:] += shares[: limit + 1 - step].copy()
    return float(shares.sum())


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
