"""Says whether tuning helped: base against tuned on the same test queries, with intervals, tests and examples.

report.json is for programs and gates, report.md for people; both hold what this revision's receipts and runs say, so
they need no history to be read.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field

from attune.errors import BadInput
from attune.leaks import Leak, leaked_queries, without_leaks
from attune.markdown import render, signed
from attune.measures import MEASURES
from attune.overfitting import Curve, Gains, judge
from attune.panels import curve_of, dimensions_of, domain_tasks, negatives, tasks_of, trade_off
from attune.receipts import read_receipts
from attune.significance import compare
from attune.stage import Out, Params, run, write_json
from attune.stories import closest, stories
from attune.tables import LEAKS, QRELS, read, scores_columns
from attune.verdict import HEADLINE, Outcome, leaks_of_test, verdict, verdict_despite_leaks

SYSTEMS = ("bm25", "base", "tuned", "onnx", "onnx_int8")
RECEIPTS = (*SYSTEMS, "prepare", "split", "audit", "mine", "train", "merge", "seeds", "drift", "export")
PROBED = ("base", "tuned")
KEPT_BY_INT8 = 0.99  # the share of tuned nDCG@10 below which the report warns
SCORES = scores_columns(MEASURES)


class ReportParams(Params):
    """How carefully to compare, and how many examples to show."""

    n_resamples: int = Field(ge=100, le=1_000_000)
    confidence: float = Field(gt=0.5, lt=1)
    seed: int = Field(ge=0)
    n_examples: int = Field(ge=0, le=50)
    min_carried_share: float = Field(ge=-1, le=1)
    max_dev_decline: float = Field(ge=0, le=1)


def paired_scores(runs: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The test scores of base and of tuned, in the same order of queries.

    Raises:
        BadInput: they were not scored on the same queries.
    """
    base, tuned = (
        read(runs / system / "scores.parquet", SCORES).filter(pl.col("split") == "test").sort("query_id")
        for system in ("base", "tuned")
    )
    if not base["query_id"].equals(tuned["query_id"]):
        raise BadInput("report: base and tuned were scored on different test queries; run `dvc repro`")
    return base, tuned


def outcome_of(params: ReportParams, base: pl.DataFrame, tuned: pl.DataFrame) -> Outcome:
    """Compares the scores of two systems, query by query and measure by measure."""
    values = [{name: side[name].to_numpy() for name in MEASURES} for side in (base, tuned)]
    means = [float(side[HEADLINE].mean()) for side in values]
    paired = compare(values[0], values[1], params.n_resamples, params.confidence, params.seed)
    return Outcome(paired, means[0], means[1], base.height)


def summarise(
    params: ReportParams, receipts: Mapping[str, Mapping[str, Any]], whole: Outcome, clean: Outcome | None, leaks: str
) -> dict[str, Any]:
    """The content of report.json: the four headline figures first; a leaking test split is part of the verdict."""
    base, tuned = receipts["base"], receipts["tuned"]
    kept = {name: receipts[name]["ndcg@10"] / (tuned["ndcg@10"] or 1) for name in ("onnx", "onnx_int8")}
    found = (
        verdict_despite_leaks(whole, clean, leaks, params.confidence) if leaks else verdict(whole, params.confidence)
    )
    return {
        "baseline_recall@10": base[HEADLINE],
        "tuned_recall@10": tuned[HEADLINE],
        "mrr": tuned["mrr@10"],
        "delta": signed(tuned[HEADLINE] - base[HEADLINE]),
        "n_test_queries": tuned["n_queries"],
        "verdict": found,
        "systems": {system: {measure: receipts[system][measure] for measure in MEASURES} for system in SYSTEMS},
        "paired": asdict(whole)["paired"],
        "paired_without_leaks": asdict(clean)["paired"] if clean and leaks else {},
        "ndcg@10_kept_share": kept,
    }


def panels(metrics: Path, receipts: Mapping[str, Mapping[str, Any]], mined: Path) -> dict[str, Any]:
    """What the page shows beside the scores on test."""
    probed = read_receipts(metrics / "probe", PROBED, ())
    return {
        "tasks": tasks_of(probed["base"], probed["tuned"]),
        "domain_tasks": domain_tasks(receipts["base"], receipts["tuned"]),
        "dimensions": dimensions_of(receipts["base"], receipts["tuned"]),
        "points": trade_off(metrics / "plots" / "merge.csv"),
        "negatives": negatives(mined),
    }


def report(
    params: ReportParams,
    *,
    runs: Path,
    prepared: Path,
    splits: Path,
    audit: Path,
    mined: Path,
    round: str,
    metrics: Path,
    out: Out,
    page: Out,
) -> None:
    """Compares base and tuned and writes the report, for programs and for people."""
    receipts = read_receipts(metrics, RECEIPTS, SYSTEMS)
    if round != "r1":  # what ships was trained later: its curve, its negatives
        receipts |= {
            name: read_receipts(metrics, [f"{name}_{round}"], ())[f"{name}_{round}"] for name in ("train", "mine")
        }
    curve = "training" if round == "r1" else f"training_{round}"
    base, tuned = paired_scores(runs)
    leaks = [Leak(*row) for row in read(audit / "leaks.parquet", LEAKS).iter_rows()]
    answers = read(splits / "test/qrels.parquet", QRELS).select("query_id", "document_id").iter_rows()
    leaked = leaked_queries(leaks, answers)
    sides = {name: side[HEADLINE].to_numpy() for name, side in (("baseline", base), ("tuned", tuned))}
    is_clean = ~base["query_id"].is_in(leaked["lexical"])
    whole = outcome_of(params, base, tuned)
    crossing = leaks_of_test(receipts["split"])
    clean = outcome_of(params, base.filter(is_clean), tuned.filter(is_clean)) if is_clean.sum() > 1 else None
    summary = summarise(params, receipts, whole, clean, crossing)
    summary["without_leaks"] = without_leaks(base["query_id"].to_list(), sides, leaked)
    points = Curve.of(curve_of(metrics / "plots" / f"{curve}.csv"), receipts["train"]["kept_step"])
    gains = Gains.of(receipts["base"], receipts["tuned"])
    summary["overfitting"] = judge(gains, points, params.min_carried_share, params.max_dev_decline)
    shown = stories(runs, prepared, splits, params.n_examples, params.seed)
    write_json(out, summary)
    told = {"summary": summary, "receipts": receipts, "params": params, "leaks": crossing, "kept_by_int8": KEPT_BY_INT8}
    shown["closest"] = closest(leaks, prepared, params.n_examples)
    shown |= panels(metrics, receipts, mined)
    page.write_text(render("report.md.j2", **told, **shown), encoding="utf-8")


if __name__ == "__main__":
    run(report)
