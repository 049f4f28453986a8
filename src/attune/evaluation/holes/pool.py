"""Runs and judgments of the same queries, documents numbered, as holes are looked for in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from attune.runtime.arrays import Float32, Int64

Ranking = tuple[Float32, Int64]  # scores, descending, and document rows

DEPTH = 10  # ranks of the headline measures, all of which are cut there


@dataclass(frozen=True)
class Pool:
    """Rankings of some systems over the same queries, and what was judged of them.

    Attributes:
        query_ids: by query row.
        document_ids: by document row: of all documents that are ranked or judged.
        judgments: (n, 3) query row, document row, relevance; 0 where the document was judged not to answer.
        rankings: by system, scores and document rows, each (n_queries, depth); row -1 where nothing is ranked.
    """

    query_ids: list[str]
    document_ids: list[str]
    judgments: Int64
    rankings: Mapping[str, Ranking]

    @property
    def best_relevance(self) -> int:
        """Highest relevance that was judged, at least 1: what an unjudged document can be at best."""
        return int(self.judgments[:, 2].max(initial=1))

    def is_judged(self, rows: Int64) -> NDArray[np.bool_]:
        """Tells of (n_queries, depth) document rows which ones were judged for their query; false where there is none.

        Args:
            rows: document rows, -1 where nothing is ranked.
        """
        return self.is_among(rows, self.judgments)

    def is_among(self, rows: Int64, pairs: Int64) -> NDArray[np.bool_]:
        """Tells of (n_queries, depth) document rows which ones are pairs with their query.

        Args:
            rows: document rows, -1 where nothing is ranked.
            pairs: (n, 2 or more) query row, document row.
        """
        width = len(self.document_ids) + 1
        known = pairs[:, 0] * width + pairs[:, 1]
        return np.isin(np.arange(len(rows))[:, None] * width + rows, known) & (rows >= 0)

    def judged_at(self, system: str, depth: int = DEPTH) -> float:
        """Returns Judged@k: the mean share of a query's first k documents that were judged (as ir-measures has it).

        Queries for which the system ranks nothing are left out.
        """
        rows = self.rankings[system][1][:, :depth]
        n_ranked, n_judged = (rows >= 0).sum(axis=1), self.is_judged(rows).sum(axis=1)
        shares = n_judged[n_ranked > 0] / n_ranked[n_ranked > 0]
        return float(shares.mean()) if len(shares) else 0.0


def pool_of(
    runs: Mapping[str, pl.DataFrame], qrels: pl.DataFrame, negatives: pl.DataFrame, query_ids: Sequence[str]
) -> Pool:
    """Joins runs and judgments.

    Args:
        runs: by system, tables of RUN.
        qrels: QRELS, of relevance 1 and more.
        negatives: NEGATIVES, documents judged not to answer the query.
        query_ids: of the queries to look at; rows of others are left out.
    """
    judged = pl.concat([qrels, negatives.with_columns(relevance=pl.lit(0, pl.Int64))])
    judged = judged.unique(["query_id", "document_id"], keep="first", maintain_order=True)
    ids = pl.concat([judged["document_id"], *(run["document_id"] for run in runs.values())]).unique().sort()
    queries = pl.DataFrame({"query_id": pl.Series(list(query_ids), dtype=pl.String)}).with_row_index("query_row")
    documents = pl.DataFrame({"document_id": ids}).with_row_index("document_row")
    rows = judged.join(queries, on="query_id").join(documents, on="document_id").sort("query_row", "document_row")
    return Pool(
        list(query_ids),
        ids.to_list(),
        rows.select(pl.col("query_row", "document_row", "relevance").cast(pl.Int64)).to_numpy().reshape(-1, 3),
        {
            system: _ranking(run.join(queries, on="query_id").join(documents, on="document_id"), len(query_ids))
            for system, run in runs.items()
        },
    )


def _ranking(run: pl.DataFrame, n_queries: int) -> Ranking:
    place = run["query_row"].to_numpy(), run["rank"].to_numpy() - 1
    shape = n_queries, int(place[1].max(initial=0)) + 1
    scores, rows = np.zeros(shape, dtype=np.float32), np.full(shape, -1, dtype=np.int64)
    scores[place], rows[place] = run["score"].to_numpy(), run["document_row"].to_numpy()
    return scores, rows
