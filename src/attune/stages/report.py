"""Says whether tuning helped: base against tuned on the same test queries, with intervals, tests and examples.

report.json is for programs and gates, report.md for people; both hold what this revision's receipts and runs say, so
they need no history to be read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import Field

from attune.errors import BadInput
from attune.leaks import LEXICAL, SEMANTIC, Leak, leaked_queries, without_leaks
from attune.markdown import render, signed
from attune.measures import MEASURES
from attune.receipts import read_receipts
from attune.significance import compare
from attune.stage import Out, Params, run, write_json
from attune.tables import CLUSTERED_QUERIES, CORPUS, LEAKS, QRELS, RUN, read, scores_columns
from attune.verdict import HEADLINE, Outcome, leaks_of_test, verdict, verdict_despite_leaks

SYSTEMS = ("bm25", "base", "tuned", "onnx", "onnx_int8")
RECEIPTS = (*SYSTEMS, "prepare", "split", "audit", "mine", "train", "export")
KEPT_BY_INT8 = 0.99  # the share of tuned nDCG@10 below which the report warns
KINDS = ("shared_documents", *LEXICAL, *SEMANTIC)  # who finds a leak first, tells it
TOP = 3  # titles shown of each ranking

SCORES = scores_columns(MEASURES)


class ReportParams(Params):
    """How carefully to compare, and how many examples to show."""

    n_resamples: int = Field(ge=100, le=1_000_000)
    confidence: float = Field(gt=0.5, lt=1)
    seed: int = Field(ge=0)
    n_examples: int = Field(ge=0, le=50)


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


def closest(leaks: Sequence[Leak], prepared: Path, n: int) -> dict[str, list[tuple[str, str, float]]]:
    """The most similar leaks of test with their texts, each under the first kind that finds it."""
    texts = {
        "queries": dict(read(prepared / "queries.parquet", CLUSTERED_QUERIES).select("query_id", "text").iter_rows()),
        "documents": titles_of(read(prepared / "corpus.parquet", CORPUS)),
    }
    told: set[tuple[str, str]] = set()
    shown: dict[str, list[tuple[str, str, float]]] = {}
    of_test = (leak for leak in leaks if leak.split == "test")
    for leak in sorted(of_test, key=lambda leak: (KINDS.index(leak.kind), -leak.similarity, leak.leaked_id)):
        what = leak.kind.partition("_")[2]
        if (what, leak.leaked_id) in told:
            continue
        told.add((what, leak.leaked_id))
        rows = shown.setdefault(leak.kind, [])
        if len(rows) < n:
            rows.append((texts[what][leak.leaked_id], texts[what][leak.match_id], leak.similarity))
    return shown


def titles_of(corpus: pl.DataFrame) -> dict[str, str]:
    """What the page calls each document: its title, or its text where it has none."""
    title = pl.when(pl.col("title") == "").then(pl.col("text")).otherwise(pl.col("title"))
    return dict(corpus.select("document_id", title).iter_rows())


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
    titles = titles_of(read(prepared / "corpus.parquet", CORPUS))
    queries = dict(read(splits / "test/queries.parquet", CLUSTERED_QUERIES).select("query_id", "text").iter_rows())
    relevant = set(qrels.filter(pl.col("relevance") > 0).select("query_id", "document_id").iter_rows())
    wins, losses = (
        [tell(change, ranked, queries, titles, relevant) for change in changes]
        for changes in largest_changes(ranked, qrels, params.n_examples, params.seed)
    )
    return {"wins": wins, "losses": losses, "depth": pl.concat(ranked.values())["rank"].max()}


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


def report(
    params: ReportParams, *, runs: Path, prepared: Path, splits: Path, audit: Path, metrics: Path, out: Out, page: Out
) -> None:
    """Compares base and tuned and writes the report, for programs and for people."""
    receipts = read_receipts(metrics, RECEIPTS, SYSTEMS)
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
    shown = examples(params, runs, prepared, splits)
    write_json(out, summary)
    told = {"summary": summary, "receipts": receipts, "params": params, "leaks": crossing, "kept_by_int8": KEPT_BY_INT8}
    shown["closest"] = closest(leaks, prepared, params.n_examples)
    page.write_text(render("report.md.j2", **told, **shown), encoding="utf-8")


if __name__ == "__main__":
    run(report)
