"""A split as what scores it needs it: queries in their file's order, judgments as rows of queries and corpus."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from attune.errors import BadInput
from attune.tables import CLUSTERED_QUERIES, QRELS, read

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Queries of a split, in their file's order, and their judgments (query row, document row, relevance).

    `rows` are the rows of the split's file; all of them, but for a sample.
    """

    name: str
    query_ids: pl.Series
    texts: list[str]
    judgments: Rows
    rows: Rows
    n_in_file: int


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
    rows = np.arange(queries.height)
    return Split(folder.name, queries["query_id"], queries["text"].to_list(), judgments, rows, queries.height)
