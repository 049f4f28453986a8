"""A score from which on the first hit is right with a promised precision, and cutoffs that keep their effect.

A cutoff that reaches a precision on dev reaches less on new queries, as it was chosen for what it reaches. Here the
lower bound of Clopper and Pearson (1934, Biometrika 26) must reach it, at an error that is shared by all cutoffs that
compete (Bonferroni), with as many independent queries as their clusters are worth (Korn and Graubard, 1998, Survey
Methodology 24).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from attune.evaluation.calibration.hits import Hits
from attune.runtime.arrays import Float64, Int64

N_CUTOFFS = 10  # that compete: those that answer a tenth, two tenths ... of the queries


class Promise(NamedTuple):
    """A cutoff of the first hit's score.

    Attributes:
        cutoff: queries whose first hit scores less find nothing; None where no cutoff keeps the promise.
        bound: lower bound of the precision of the others; without a cutoff, the highest bound of those that competed.
        coverage: share of the queries that are answered; without a cutoff, by the one with the highest bound.
    """

    cutoff: float | None
    bound: float
    coverage: float


def lower_bound(is_right: NDArray[np.bool_], clusters: Int64, error: float) -> float:
    """Returns the precision that queries of this kind have at least, but for one sample in 1 / error.

    Args:
        is_right, clusters: (n,) each.
        error: one-sided.
    """
    n: float = len(is_right)
    mean = float(is_right.mean())
    sums = np.bincount(np.unique(clusters, return_inverse=True)[1], weights=is_right - mean)
    variance = float((sums**2).sum()) / n**2
    if 0 < mean < 1 and variance > 0 and len(sums) > 1:
        n = min(n, mean * (1 - mean) / (variance * len(sums) / (len(sums) - 1)))
    else:
        n = min(n, len(sums))
    right = mean * n
    return float(beta.ppf(error, right, n - right + 1)) if right > 0 else 0.0


def promised(first: Hits, precision: float, confidence: float) -> Promise:
    """Returns the cutoff that answers most queries and keeps the promise.

    Args:
        first: first hits of dev's queries.
        precision: promised share of answered queries whose first hit is relevant.
        confidence: that the promise holds.
    """
    best = Promise(None, 0.0, 0.0)
    for share in np.arange(1, N_CUTOFFS + 1) / N_CUTOFFS:
        cutoff = float(np.quantile(first.scores, 1 - share, method="lower"))
        answered = first.scores >= cutoff
        bound = lower_bound(first.is_relevant[answered], first.clusters[answered], (1 - confidence) / N_CUTOFFS)
        if bound >= precision:
            best = Promise(cutoff, bound, float(answered.mean()))
        elif best.cutoff is None and bound > best.bound:
            best = Promise(None, bound, float(answered.mean()))
    return best


def share_kept(relevant: Float64, cutoff: float) -> float:
    """Returns the share of relevant documents that score a cutoff or more.

    Args:
        relevant: (n,) scores, ascending; minus infinity where the run does not hold the document.
        cutoff: a score.
    """
    return float(len(relevant) - np.searchsorted(relevant, cutoff, side="left")) / max(1, len(relevant))


def same_effect(cutoff: float, relevant: Float64, relevant_now: Float64) -> float | None:
    """Returns the highest cutoff of the new encoder that keeps as large a share of the relevant as the old one did.

    Args:
        cutoff: of the old encoder's scores.
        relevant: ascending scores of relevant documents by the old encoder.
        relevant_now: by the new one.

    Returns:
        None where the new encoder's run does not hold so many of them.
    """
    n_kept = round(share_kept(relevant, cutoff) * len(relevant_now))
    if n_kept == 0:
        return float(np.nextafter(relevant_now[-1], np.inf)) if len(relevant_now) else None
    found = float(relevant_now[-n_kept])
    return found if np.isfinite(found) else None
