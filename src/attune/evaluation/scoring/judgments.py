"""A split in the form evaluation needs: queries in their file's order, judgments as rows of queries and corpus.

Where queries are themselves documents (duplicate questions, product to product), a query's own text would take the
first place of its ranking. `Split.without_own_texts` takes it out (split.leave_out_own_text).
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from attune.errors import BadInput
from attune.retrieval.ties import Search, through_ties, without_pairs
from attune.runtime.arrays import Float32, Int64
from attune.tables import OWN_TEXTS, QRELS, SPLIT_QUERIES, read


@dataclass(frozen=True)
class Split:
    """Queries of a split, or of a sample of it, and their judgments.

    Attributes:
        name: of the split.
        query_ids: in the order of the file.
        texts: of the queries, in the same order.
        cluster_ids: clusters that the split's protocol (split.by) keeps whole, one per query.
        judgments: (n_judgments, 3) query row, document row, relevance.
        own_texts: (n, 2) query row, document row of documents with the query's own text, left out of its ranking.
        rows: (n_queries,) rows of the queries in the split's file, and so in its embeddings.
        n_in_file: number of queries in the file; more than `texts` in a sample.
    """

    name: str
    query_ids: pl.Series
    texts: list[str]
    cluster_ids: pl.Series
    judgments: Int64
    own_texts: Int64
    rows: Int64
    n_in_file: int

    @property
    def most_own_texts(self) -> int:
        """Largest number of documents that are left out of one query's ranking: how much deeper to search."""
        return int(np.bincount(self.own_texts[:, 0], minlength=1).max())

    def ranked(self, search: Search, depth: int) -> tuple[Float32, Int64]:
        """Ranks documents to a depth without the queries' own texts, and on to the last that ties with the one there.

        Args:
            search: ranks documents for the queries in given rows of the split.
            depth: at least 1.

        Returns:
            Scores and document rows, (n_queries, depth or more); row -1 and score 0 where nothing is ranked.
        """
        scores, rows = through_ties(search, len(self.texts), depth + self.most_own_texts)
        return self.without_own_texts(scores, rows)

    def without_own_texts(self, scores: Float32, rows: Int64) -> tuple[Float32, Int64]:
        """Returns a ranking without the documents that have the query's own text: those below move up.

        Args:
            scores: (n_queries, depth) of the ranked documents.
            rows: (n_queries, depth) document rows, -1 where nothing is ranked.

        Returns:
            Scores and document rows of the same shape; row -1 and score 0 where nothing is ranked.
        """
        return without_pairs(scores, rows, self.own_texts)

    def take(self, rows: Int64) -> "Split":
        """Returns a sample of the split: the queries in these rows, ascending, and what belongs to them."""
        place = np.full(len(self.texts), -1)
        place[rows] = np.arange(len(rows))

        def kept(pairs: Int64) -> Int64:
            pairs = pairs[place[pairs[:, 0]] >= 0]
            return np.column_stack([place[pairs[:, 0]], pairs[:, 1:]])

        return replace(
            self,
            query_ids=self.query_ids.gather(rows),
            texts=[self.texts[row] for row in rows],
            cluster_ids=self.cluster_ids.gather(rows),
            judgments=kept(self.judgments),
            own_texts=kept(self.own_texts),
            rows=self.rows[rows],
        )


def load_split(folder: Path, corpus: pl.DataFrame) -> Split:
    """Reads a split and turns the ids of its judgments into rows.

    Args:
        folder: holds queries.parquet, qrels.parquet and own_texts.parquet.
        corpus: whose document rows the judgments get.

    Raises:
        BadInput: a judgment names an unknown query or document, or a query has no relevant document.
    """
    queries = read(folder / "queries.parquet", SPLIT_QUERIES)
    judged = _with_rows(folder / "qrels.parquet", read(folder / "qrels.parquet", QRELS), queries, corpus)
    own_texts = read(folder / "own_texts.parquet", OWN_TEXTS)
    own_texts = _with_rows(folder / "own_texts.parquet", own_texts, queries, corpus)
    relevant = judged.filter(pl.col("relevance") > 0)
    without = queries.join(relevant, on="query_id", how="anti")
    if without.height:
        raise BadInput(
            f"{folder}: {without.height} of {queries.height} queries have no relevant document "
            f"(first: {without['query_id'][0]!r}); judge or remove them"
        )
    return Split(
        name=folder.name,
        query_ids=queries["query_id"],
        texts=queries["text"].to_list(),
        cluster_ids=queries["cluster_id"],
        judgments=judged.select(pl.col("query_row", "document_row", "relevance").cast(pl.Int64)).to_numpy(),
        own_texts=own_texts.select(pl.col("query_row", "document_row").cast(pl.Int64)).to_numpy(),
        rows=np.arange(queries.height),
        n_in_file=queries.height,
    )


def _with_rows(file: Path, table: pl.DataFrame, queries: pl.DataFrame, corpus: pl.DataFrame) -> pl.DataFrame:
    """Adds query_row and document_row to a table of a split; refuses unknown ids."""
    rows = table.join(queries.select("query_id").with_row_index("query_row"), on="query_id", how="left")
    rows = rows.join(corpus.select("document_id").with_row_index("document_row"), on="document_id", how="left")
    for row, id_ in (("query_row", "query_id"), ("document_row", "document_id")):
        unknown = rows.filter(pl.col(row).is_null())
        if unknown.height:
            raise BadInput(
                f"{file}: {unknown.height} rows with an unknown {id_} (first: {unknown[id_][0]!r}); run `dvc repro`"
            )
    return rows
