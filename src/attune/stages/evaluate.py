"""Ranks the whole corpus for every dev and test query and scores the rankings, query by query.

Every system, BM25 included, is scored by this one piece of code on the same queries, from embeddings that were made
before: no encoder runs here, so a change to a measure costs seconds.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from attune.errors import BadInput
from attune.lexical import bm25_top_k
from attune.measures import MEASURES, measure
from attune.retrieval import load_embeddings, top_k
from attune.stage import Out, Params, Receipt, run
from attune.tables import CLUSTERED_QUERIES, CORPUS, QRELS, RUN, full_texts, read, scores_columns, write

BM25 = "bm25"
SCORES = scores_columns(MEASURES)


class EvaluateParams(Params):
    """How deep to rank, and BM25's two constants."""

    depth: int = Field(ge=100, le=10_000)
    threads: int = Field(ge=1, le=1024)
    bm25_k1: float = Field(ge=0, le=10)
    bm25_b: float = Field(ge=0, le=1)


@dataclass(frozen=True)
class Split:
    """The queries of a split, in their file's order, and its judgments (query row, document row, relevance)."""

    name: str
    query_ids: pl.Series
    texts: list[str]
    judgments: NDArray[np.int64]


def load_split(folder: Path, corpus: pl.DataFrame) -> Split:
    """Reads a split and turns the ids of its judgments into rows.

    Raises:
        BadInput: a judgment names an unknown query or document, or a query has no relevant document.
    """
    queries = read(folder / "queries.parquet", CLUSTERED_QUERIES)
    qrels = read(folder / "qrels.parquet", QRELS)
    judged = qrels.join(queries.select("query_id").with_row_index("query_row"), on="query_id", how="left")
    judged = judged.join(corpus.select("document_id").with_row_index("document_row"), on="document_id", how="left")
    for row, id_ in (("query_row", "query_id"), ("document_row", "document_id")):
        unknown = judged.filter(pl.col(row).is_null())
        if unknown.height:
            raise BadInput(
                f"{folder / 'qrels.parquet'}: {unknown.height} judgments with an unknown {id_} "
                f"(first: {unknown[id_][0]!r}); run `dvc repro`"
            )
    answered = judged.filter(pl.col("relevance") > 0)
    without = queries.join(answered, on="query_id", how="anti")
    if without.height:
        raise BadInput(
            f"{folder}: {without.height} of {queries.height} queries have no relevant document "
            f"(first: {without['query_id'][0]!r}); judge or remove them"
        )
    judgments = judged.select(pl.col("query_row", "document_row", "relevance").cast(pl.Int64)).to_numpy()
    return Split(folder.name, queries["query_id"], queries["text"].to_list(), judgments)


def rank(
    params: EvaluateParams, system: str, source: Path, split: Split, corpus: pl.DataFrame
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Scores and document rows, (n_queries, depth), of one system's ranking; row -1 where nothing is ranked."""
    if system == BM25:
        return bm25_top_k(split.texts, full_texts(corpus), params.depth, params.bm25_k1, params.bm25_b)
    documents = load_embeddings(source / "corpus.npy", corpus.height, "the corpus")
    queries = load_embeddings(source / f"{split.name}.npy", len(split.texts), f"the {split.name} queries")
    return top_k(queries, documents, params.depth, params.threads)


def run_table(split: Split, corpus: pl.DataFrame, scores: NDArray[np.float32], rows: NDArray[np.int64]) -> pl.DataFrame:
    """The ranking as a table: one row per query and ranked document."""
    query_rows, ranks = np.nonzero(rows >= 0)
    found = rows[query_rows, ranks]
    return pl.DataFrame(
        {
            "query_id": split.query_ids.gather(query_rows),
            "rank": ranks + 1,
            "document_id": corpus["document_id"].gather(found),
            "score": scores[query_rows, ranks].astype(np.float64).round(6),
        }
    )


def score_table(split: Split, values: dict[str, NDArray[np.float64]]) -> pl.DataFrame:
    """Each query's measures as a table."""
    return pl.DataFrame(
        {"query_id": split.query_ids, "split": pl.repeat(split.name, len(split.texts), eager=True)} | values
    )


def evaluate(params: EvaluateParams, *, system: str, input: Path, prepared: Path, splits: Path, out: Out) -> Receipt:
    """Scores a system on dev and test from its embeddings, or by BM25 from the texts."""
    corpus = read(prepared / "corpus.parquet", CORPUS)
    runs, tables, means = [], [], {}
    for name in ("dev", "test"):
        split = load_split(splits / name, corpus)
        scores, rows = rank(params, system, input, split, corpus)
        values = measure(rows, split.judgments)
        runs.append(run_table(split, corpus, scores, rows))
        tables.append(score_table(split, values))
        means[name] = {key: float(column.mean()) for key, column in values.items()}
    write(pl.concat(runs).sort("query_id", "rank"), out / "run.parquet", RUN)
    write(pl.concat(tables).sort("query_id"), out / "scores.parquet", SCORES)
    sizes = {"n_queries": len(split.texts), "n_documents": corpus.height}
    return means["test"] | sizes | {f"dev_{key}": means["dev"][key] for key in ("recall@10", "ndcg@10")}


if __name__ == "__main__":
    run(evaluate)
