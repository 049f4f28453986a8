"""Says whether tuning helped: base against tuned on the same test queries, with intervals, tests and examples.

report.json is for programs and gates, report.md for people; both hold what this revision's receipts and runs say, so
they need no history to be read.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import Field

from attune.errors import BadInput
from attune.markdown import number, p_value, render, signed
from attune.measures import MEASURES
from attune.significance import Comparison, compare
from attune.stage import Out, Params, run, write_json
from attune.tables import CLUSTERED_QUERIES, CORPUS, QRELS, RUN, read, scores_columns

SYSTEMS = ("bm25", "base", "tuned", "onnx", "onnx_int8")
RECEIPTS = (*SYSTEMS, "prepare", "split", "mine", "train", "export")
HEADLINE = "recall@10"
KEPT_BY_INT8 = 0.99  # the share of tuned nDCG@10 below which the report warns
TOP = 3  # titles shown of each ranking

SCORES = scores_columns(MEASURES)


class ReportParams(Params):
    """How carefully to compare, and how many examples to show."""

    n_resamples: int = Field(ge=100, le=1_000_000)
    confidence: float = Field(gt=0.5, lt=1)
    seed: int = Field(ge=0)
    n_examples: int = Field(ge=0, le=50)


def read_receipts(folder: Path) -> dict[str, dict[str, Any]]:
    """The receipts of all stages and systems, by name.

    Raises:
        BadInput: one is missing, is not JSON, or is a system's and lacks a measure.
    """
    receipts = {}
    for name in RECEIPTS:
        path = folder / f"{name}.json"
        try:
            receipts[name] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BadInput(f"{path}: not found; run `dvc repro` to make it") from None
        except ValueError as error:
            raise BadInput(f"{path}: not JSON ({error}); delete it and run `dvc repro`") from None
        lacking = [measure for measure in MEASURES if name in SYSTEMS and measure not in receipts[name]]
        if lacking:
            raise BadInput(f"{path}: no {', '.join(lacking)}; run `dvc repro`")
    return receipts


def compare_runs(params: ReportParams, base: pl.DataFrame, tuned: pl.DataFrame) -> dict[str, Comparison]:
    """Compares the scores of two systems, measure by measure, on the test queries.

    Raises:
        BadInput: they were not scored on the same queries.
    """
    sides = [scores.filter(pl.col("split") == "test").sort("query_id") for scores in (base, tuned)]
    if not sides[0]["query_id"].equals(sides[1]["query_id"]):
        raise BadInput("report: base and tuned were scored on different test queries; run `dvc repro`")
    values = [{name: side[name].to_numpy() for name in MEASURES} for side in sides]
    return compare(values[0], values[1], params.n_resamples, params.confidence, params.seed)


def verdict(paired: Mapping[str, Comparison], base: float, tuned: float, confidence: float) -> str:
    """One sentence on recall@10 that a person can quote."""
    found = paired[HEADLINE]
    if not any(comparison.wins or comparison.losses for comparison in paired.values()):
        return f"No change: tuned scores exactly as base on every query and measure ({HEADLINE} {base:.3f})."
    between = f"{signed(found.ci_low, 3)} to {signed(found.ci_high, 3)}"
    interval = f"{number(100 * confidence)}% interval {between}, {p_value(found.p_value)}"
    moved = f"{HEADLINE} went from {base:.3f} to {tuned:.3f} ({signed(found.delta, 3)}, {interval})"
    if found.ci_low > 0:
        return f"Better: {moved}."
    if found.ci_high < 0:
        return f"Worse: {moved}."
    return f"No clear change: {moved}; the interval contains 0."


def leaks_of_test(split: Mapping[str, Any]) -> str:
    """What of test is also in train or dev, in words ("2 near queries, 1 exact documents"); empty when nothing is.

    Raises:
        BadInput: the receipt of the split holds no audit.
    """
    counts = {key.removeprefix("test_leaks."): n for key, n in split.items() if key.startswith("test_leaks.")}
    if not counts:
        raise BadInput("report: the receipt of split has no test_leaks.*; run `dvc repro`")
    return ", ".join(f"{number(n)} {kind.replace('_', ' ')}" for kind, n in counts.items() if n)


def first_relevant(ranked: pl.DataFrame, relevant: pl.DataFrame, system: str) -> pl.DataFrame:
    """For each query the rank and the id of the first relevant document that a system ranked, if it ranked any."""
    found = ranked.join(relevant, on=["query_id", "document_id"], how="semi").sort("query_id", "rank")
    return found.group_by("query_id", maintain_order=True).agg(
        pl.col("rank").first().alias(system), pl.col("document_id").first().alias(f"{system}_id")
    )


def largest_changes(
    runs: Mapping[str, pl.DataFrame], qrels: pl.DataFrame, n: int, seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The n queries that gained most and the n that lost most, by the reciprocal rank of their first relevant document.

    Equal changes are ordered by chance, seeded: by id they would all come from one corner of the corpus.
    """
    relevant = qrels.filter(pl.col("relevance") > 0)
    changes = relevant.select("query_id").unique().sort("query_id")
    changes = changes.with_columns(chance=np.random.default_rng(seed).permutation(changes.height))
    for system, ranked in runs.items():
        changes = changes.join(first_relevant(ranked, relevant, system), on="query_id", how="left")
    reciprocal = {system: (1 / pl.col(system)).fill_null(0.0) for system in runs}
    changes = changes.with_columns(change=reciprocal["tuned"] - reciprocal["base"])
    wins = changes.filter(pl.col("change") > 0).sort("change", "chance", descending=[True, False])
    losses = changes.filter(pl.col("change") < 0).sort("change", "chance")
    return wins.head(n).to_dicts(), losses.head(n).to_dicts()


def tell(
    change: Mapping[str, Any],
    runs: Mapping[str, pl.DataFrame],
    queries: Mapping[str, str],
    titles: Mapping[str, str],
    relevant: set[tuple[str, str]],
) -> dict[str, Any]:
    """What the page shows of one query: its text, the ranks before and after, and the top titles side by side."""
    query_id = change["query_id"]
    tops = {}
    for system, ranked in runs.items():
        ids = ranked.filter((pl.col("query_id") == query_id) & (pl.col("rank") <= TOP))["document_id"].to_list()
        tops[system] = [(titles[id_], (query_id, id_) in relevant) for id_ in ids] + [("", False)] * (TOP - len(ids))
    best = change["tuned_id"] if change["change"] > 0 else change["base_id"]
    ranks = {system: change[system] for system in runs}
    return {"query": queries[query_id], "title": titles[best], "ranks": ranks, "tops": tops}


def examples(params: ReportParams, runs: Path, prepared: Path, splits: Path) -> dict[str, Any]:
    """The largest wins and losses, told with their texts, and how deep was ranked."""
    ranked = {system: read(runs / system / "run.parquet", RUN) for system in ("base", "tuned")}
    qrels = read(splits / "test/qrels.parquet", QRELS)
    corpus = read(prepared / "corpus.parquet", CORPUS)
    title = pl.when(pl.col("title") == "").then(pl.col("text")).otherwise(pl.col("title"))
    titles = dict(corpus.select("document_id", title).iter_rows())
    queries = dict(read(splits / "test/queries.parquet", CLUSTERED_QUERIES).select("query_id", "text").iter_rows())
    relevant = set(qrels.filter(pl.col("relevance") > 0).select("query_id", "document_id").iter_rows())
    wins, losses = (
        [tell(change, ranked, queries, titles, relevant) for change in changes]
        for changes in largest_changes(ranked, qrels, params.n_examples, params.seed)
    )
    return {"wins": wins, "losses": losses, "depth": pl.concat(ranked.values())["rank"].max()}


def summarise(
    params: ReportParams, receipts: Mapping[str, Mapping[str, Any]], paired: Mapping[str, Comparison]
) -> dict[str, Any]:
    """The content of report.json: the four headline figures first; a leaking test split is part of the verdict."""
    base, tuned = receipts["base"], receipts["tuned"]
    kept = {name: receipts[name]["ndcg@10"] / (tuned["ndcg@10"] or 1) for name in ("onnx", "onnx_int8")}
    found = verdict(paired, base[HEADLINE], tuned[HEADLINE], params.confidence)
    leaks = leaks_of_test(receipts["split"])
    return {
        "baseline_recall@10": base[HEADLINE],
        "tuned_recall@10": tuned[HEADLINE],
        "mrr": tuned["mrr@10"],
        "delta": signed(tuned[HEADLINE] - base[HEADLINE]),
        "verdict": f"{found} Not a clean test: {leaks} of test are also in train or dev." if leaks else found,
        "systems": {system: {measure: receipts[system][measure] for measure in MEASURES} for system in SYSTEMS},
        "paired": {name: asdict(comparison) for name, comparison in paired.items()},
        "ndcg@10_kept_share": kept,
    }


def report(
    params: ReportParams, *, runs: Path, prepared: Path, splits: Path, metrics: Path, out: Out, page: Out
) -> None:
    """Compares base and tuned and writes the report, for programs and for people."""
    receipts = read_receipts(metrics)
    scores = {system: read(runs / system / "scores.parquet", SCORES) for system in ("base", "tuned")}
    summary = summarise(params, receipts, compare_runs(params, scores["base"], scores["tuned"]))
    shown = examples(params, runs, prepared, splits)
    write_json(out, summary)
    leaks = leaks_of_test(receipts["split"])
    told = {"summary": summary, "receipts": receipts, "params": params, "leaks": leaks, "kept_by_int8": KEPT_BY_INT8}
    text = render("report.md.j2", **told, **shown)
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run(report)
