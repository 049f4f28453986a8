"""Draws the report's page: what the report, its neighbours and the runs say, for people, in one file that needs none.

A stage of its own: another look must not run the statistics again.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from attune.evaluation.page import at_a_glance, charts
from attune.evaluation.page.charts import bubbles, gains_by_size
from attune.evaluation.page.html import render_page
from attune.evaluation.page.provenance import fingerprints, parameters, shipped, versions
from attune.evaluation.page.rankings import Rankings, before_and_after, examples, read_rankings, recall_curves
from attune.evaluation.page.svg import Chart
from attune.evaluation.report.panels import curve_of, dimensions_of, negatives, tasks_of, trade_off
from attune.evaluation.scoring.measures import HEADLINE, MEASURES
from attune.evaluation.scoring.receipts import leaks_of_test, read_receipts, receipts_of
from attune.evaluation.statistics.chance import floor, too_few_resamples
from attune.stage import Out, Params, run
from attune.tables import COMPARISONS, SLICES, read_csv

SYSTEMS = ("bm25", "base", "tuned", "onnx", "onnx_int8")
RECEIPTS = (*SYSTEMS, "base_encoder", "prepare", "split", "audit", "mine", "train", "merge", "seeds", "drift", "export")
DRAWN = "ndcg@10"  # of the charts by query
OTHERS = ("dev", "paraphrases", "train")  # sets of queries that evaluate scores besides test
TOLD = ("recall@10", "ndcg@10")  # ... by these measures

Receipts = Mapping[str, Mapping[str, Any]]
Rows = Sequence[Mapping[str, Any]]


class PageParams(Params):
    """How much of the data the page shows."""

    n_examples: int = Field(ge=0, le=50)
    seed: int = Field(ge=0)
    max_characters: int = Field(ge=40, le=10_000)


def scores_of(receipts: Receipts) -> list[dict[str, Any]]:
    """A row per set of queries and measure: task, measure, best, and each system's score (None where it has none)."""
    asked = [("test", measure, measure) for measure in MEASURES]
    asked += [(task, measure, f"{task}_{measure}") for task in OTHERS for measure in TOLD]
    rows = []
    for task, measure, key in asked:
        found = {system: receipts[system].get(key) for system in SYSTEMS}
        best = max((value for value in found.values() if value is not None), default=None)
        if best is not None:
            rows.append({"task": task, "measure": measure, "best": best} | found)
    return rows


def drawn(rankings: Rankings, runs: Path, compared: Rows, slices: Rows) -> list[Chart]:
    """The charts of the scores: by depth, by query, by measure, by slice."""
    scored = before_and_after(runs, DRAWN)
    measured = [{**row, "label": row["measure"]} for row in compared if row["task"] == "test"]
    sliced = [{**row, "label": f"{row['slice']}: {row['bin']}".replace("_", " ")} for row in slices]
    return [
        charts.recall_curves(recall_curves(rankings)),
        charts.gains(gains_by_size(*scored), DRAWN),
        charts.scatter(bubbles(*scored), DRAWN),
        charts.forest(measured, "measures", "By measure, on test", "tuned minus base"),
        charts.forest(sliced, "slices", "By slice of the test queries", f"{DRAWN}, tuned minus base"),
    ]


def made_of(metrics: Path, round: str, kept_step: int) -> list[Chart]:
    """The charts of how the encoder came about."""
    curve = metrics / "plots" / ("training.csv" if round == "r1" else f"training_{round}.csv")
    return [
        charts.training(curve_of(curve), kept_step),
        charts.trade_off(trade_off(metrics / "plots/merge.csv")),
    ]


def tested(rows: Rows) -> int:
    """How many comparisons the p-values of these rows are corrected for."""
    return sum(row["p_holm"] is not None for row in rows)


def headline_of(summary: Mapping[str, Any], crossing: str) -> Mapping[str, Any]:
    """The comparison in large letters: of the clean queries where test leaks; empty where hardly one is clean."""
    found: Mapping[str, Any] = summary["paired_without_leaks" if crossing else "paired"].get(HEADLINE, {})
    if not found:
        return {}
    clean = summary["without_leaks"]["lexical"]["n_queries"] if crossing else None
    return {**found, "n_clean": clean}


def answers(
    summary: Mapping[str, Any], receipts: Receipts, compared: Rows, slices: Rows, care: Mapping[str, Any]
) -> list[at_a_glance.Answer]:
    """What the page says first; `care` holds the parameters of the comparisons."""
    n, confidence = care["n_resamples"], care["confidence"]
    few = [too_few_resamples(n, tested(rows), confidence) for rows in (compared, slices)]
    return [
        at_a_glance.gain(summary["verdict"], compared, confidence, few[0]),
        at_a_glance.for_whom(slices, confidence, few[1]),
        at_a_glance.leakage(receipts["audit"], leaks_of_test(receipts["split"]), summary["without_leaks"].get("any")),
        at_a_glance.by_heart(summary["overfitting"]),
        at_a_glance.elsewhere(receipts["drift"]),
        at_a_glance.shipping(summary["ndcg@10_kept_share"]),
    ]


def panels(metrics: Path, mined: Path, receipts: Receipts) -> dict[str, Any]:
    """The tables and examples beside the charts."""
    probed = read_receipts(metrics / "probe", ("base", "tuned"), ())
    return {
        "receipts": receipts,
        "crossing": leaks_of_test(receipts["split"]),
        "scores": scores_of(receipts),
        "tasks": tasks_of(probed["base"], probed["tuned"]),
        "dimensions": dimensions_of(receipts["base"], receipts["tuned"]),
        "negatives": negatives(mined),
    }


def sources(inputs: Sequence[Path], onnx: Path, settings: Mapping[str, Any], libraries: Path) -> dict[str, Any]:
    """The provenance: hashes, parameters, versions."""
    manifest = read_receipts(onnx, ["manifest"], ())["manifest"]
    return {
        "files": fingerprints(inputs) + shipped(manifest),
        "encoder": manifest["base"],
        "parameters": settings,
        "versions": versions(libraries),
    }


def page(
    params: PageParams,
    *,
    runs: Path,
    prepared: Path,
    splits: Path,
    mined: Path,
    round: str,
    metrics: Path,
    onnx: Path,
    settings: Path,
    libraries: Path,
    out: Out,
) -> None:
    """Puts the page together and writes it."""
    receipts, summary = receipts_of(metrics, RECEIPTS, SYSTEMS, round), read_receipts(metrics, ["report"], ())["report"]
    compared = read_csv(metrics / "plots/comparisons.csv", COMPARISONS).to_dicts()
    slices = read_csv(metrics / "plots/slices.csv", SLICES).to_dicts()
    rankings = read_rankings(runs, splits / "test", SYSTEMS)
    shown = drawn(rankings, runs, compared, slices) + made_of(metrics, round, receipts["train"]["kept_step"])
    run_with = parameters(settings)
    care = run_with["report"]
    counts = {"one": 1, "compared": tested(compared), "slices": tested(slices)}
    inputs = [prepared / "corpus.parquet", splits, mined, *(runs / system for system in SYSTEMS)]
    html = render_page(
        params=params,
        systems=SYSTEMS,
        headline=HEADLINE,
        summary=summary,
        found=headline_of(summary, leaks_of_test(receipts["split"])),
        confidence=care["confidence"],
        floors={name: floor(care["n_resamples"], n) for name, n in counts.items()},
        answers=answers(summary, receipts, compared, slices, care),
        charts={chart.name: chart for chart in shown},
        compared=compared,
        slices=slices,
        power=care["power"],
        depth=rankings.depth,
        **panels(metrics, mined, receipts),
        **examples(rankings, prepared / "corpus.parquet", params.n_examples, params.seed),
        **sources(inputs, onnx, run_with, libraries),
    )
    out.write_text(html, encoding="utf-8")


if __name__ == "__main__":
    run(page)
