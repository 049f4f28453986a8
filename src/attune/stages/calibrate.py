"""Learns on dev what a score means, for base and for tuned, and says on test how far that holds.

A cosine is no probability, and each encoder's cosines mean something else. Written for each: a map from score to the
probability that a hit is relevant; a cutoff from which on the first hit is right with a promised precision; and the
scores of dev's relevant documents, by which a cutoff of base becomes one of tuned with the same effect. Documents that
nobody has judged count as wrong here, so probabilities are lower bounds where judgments have holes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from attune.evaluation.calibration.hits import Hits, read_hits
from attune.evaluation.calibration.probabilities import Chosen, calibration_error, chosen
from attune.evaluation.calibration.promises import Promise, promised, same_effect, share_kept
from attune.evaluation.calibration.settings import CalibrateParams
from attune.stage import Out, Receipt, run, write_json

SYSTEMS = ("base", "tuned")
SEED = 13  # of the resamples for the intervals
TYPICAL_SHARE = 0.9  # of base's relevant documents that the cutoff keeps by which report shows what a cutoff becomes


def on_test(one: Chosen, promise: Promise, whole: Hits, params: CalibrateParams, confidence: float) -> Receipt:
    """Returns what holds on test: the map's error, the promised cutoff, and whether a removed answer is noticed.

    Args:
        one: map of dev.
        promise: of dev.
        whole: hits of test, as deep as the run.
        params: depth and precision.
        confidence: of the interval.
    """
    hits, first = whole.upto(params.depth), whole.first
    error = calibration_error(
        one.calibration.probability(hits.scores), hits.is_relevant, hits.clusters, confidence, SEED
    )
    raw = calibration_error(np.clip(hits.scores, 0, 1), hits.is_relevant, hits.clusters, confidence, SEED)
    figures: dict[str, float] = {"ece": error.value, "ece_low": error.low, "ece_high": error.high}
    figures["score_as_probability_ece"] = raw.value
    if promise.cutoff is not None:
        answered = first.scores >= promise.cutoff
        figures["promised.test_coverage"] = float(answered.mean())
        if answered.any():
            figures["promised.test_precision"] = float(first.is_relevant[answered].mean())
    without = whole.best_without_relevant()
    is_there = np.repeat([True, False], [len(first.scores), len(without)])
    best = np.concatenate([first.scores, without])
    finite = np.where(np.isfinite(best), best, best[np.isfinite(best)].min() - 1)
    figures["removed_answer_auroc"] = float(roc_auc_score(is_there, finite))
    return figures


def record_of(
    one: Chosen, promise: Promise, dev: Hits, of_test: Receipt, params: CalibrateParams, confidence: float
) -> dict[str, Any]:
    """Returns the content of a system's file in data/calibration.

    Args:
        one: map of dev.
        promise: of dev.
        dev: its hits.
        of_test: what holds on test.
        params: the promised precision.
        confidence: of the promise and of the error's interval.
    """
    found = dev.relevant[np.isfinite(dev.relevant)]
    error = {
        "value": of_test["ece"],
        "low": of_test["ece_low"],
        "high": of_test["ece_high"],
        "confidence": confidence,
    }
    promised_share = {"precision": params.precision, "confidence": confidence}
    if promise.cutoff is not None:
        promised_share["dev_coverage"] = promise.coverage
    return {
        "method": one.method,
        "scores": one.calibration.scores.tolist(),
        "probabilities": one.calibration.probabilities.tolist(),
        "cutoff": promise.cutoff,
        "promise": promised_share,
        "expected_calibration_error": error,
        "removed_answer_auroc": of_test["removed_answer_auroc"],
        "n_relevant": len(dev.relevant),
        "relevant_scores": found.tolist(),
    }


def moved_cutoff(base: Hits, tuned: Hits, depth: int) -> Receipt:
    """Returns what becomes of a cutoff of base that keeps nine tenths of its relevant documents on dev.

    Args:
        base, tuned: hits of dev.
        depth: hits of a query among which wrong ones are counted.
    """
    old = float(np.quantile(base.relevant, 1 - TYPICAL_SHARE, method="lower"))
    if not np.isfinite(old):
        return {}
    new = same_effect(old, base.relevant, tuned.relevant)

    def wrong(hits: Hits, cutoff: float) -> float:
        own = hits.upto(depth)
        return float((~own.is_relevant & (own.scores >= cutoff)).sum() / (own.queries[-1] + 1))

    figures = {
        "old": old,
        "base_share_kept": share_kept(base.relevant, old),
        "tuned_share_kept": share_kept(tuned.relevant, old),
        "base_wrong_hits": wrong(base, old),
        "tuned_wrong_hits": wrong(tuned, old),
    }
    return figures if new is None else figures | {"new": new, "new_wrong_hits": wrong(tuned, new)}


def calibrate(params: CalibrateParams, *, runs: Path, splits: Path, confidence: float, out: Out) -> Receipt:
    """Writes data/calibration: a file for base and one for tuned; none where it is off."""
    out.mkdir(parents=True)
    figures: dict[str, int | float | str | bool] = {"is_off": not params.depth}
    if not params.depth:
        write_json(out / "off.json", {})
        return figures
    dev = {system: read_hits(runs / system, splits / "dev") for system in SYSTEMS}
    for system, whole in dev.items():
        one = chosen(whole.upto(params.depth))
        promise = promised(whole.first, params.precision, confidence)
        test_figures = on_test(one, promise, read_hits(runs / system, splits / "test"), params, confidence)
        write_json(out / f"{system}.json", record_of(one, promise, whole, test_figures, params, confidence))
        own: Mapping[str, Any] = {
            "method": one.method,
            **{f"{name}_dev_log_loss": loss for name, loss in one.losses.items()},
            "promised.is_kept": promise.cutoff is not None,
            **({} if promise.cutoff is None else {"promised.cutoff": promise.cutoff}),
            "promised.dev_bound": promise.bound,
            "promised.dev_coverage": promise.coverage,
            **test_figures,
        }
        figures |= {f"{system}.{name}": value for name, value in own.items()}
    moved = moved_cutoff(dev["base"], dev["tuned"], params.depth)
    return figures | {f"cutoff.{name}": value for name, value in moved.items()}


if __name__ == "__main__":
    run(calibrate)
