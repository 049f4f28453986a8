"""Mines hard negatives: documents that the base encoder finds near a train query although they do not answer it.

The nearest are often unjudged right answers, so a candidate must score clearly below the query's lowest positive
(positive-aware mining, Moreira et al. 2024, "NV-Retriever", arXiv 2407.15831), and nothing of a positive's cluster is
ever taken. Only documents of the train split are candidates. What was rejected, and by which rule, is counted.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from attune.negatives import REASONS, Found, fill, judge
from attune.retrieval import load_embeddings, top_k
from attune.stage import Out, Params, Receipt, run
from attune.tables import CLUSTERED_QUERIES, CORPUS, DOCUMENT_IDS, NEGATIVES, QRELS, TRIPLETS, read, write


class MineParams(Params):
    """How many negatives, from where in the ranking, and how far below the positives."""

    n_negatives: int = Field(ge=0, le=16)
    max_own_negatives: int = Field(ge=0, le=16)
    depth: int = Field(ge=1, le=1000)
    first_rank: int = Field(ge=0, le=1000)
    max_share_of_positive: float = Field(gt=0, le=1)
    seed: int = Field(ge=0)
    threads: int = Field(ge=1, le=1024)


@dataclass(frozen=True)
class Queries:
    """The train queries in one order: embeddings (n, dim), the ids of each one's relevant documents, their clusters."""

    vectors: NDArray[np.float32]
    positives: list[list[str]]
    clusters: list[str]

    @classmethod
    def of(cls, table: pl.DataFrame, qrels: pl.DataFrame, vectors: NDArray[np.float32]) -> "Queries":
        """Lines up the tables with the embeddings."""
        relevant = dict(qrels.group_by("query_id").agg("document_id").iter_rows())
        return cls(vectors, [relevant[id_] for id_ in table["query_id"]], table["cluster_id"].to_list())


def candidates_of(train: Path, corpus: pl.DataFrame) -> pl.DataFrame:
    """The documents of the train split, each with its row in the corpus's embeddings."""
    allowed = read(train / "documents.parquet", DOCUMENT_IDS)
    return corpus.with_row_index("row").join(allowed, on="document_id", how="semi", maintain_order="left")


def own_negatives(train: Path, table: pl.DataFrame, candidates: pl.DataFrame, most: int) -> list[list[int]]:
    """For each query the candidates that the user says do not answer it, at most so many."""
    given = read(train / "negatives.parquet", NEGATIVES)
    places = candidates.select("document_id").with_row_index("place")
    rows = given.join(places, on="document_id").group_by("query_id").agg(pl.col("place").sort().head(most))
    found = dict(rows.iter_rows())
    return [found.get(query_id, []) for query_id in table["query_id"]]


def search(
    queries: Queries,
    corpus: pl.DataFrame,
    vectors: NDArray[np.float32],
    candidates: pl.DataFrame,
    own: list[list[int]],
    params: MineParams,
) -> Found:
    """Ranks the candidates for every query and says what each is to it."""
    scores, rows = top_k(queries.vectors, vectors[candidates["row"].to_numpy()], params.depth, params.threads)
    ids, clusters = candidates["document_id"].to_numpy(), candidates["cluster_id"].to_numpy()
    corpus_row = dict(zip(corpus["document_id"], range(corpus.height), strict=True))
    lowest = [
        min(float(vector @ vectors[corpus_row[id_]]) for id_ in positives)
        for vector, positives in zip(queries.vectors, queries.positives, strict=True)
    ]
    return Found(
        scores=scores,
        rows=rows,
        is_positive=np.array([np.isin(ids[row], ids_) for row, ids_ in zip(rows, queries.positives, strict=True)]),
        is_own_negative=np.array([np.isin(row, places) for row, places in zip(rows, own, strict=True)]),
        in_own_cluster=clusters[rows] == np.array(queries.clusters)[:, None],
        lowest_positive=np.round(lowest, 6).astype(np.float32),
    )


def mine(params: MineParams, prepared: Path, train: Path, embeddings: Path, out: Out) -> Receipt:
    """Writes one row per train query and positive: query, positive and the query's negatives, the user's own first."""
    corpus = read(prepared / "corpus.parquet", CORPUS)
    candidates = candidates_of(train, corpus)
    table = read(train / "queries.parquet", CLUSTERED_QUERIES)
    qrels = read(train / "qrels.parquet", QRELS)
    vectors = load_embeddings(embeddings / "corpus.npy", corpus.height, "the corpus")
    queries = Queries.of(table, qrels, load_embeddings(embeddings / "train.npy", table.height, "the train queries"))
    own = own_negatives(train, table, candidates, params.max_own_negatives)
    # every training row has as many negatives: who brings fewer gets more mined ones
    wanted = params.n_negatives + max(map(len, own), default=0) - np.array([len(places) for places in own])
    found = search(queries, corpus, vectors, candidates, own, params)
    verdicts = judge(found, wanted, params.max_share_of_positive, params.first_rank)
    negatives, n_filled = fill(
        verdicts.negatives(found.rows),
        [bad + places for bad, places in zip(verdicts.rejected(found.rows), own, strict=True)],
        queries.clusters,
        candidates["cluster_id"].to_numpy(),
        wanted,
        params.seed,
    )
    triplets = triplets_of(table, qrels, candidates["document_id"].to_numpy(), own, negatives)
    write(triplets, out / "triplets.parquet", TRIPLETS)
    kept = found.scores[verdicts.kept()]
    return {
        "n_triplets": triplets.height,
        "n_candidates": int(found.rows.size),
        **{f"n_{reason}": verdicts.count(reason) for reason in REASONS},
        "n_filled_at_random": n_filled,
        "n_given_by_user": sum(map(len, own)),
        "mean_lowest_positive_score": float(found.lowest_positive.mean()),
        "mean_negative_score": float(kept.mean()) if kept.size else 0.0,
    }


def triplets_of(
    table: pl.DataFrame, qrels: pl.DataFrame, ids: NDArray[np.str_], own: list[list[int]], negatives: list[list[int]]
) -> pl.DataFrame:
    """One row per query and positive, with the query's negatives, the user's own first."""
    both = [list(ids[first + rest]) for first, rest in zip(own, negatives, strict=True)]
    mined = table.select("query_id").with_columns(pl.Series("negative_ids", both, TRIPLETS["negative_ids"]))
    triplets = qrels.join(table, on="query_id").join(mined, on="query_id").select(list(TRIPLETS))
    return triplets.sort("query_id", "document_id")


if __name__ == "__main__":
    run(mine)
