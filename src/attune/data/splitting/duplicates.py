"""Merges queries of equal text into one query with the documents of all, and judges twins among documents alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from attune.data.raw_tables import read_raw, read_raw_paraphrases
from attune.data.splitting.clusters import normalise
from attune.tables import QRELS


@dataclass(frozen=True)
class MergedData:
    """The raw data after identical queries were merged.

    Attributes:
        documents, queries: tables; queries with the split that the user gave them.
        judged: judgments under the kept ids.
        kept: for each raw query the id of the query that replaces it.
        groups: the same, with the group that the user gave the raw query.
        paraphrases: raw paraphrases and their judgments; they take no part in clustering, which they must not change.
    """

    documents: pl.DataFrame
    queries: pl.DataFrame
    judged: pl.DataFrame
    kept: pl.DataFrame
    groups: pl.DataFrame
    paraphrases: tuple[pl.DataFrame, pl.DataFrame]


def merge_raw(raw: Path) -> MergedData:
    """Reads the raw data and merges its identical queries.

    Raises:
        BadInput: the raw data cannot be read.
    """
    documents, queries, by_split = read_raw(raw)
    qrels, given = judgments(by_split)
    queries = queries.join(given, on="query_id", how="left", maintain_order="left")
    kept = merge_queries(queries)
    return MergedData(
        documents=documents,
        queries=queries.filter(kept["query_id"] == kept["kept"]).drop("group"),
        judged=rename_queries(qrels, kept),
        kept=kept,
        groups=queries.select("query_id", "group").join(kept, on="query_id", maintain_order="left"),
        paraphrases=read_raw_paraphrases(raw),
    )


def judgments(by_split: Mapping[str, pl.DataFrame]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Returns all judgments in one table, and the split that the user gave each judged query ("" for none)."""
    qrels = pl.concat([frame.with_columns(given_split=pl.lit(name)) for name, frame in by_split.items()])
    qrels = qrels.with_columns(pl.col("given_split").replace("all", ""))
    given = qrels.select("query_id", "given_split").unique("query_id", keep="first", maintain_order=True)
    return qrels.select(list(QRELS)), given


def merge_queries(queries: pl.DataFrame) -> pl.DataFrame:
    """Returns for each query the first one of equal text (`kept`), with which it is merged."""
    same = pl.Series("same", [normalise(text) for text in queries["text"]], pl.String)
    # queries of different given splits stay apart: merging them would hide a leak from the audit
    first = pl.col("query_id").first().over("same", "given_split")
    return queries.with_columns(same).select("query_id", kept=first)


def rename_queries(qrels: pl.DataFrame, kept: pl.DataFrame) -> pl.DataFrame:
    """Returns the judgments of merged queries under the kept id; the highest of several on one document counts."""
    renamed = qrels.join(kept, on="query_id", maintain_order="left").select(
        pl.col("kept").alias("query_id"), "document_id", "relevance"
    )
    return renamed.group_by("query_id", "document_id", maintain_order=True).agg(pl.col("relevance").max())


def share_relevance(qrels: pl.DataFrame, duplicate_of: pl.DataFrame) -> pl.DataFrame:
    """Copies each judgment to all near-identical documents; a document gets the highest of several relevances."""
    groups = duplicate_of.rename({"document_id": "duplicate_id"})
    shared = qrels.join(duplicate_of, on="document_id").join(groups, on="duplicate_of")
    shared = shared.select("query_id", pl.col("duplicate_id").alias("document_id"), "relevance")
    return shared.group_by("query_id", "document_id").agg(pl.col("relevance").max()).sort("query_id", "document_id")
