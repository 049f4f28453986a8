"""Scores in sentences: as probabilities, the promised cutoff, and what becomes of a cutoff of base's scores."""

from collections.abc import Mapping
from typing import Any

from attune.evaluation.report.markdown import number, percent


def scores_sentence(figures: Mapping[str, Any], precision: float, confidence: float) -> str:
    """Returns what tuned's scores mean, with figures of test.

    Args:
        figures: of stage calibrate.
        precision: that was promised.
        confidence: of the promise.
    """
    if figures["is_off"]:
        return "Scores are not calibrated (calibrate.depth: 0)."
    own = {name.removeprefix("tuned."): value for name, value in figures.items() if name.startswith("tuned.")}
    level, promise = f"{number(100 * confidence)}%", percent(precision, 0)
    words = (
        f"As a probability that a hit is relevant, tuned's score is wrong by {own['score_as_probability_ece']:.3f} on "
        f"average, the manifest's calibration ({own['method']}, learned on dev) by {own['ece']:.3f} ({level} interval "
        f"{own['ece_low']:.3f} to {own['ece_high']:.3f}); unjudged documents count as wrong."
    )
    noticed = (
        "Whether a query's answers were taken out of the corpus is told by the best score with AUROC "
        f"{own['removed_answer_auroc']:.2f}."
    )
    coverage = percent(own["promised.dev_coverage"], 1)
    if not own["promised.is_kept"]:
        most = f"at {level} confidence, most are {percent(own['promised.dev_bound'], 1)}, for {coverage} of the queries"
        return f"{words} No cutoff promises that {promise} of first hits are right ({most}). {noticed}"
    kept = (
        f"From {own['promised.cutoff']:.3f} on, {promise} of first hits are right or more, at {level} confidence; "
        f"{coverage} of dev's queries are answered so"
    )
    if "promised.test_precision" in own:
        seen, of = percent(own["promised.test_precision"], 1), percent(own["promised.test_coverage"], 1)
        kept += f", on test {of}, of which {seen} are right"
    return f"{words} {kept}. {noticed}"


def cutoff_moved_sentence(figures: Mapping[str, Any]) -> str:
    """Returns what a cutoff of base's scores would do to tuned's hits, "" where it cannot be said.

    Args:
        figures: of stage calibrate.
    """
    if figures["is_off"] or "cutoff.old" not in figures:
        return ""
    old, kept, now = (figures[f"cutoff.{name}"] for name in ("old", "base_share_kept", "tuned_share_kept"))
    wrong, wrong_now = figures["cutoff.base_wrong_hits"], figures["cutoff.tuned_wrong_hits"]
    words = (
        f"A cutoff of base's scores does not carry over: {old:.3f} keeps {percent(kept, 1)} of dev's relevant "
        f"documents and {wrong:.1f} other hits per query under base, {percent(now, 1)} and {wrong_now:.1f} under tuned."
    )
    if "cutoff.new" in figures:
        new, others = figures["cutoff.new"], figures["cutoff.new_wrong_hits"]
        words += f" {new:.3f} keeps as many, and {others:.1f} other hits; `attune cutoff` says it for another cutoff."
    return words
