"""Parts of report.json beside base and tuned: other systems, calibration, and the champion."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from attune.evaluation.report.champion import champion_of, champion_sentence
from attune.evaluation.report.cutoffs import cutoff_moved_sentence, scores_sentence
from attune.evaluation.report.other_systems import (
    COMPARED,
    RANKED,
    adapter_sentence,
    compare_others,
    hybrid_sentence,
    static_sentence,
)
from attune.evaluation.report.summary import Paired, Rule
from attune.evaluation.report.ways import OTHERS, STATIC

Receipts = Mapping[str, Mapping[str, Any]]


def other_systems(
    receipts: Receipts, is_static_off: bool, runs: Path, test: Paired, leaked: Collection[str] | None, rule: Rule
) -> tuple[dict[str, Any], str]:
    """Returns the gains of the systems beside base and tuned, with sentences on adapter and static encoders.

    Args:
        receipts: of systems and stages, by name.
        is_static_off: true with static.steps: 0, where the static systems are no systems of their own.
        runs: data/runs.
        test: scores of base and tuned.
        leaked: test queries that do not count; None where too few others are left: all count.
        rule: headline measure and confidence.

    Returns:
        Parts of report.json; the end of the verdict where BM25 fused with base beats tuned, "" otherwise.
    """
    counted = test.without(leaked or ())
    means = {name: (float(counted.base[name].mean()), float(counted.tuned[name].mean())) for name in COMPARED}
    systems = [system for system in OTHERS if not (is_static_off and system in STATIC)]
    confidence, headline = rule.confidence, rule.headline
    others, hybrid = compare_others(systems, runs, test, confidence, headline, leaked or ())
    gain = others["adapter"][headline]
    parts = {
        "others": others,
        "untrained_hybrid": hybrid,
        "adapter": adapter_sentence(receipts["query_adapter"], gain, *means[headline], confidence, headline),
        "static": static_sentence(is_static_off, receipts, others, *means[RANKED], confidence),
    }
    beyond = hybrid_sentence(hybrid, means[headline][1] + hybrid["delta"], confidence, headline)
    return parts, "" if leaked is None else beyond


def meaning_of_scores(receipts: Receipts, precision: float, confidence: float) -> dict[str, str]:
    """Returns what a score means as a probability, and what becomes of the base's cutoff, in words.

    Args:
        receipts: of stage calibrate, among others.
        precision: that the cutoff promises.
        confidence: of the promise.
    """
    calibrated = receipts["calibrate"]
    return {
        "scores": scores_sentence(calibrated, precision, confidence),
        "cutoff": cutoff_moved_sentence(calibrated),
    }


def against_champion(folder: Path, receipts: Receipts, test: Paired, leaked: set[str], rule: Rule) -> dict[str, Any]:
    """Returns the comparison of tuned with the champion, {} without one, and its sentence.

    Args:
        folder: data/champion.
        receipts: of stage champion, among others.
        test: scores of base and tuned.
        leaked: test queries that are left out.
        rule: confidence and margin.
    """
    compared = champion_of(folder, receipts["champion"], test, leaked, rule.confidence)
    return {"champion": compared, "champion_sentence": champion_sentence(compared, rule.confidence)}
