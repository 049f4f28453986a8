"""Example queries of the report: largest wins and losses of tuning, and the most similar leaks, with their texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from attune.data.splitting.kinds import ALL_KINDS, is_crossed, role
from attune.tables import CLUSTERED_QUERIES, CORPUS, QRELS, RUN, SPLIT_QUERIES, Leak, read

# A text that leaks in several ways is shown under the first of these kinds.
KINDS = ("shared_documents", *ALL_KINDS)
OTHER_ROLE = {"queries": "documents", "documents": "queries"}
TOP = 3  # documents shown of each ranking


@dataclass(frozen=True)
class Rankings:
    """The test queries, their judgments, and each system's run over them, by system."""

    queries: pl.DataFrame
    qrels: pl.DataFrame
    runs: Mapping[str, pl.DataFrame]

    @property
    def depth(self) -> int:
        """Deepest rank in any run."""
        return max(int(run["rank"].max() or 0) for run in self.runs.values())  # type: ignore[arg-type]


def read_rankings(runs: Path, test: Path, systems: Sequence[str]) -> Rankings:
    """Reads the runs of these systems, restricted to the test queries.

    Raises:
        BadInput: a table is missing or is not the table its stage writes.
    """
    queries = read(test / "queries.parquet", SPLIT_QUERIES)
    of_test = {
        system: read(runs / system / "run.parquet", RUN).join(queries, on="query_id", how="semi") for system in systems
    }
    return Rankings(queries, read(test / "qrels.parquet", QRELS), of_test)


def closest_leaks(leaks: Sequence[Leak], prepared: Path, n: int) -> dict[str, list[tuple[str, str, float]]]:
    """Returns the n most similar leaks of test by kind, as (leaked text, matching text, similarity).

    A query or document that leaks in several ways is listed once, under the first of KINDS.
    """
    title = pl.when(pl.col("title") == "").then(pl.col("text")).otherwise(pl.col("title"))
    texts = {
        "queries": dict(read(prepared / "queries.parquet", CLUSTERED_QUERIES).select("query_id", "text").iter_rows()),
        "documents": dict(read(prepared / "corpus.parquet", CORPUS).select("document_id", title).iter_rows()),
    }
    listed: set[tuple[str, str]] = set()
    closest: dict[str, list[tuple[str, str, float]]] = {}
    of_test = (leak for leak in leaks if leak.split == "test")
    for leak in sorted(of_test, key=lambda leak: (KINDS.index(leak.kind), -leak.similarity, leak.leaked_id)):
        side = role(leak.kind)
        if (side, leak.leaked_id) in listed:
            continue
        listed.add((side, leak.leaked_id))
        rows = closest.setdefault(leak.kind, [])
        if len(rows) < n:
            of_match = OTHER_ROLE[side] if is_crossed(leak.kind) else side
            rows.append((texts[side][leak.leaked_id], texts[of_match][leak.match_id], leak.similarity))
    return closest


def first_relevant(run: pl.DataFrame, relevant: pl.DataFrame, system: str) -> pl.DataFrame:
    """Returns rank and id of each query's first relevant document in a run, as columns {system} and {system}_id.

    Queries without a relevant document in the run are left out.
    """
    hits = run.join(relevant, on=["query_id", "document_id"], how="semi").sort("query_id", "rank")
    return hits.group_by("query_id", maintain_order=True).agg(
        pl.col("rank").first().alias(system), pl.col("document_id").first().alias(f"{system}_id")
    )


def largest_changes(
    runs: Mapping[str, pl.DataFrame], qrels: pl.DataFrame, n: int, seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Returns the n queries with the largest gain, and with the largest loss, in reciprocal rank.

    The rank is that of the first relevant document.
    Equal changes are in seeded random order; ordered by id they would all come from one corner of the corpus.
    """
    relevant = qrels.filter(pl.col("relevance") > 0)
    changes = relevant.select("query_id").unique().sort("query_id")
    changes = changes.with_columns(chance=np.random.default_rng(seed).permutation(changes.height))
    for system, run in runs.items():
        changes = changes.join(first_relevant(run, relevant, system), on="query_id", how="left")
    reciprocal = {system: (1 / pl.col(system)).fill_null(0.0) for system in runs}
    changes = changes.with_columns(change=reciprocal["tuned"] - reciprocal["base"])
    wins = changes.filter(pl.col("change") > 0).sort("change", "chance", descending=[True, False])
    losses = changes.filter(pl.col("change") < 0).sort("change", "chance")
    return wins.head(n).to_dicts(), losses.head(n).to_dicts()


def describe(
    change: Mapping[str, Any],
    runs: Mapping[str, pl.DataFrame],
    queries: Mapping[str, str],
    relevant: set[tuple[str, str]],
) -> dict[str, Any]:
    """Returns an example: query text, first relevant document, its rank by system, and the top documents by system.

    Args:
        change: a row of `largest_changes`.
        runs: of base and tuned.
        queries: texts by id.
        relevant: (query id, document id) of all judgments.

    Returns:
        `tops` holds TOP pairs (document id, whether it is relevant) for each system, padded with ("", False).
    """
    query_id = change["query_id"]
    tops = {}
    for system, run in runs.items():
        ids = run.filter((pl.col("query_id") == query_id) & (pl.col("rank") <= TOP))["document_id"].to_list()
        tops[system] = [(id_, (query_id, id_) in relevant) for id_ in ids] + [("", False)] * (TOP - len(ids))
    best = change["tuned_id"] if change["change"] > 0 else change["base_id"]
    ranks = {system: change[system] for system in runs}
    return {"query": queries[query_id], "document_id": best, "ranks": ranks, "tops": tops}


def examples(rankings: Rankings, corpus: Path, n: int, seed: int) -> dict[str, Any]:
    """Returns the n largest `wins` and `losses`, as `describe` gives them, and their `documents` by id."""
    runs = {system: rankings.runs[system] for system in ("base", "tuned")}
    relevant = set(rankings.qrels.filter(pl.col("relevance") > 0).select("query_id", "document_id").iter_rows())
    queries = dict(rankings.queries.select("query_id", "text").iter_rows())
    wins, losses = (
        [describe(change, runs, queries, relevant) for change in changes]
        for changes in largest_changes(runs, rankings.qrels, n, seed)
    )
    shown = {id_ for change in wins + losses for top in change["tops"].values() for id_, _ in top}
    shown |= {change["document_id"] for change in wins + losses}
    documents = read(corpus, CORPUS).select("document_id", "title", "text")
    rows = documents.filter(pl.col("document_id").is_in(sorted(shown))).to_dicts()
    return {"wins": wins, "losses": losses, "documents": {row["document_id"]: row for row in rows}}
