"""Maps from score to the probability of relevance, chosen on dev by cross-validation over clusters of queries.

Isotonic regression (Zadrozny and Elkan, 2002, KDD) takes any rising shape and needs many hits; a logistic curve (Platt,
1999) has two parameters. Both are scored by the log loss of hits whose clusters they have not seen.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold

from attune.evaluation.calibration.hits import Hits
from attune.runtime.arrays import Float64, Int64
from attune.runtime.calibration import Calibration

N_FOLDS = 5
N_POINTS = 101  # of a logistic curve, which is linear between them
LEAST = 1e-3  # probabilities for the log loss lie between it and 1 less it: one hit may not decide
N_BINS = 10
PRIOR = 1e4  # inverse strength of the logistic curve's penalty: next to none

Fit = Callable[[Float64, NDArray[np.bool_]], Calibration]


def isotonic(scores: Float64, is_relevant: NDArray[np.bool_]) -> Calibration:
    """Returns the rising step function of least squared error, linear between its steps."""
    model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, is_relevant.astype(np.float64))
    return Calibration(model.X_thresholds_.astype(np.float64), model.y_thresholds_.astype(np.float64))


def logistic(scores: Float64, is_relevant: NDArray[np.bool_]) -> Calibration:
    """Returns the logistic curve of greatest likelihood between the least and the greatest score; rising or flat."""
    points = np.linspace(scores.min(), scores.max(), N_POINTS) if np.ptp(scores) > 0 else scores[:1]
    if is_relevant.all() or not is_relevant.any() or len(points) == 1:
        return Calibration(points, np.full(len(points), is_relevant.mean()))
    centre, width = scores.mean(), scores.std()
    model = LogisticRegression(C=PRIOR).fit(((scores - centre) / width)[:, None], is_relevant)
    if model.coef_[0, 0] <= 0:
        return Calibration(points, np.full(len(points), is_relevant.mean()))
    return Calibration(points, model.predict_proba(((points - centre) / width)[:, None])[:, 1])


METHODS: dict[str, Fit] = {"isotonic": isotonic, "logistic": logistic}


class Chosen(NamedTuple):
    """The map with the least cross-validated log loss.

    Attributes:
        calibration: fitted to all hits.
        method: a key of METHODS.
        losses: by method; empty where hits lie in one cluster, and the logistic curve is taken.
    """

    calibration: Calibration
    method: str
    losses: dict[str, float]


def chosen(hits: Hits) -> Chosen:
    """Returns the map that dev chooses.

    Args:
        hits: of dev.
    """
    n_folds = min(N_FOLDS, len(np.unique(hits.clusters)))
    if n_folds < 2:
        return Chosen(logistic(hits.scores, hits.is_relevant), "logistic", {})
    losses = {name: _loss(fit, hits, n_folds) for name, fit in METHODS.items()}
    method = min(losses, key=lambda name: losses[name])
    return Chosen(METHODS[method](hits.scores, hits.is_relevant), method, losses)


def _loss(fit: Fit, hits: Hits, n_folds: int) -> float:
    """Returns the log loss over all hits, each predicted by the map of the other folds of clusters."""
    predicted = np.empty(len(hits.scores))
    for seen, unseen in GroupKFold(n_folds).split(hits.scores, groups=hits.clusters):
        predicted[unseen] = fit(hits.scores[seen], hits.is_relevant[seen]).probability(hits.scores[unseen])
    return float(log_loss(hits.is_relevant, np.clip(predicted, LEAST, 1 - LEAST), labels=[False, True]))


class Error(NamedTuple):
    """Expected calibration error and its interval."""

    value: float
    low: float
    high: float


def calibration_error(
    probabilities: Float64, is_relevant: NDArray[np.bool_], clusters: Int64, confidence: float, seed: int, n: int = 1000
) -> Error:
    """Returns the mean distance of predicted and seen shares over ten bins of equally many hits (Naeini et al., 2015).

    The interval holds the errors of n resamples of clusters, so its low end, too, is above 0 for a perfect map.

    Args:
        probabilities, is_relevant, clusters: (n_hits,) each.
        confidence: of the interval.
        seed: of the resamples.
        n: resamples.
    """
    edges = np.unique(np.quantile(probabilities, np.linspace(0, 1, N_BINS + 1)[1:-1]))
    bins = np.searchsorted(edges, probabilities, side="left")
    numbers = np.unique(clusters, return_inverse=True)[1]
    shape = (int(numbers.max()) + 1, len(edges) + 1)
    gaps, sizes = np.zeros(shape), np.zeros(shape[0])
    np.add.at(gaps, (numbers, bins), probabilities - is_relevant)
    np.add.at(sizes, numbers, 1)
    drawn = np.random.default_rng(seed).multinomial(shape[0], np.full(shape[0], 1 / shape[0]), size=n)
    errors = np.abs(drawn @ gaps).sum(axis=1) / (drawn @ sizes)
    low, high = np.quantile(errors, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Error(float(np.abs(gaps.sum(axis=0)).sum() / sizes.sum()), float(low), float(high))
