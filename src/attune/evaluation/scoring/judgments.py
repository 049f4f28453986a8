"""A split in the form evaluation needs: queries in their file's order, judgments as rows of queries and corpus."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from attune.errors import BadInput
from attune.runtime.arrays import Int64
from attune.tables import CLUSTERED_QUERIES, QRELS, read


@dataclass(frozen=True)
class Split:
    """Queries of a split, or of a sample of it, and their judgments.

    Attributes:
        name: of the split.
        query_ids: in the order of the file.
        texts: of the queries, in the same order.
        judgments: (n_judgments, 3) query row, document row, relevance.
        rows: (n_queries,) rows of the queries in the split's file, and so in its embeddings.
        n_in_file: number of queries in the file; more than `texts` in a sample.
    """

    name: str
    query_ids: pl.Series
    texts: list[str]
    judgments: Int64
    rows: Int64
    n_in_file: int


def load_split(folder: Path, corpus: pl.DataFrame) -> Split:
    """Reads a split and turns the ids of its judgments into rows.

    Args:
        folder: holds queries.parquet and qrels.parquet.
        corpus: whose document rows the judgments get.

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
    relevant = judged.filter(pl.col("relevance") > 0)
    without = queries.join(relevant, on="query_id", how="anti")
    if without.height:
        raise BadInput(
            f"{folder}: {without.height} of {queries.height} queries have no relevant document "
            f"(first: {without['query_id'][0]!r}); judge or remove them"
        )
    judgments = judged.select(pl.col("query_row", "document_row", "relevance").cast(pl.Int64)).to_numpy()
    rows = np.arange(queries.height)
    return Split(folder.name, queries["query_id"], queries["text"].to_list(), judgments, rows, queries.height)
