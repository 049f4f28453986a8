"""Says whether tuning helped: base against tuned on the same test queries, with intervals, tests and examples.

report.json is for programs and gates, report.md for people; both hold what this revision's receipts and runs say, so
they need no history to be read.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import Field

from attune.evaluation.report.examples import closest, stories
from attune.evaluation.report.markdown import render
from attune.evaluation.report.overfitting import Curve, Gains, judge
from attune.evaluation.report.panels import curve_of, dimensions_of, domain_tasks, negatives, tasks_of, trade_off
from attune.evaluation.report.summary import (
    Paired,
    add_comparisons,
    gains_without_leaks,
    headline,
    leaked_queries,
    of_slices,
    outcomes,
    paired_scores,
)
from attune.evaluation.report.verdict import KEPT_BY_INT8
from attune.evaluation.scoring.receipts import leaks_of_test, read_receipts, receipts_of
from attune.evaluation.statistics.chance import floor, too_few_resamples, worse
from attune.evaluation.statistics.comparisons import Resampling, compare_tasks
from attune.evaluation.statistics.slices import Traits, by_trait, compare_slices, traits_of
from attune.stage import Out, Params, run, write_json
from attune.tables import COMPARISONS, LEAKS, QRELS, SLICES, Leak, read, records_table, write_csv

SYSTEMS = ("bm25", "base", "tuned", "onnx", "onnx_int8")
RECEIPTS = (*SYSTEMS, "prepare", "split", "audit", "mine", "train", "merge", "seeds", "drift", "export")
PROBED = ("base", "tuned")
SLICED = "ndcg@10"


class ReportParams(Params):
    """How carefully to compare, and how many examples to show."""

    n_resamples: int = Field(ge=100, le=1_000_000)
    confidence: float = Field(gt=0.5, lt=1)
    seed: int = Field(ge=0)
    power: float = Field(gt=0.5, lt=1)
    n_bins: int = Field(ge=2, le=20)
    n_names: int = Field(ge=2, le=100)
    min_slice_queries: int = Field(ge=2)
    n_examples: int = Field(ge=0, le=50)
    min_carried_share: float = Field(ge=-1, le=1)
    max_dev_decline: float = Field(ge=0, le=1)

    @property
    def resampling(self) -> Resampling:
        """Of all comparisons."""
        return Resampling(self.n_resamples, self.confidence, self.seed)


def sliced(params: ReportParams, scores: Paired, traits: Traits) -> dict[str, Any]:
    """The slices of the test queries, those that got worse, how many were too small to tell, and the floor of p."""
    slices = by_trait(traits, params.n_bins, params.n_names)
    base, tuned = scores.base[SLICED], scores.tuned[SLICED]
    rows, n_small = compare_slices(slices, base, tuned, params.resampling, params.min_slice_queries)
    return {
        "slices": rows,
        "worse": worse([asdict(row) for row in rows], params.confidence),
        "n_small_slices": n_small,
        "slices_floor": floor(params.n_resamples, len(rows)),
        "too_few_resamples": too_few_resamples(params.n_resamples, len(rows), params.confidence),
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


def overfitting(
    params: ReportParams, receipts: Mapping[str, Mapping[str, Any]], metrics: Path, round: str
) -> dict[str, Any]:
    """The verdict on overfitting, from the figures of train, dev and test and from the curve of what ships."""
    file = metrics / "plots" / ("training.csv" if round == "r1" else f"training_{round}.csv")
    curve = Curve.of(curve_of(file), receipts["train"]["kept_step"])
    gains = Gains.of(receipts["base"], receipts["tuned"])
    return judge(gains, curve, params.min_carried_share, params.max_dev_decline)


def report(
    params: ReportParams,
    *,
    runs: Path,
    seeds: Path,
    raw: Path,
    prepared: Path,
    splits: Path,
    audit: Path,
    mined: Path,
    round: str,
    metrics: Path,
    out: Out,
    page: Out,
    comparisons: Out,
    slices: Out,
) -> None:
    """Compares base and tuned and writes the report, for programs and for people."""
    receipts, scores = receipts_of(metrics, RECEIPTS, SYSTEMS, round), paired_scores(runs)
    crossing = leaks_of_test(receipts["split"])
    leaks = [Leak(*row) for row in read(audit / "leaks.parquet", LEAKS).iter_rows()]
    answers = read(splits / "test/qrels.parquet", QRELS).select("query_id", "document_id").iter_rows()
    leaked, test = leaked_queries(leaks, answers), scores["test"]
    rows = compare_tasks({task: (one.base, one.tuned) for task, one in scores.items()}, params.resampling, params.power)
    found = outcomes(rows, test, leaked["lexical"], seeds / "scores.parquet", params.resampling, params.power)
    cut = sliced(params, test, traits_of(test.query_ids, raw, prepared, splits))
    summary = headline(receipts, SYSTEMS, found, crossing, cut)
    add_comparisons(summary, rows)
    summary["slices"] = of_slices(cut["slices"])
    summary["without_leaks"] = gains_without_leaks(test, leaked, params.resampling)
    summary["overfitting"] = overfitting(params, receipts, metrics, round)
    write_json(out, summary)
    write_csv(records_table(rows, COMPARISONS), comparisons, COMPARISONS)
    write_csv(records_table(cut["slices"], SLICES), slices, SLICES)
    told = {"summary": summary, "receipts": receipts, "params": params, "leaks": crossing, "kept_by_int8": KEPT_BY_INT8}
    shown = stories(runs, prepared, splits, params.n_examples, params.seed)
    shown |= panels(metrics, receipts, mined) | cut | {"comparisons": rows}
    shown["p_floor"] = floor(params.n_resamples, len(rows))
    shown["closest"] = closest(leaks, prepared, params.n_examples)
    page.write_text(render("report.md.j2", **told, **shown), encoding="utf-8")


if __name__ == "__main__":
    run(report)
