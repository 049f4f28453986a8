"""Judged hits of a run: score and relevance of the first documents of each query. Unjudged documents count as wrong."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from attune.errors import BadInput
from attune.evaluation.scoring.query_clusters import clusters_of
from attune.runtime.arrays import Float64, Int64
from attune.tables import QRELS, RUN, read


class Hits(NamedTuple):
    """Hits of a split's queries, by query and then by rank.

    Attributes:
        scores: (n,).
        is_relevant: (n,).
        queries: (n,) number of each hit's query, from 0 on.
        clusters: (n,) number of the query's cluster.
        ranks: (n,), from 1 on.
        relevant: (n_relevant,) scores of all relevant documents of the split, ascending; minus infinity where the run
            does not hold one.
    """

    scores: Float64
    is_relevant: NDArray[np.bool_]
    queries: Int64
    clusters: Int64
    ranks: Int64
    relevant: Float64

    def upto(self, rank: int) -> "Hits":
        """Returns the hits up to a rank."""
        kept = self.ranks <= rank
        return self._replace(
            scores=self.scores[kept],
            is_relevant=self.is_relevant[kept],
            queries=self.queries[kept],
            clusters=self.clusters[kept],
            ranks=self.ranks[kept],
        )

    @property
    def first(self) -> "Hits":
        """Best hit of each query."""
        return self.upto(1)

    def best_without_relevant(self) -> Float64:
        """Returns (n_queries,) the best score of each query if its relevant documents were not there."""
        scores = np.where(self.is_relevant, -np.inf, self.scores)
        starts = np.flatnonzero(np.diff(self.queries, prepend=-1))
        return np.maximum.reduceat(scores, starts) if len(starts) else scores


def read_hits(run: Path, split: Path) -> Hits:
    """Reads the hits of a split's queries.

    Args:
        run: folder of a system in data/runs.
        split: folder of the split.

    Raises:
        BadInput: the run has no query of the split.
    """
    qrels = read(split / "qrels.parquet", QRELS).filter(pl.col("relevance") > 0)
    pairs = qrels.select("query_id", "document_id").with_columns(is_relevant=pl.lit(True))
    table = read(run / "run.parquet", RUN).join(qrels.select("query_id").unique(), on="query_id", how="semi")
    if not table.height:
        raise BadInput(f"{run / 'run.parquet'}: ranks no query of {split}; run `dvc repro`")
    table = table.join(pairs, on=["query_id", "document_id"], how="left").sort("query_id", "rank")
    ids = table["query_id"].unique(maintain_order=True)
    numbers = {"query": np.arange(len(ids)), "cluster": clusters_of(split, ids.to_list())}
    table = table.join(pl.DataFrame({"query_id": ids} | numbers), on="query_id", how="left", maintain_order="left")
    found = pairs.join(table.select("query_id", "document_id", "score"), on=["query_id", "document_id"], how="left")
    return Hits(
        table["score"].to_numpy().astype(np.float64),
        table["is_relevant"].fill_null(value=False).to_numpy(),
        table["query"].to_numpy().astype(np.int64),
        table["cluster"].to_numpy().astype(np.int64),
        table["rank"].to_numpy().astype(np.int64),
        np.sort(found["score"].fill_null(-np.inf).to_numpy().astype(np.float64)),
    )
