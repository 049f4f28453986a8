"""The test queries that a report tells of: the largest wins and losses, and the closest leaks, with their texts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from attune.tables import CLUSTERED_QUERIES, CORPUS, LEXICAL, QRELS, RUN, SEMANTIC, Leak, read

KINDS = ("shared_documents", *LEXICAL, *SEMANTIC)  # who finds a leak first, tells it
TOP = 3  # titles shown of each ranking


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


def stories(runs: Path, prepared: Path, splits: Path, n: int, seed: int) -> dict[str, Any]:
    """The largest wins and losses, told with their texts, and how deep was ranked."""
    ranked = {system: read(runs / system / "run.parquet", RUN) for system in ("base", "tuned")}
    qrels = read(splits / "test/qrels.parquet", QRELS)
    titles = titles_of(read(prepared / "corpus.parquet", CORPUS))
    queries = dict(read(splits / "test/queries.parquet", CLUSTERED_QUERIES).select("query_id", "text").iter_rows())
    relevant = set(qrels.filter(pl.col("relevance") > 0).select("query_id", "document_id").iter_rows())
    wins, losses = (
        [tell(change, ranked, queries, titles, relevant) for change in changes]
        for changes in largest_changes(ranked, qrels, n, seed)
    )
    return {"wins": wins, "losses": losses, "depth": pl.concat(ranked.values())["rank"].max()}
