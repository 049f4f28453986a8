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

from attune.errors import BadInput
from attune.retrieval import load_embeddings, top_k
from attune.stage import Out, Params, Receipt, run
from attune.tables import CLUSTERED_QUERIES, CORPUS, DOCUMENT_IDS, QRELS, TRIPLETS, read, write

REASONS = ("positive", "positive_cluster", "too_close", "kept", "not_needed")


class MineParams(Params):
    """How many negatives, from where in the ranking, and how far below the positives."""

    n_negatives: int = Field(ge=0, le=16)
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


@dataclass(frozen=True)
class Found:
    """The ranked candidates of every query, all of shape (n_queries, depth) but the last, which is (n_queries,)."""

    scores: NDArray[np.float32]
    rows: NDArray[np.int64]
    is_positive: NDArray[np.bool_]
    in_own_cluster: NDArray[np.bool_]
    lowest_positive: NDArray[np.float32]


@dataclass(frozen=True)
class Verdicts:
    """What became of each candidate: indices into REASONS, (n_queries, depth)."""

    reasons: NDArray[np.int8]

    def kept(self) -> NDArray[np.bool_]:
        """The candidates that become negatives."""
        return np.equal(self.reasons, REASONS.index("kept"))

    def count(self, reason: str) -> int:
        """How many candidates have this reason."""
        return int((self.reasons == REASONS.index(reason)).sum())

    def negatives(self, rows: NDArray[np.int64]) -> list[list[int]]:
        """The kept candidates of each query, nearest first."""
        return [row[kept].tolist() for row, kept in zip(rows, self.kept(), strict=True)]

    def rejected(self, rows: NDArray[np.int64]) -> list[list[int]]:
        """The candidates of each query that a rule has excluded."""
        excluded = self.reasons < REASONS.index("kept")
        return [row[out].tolist() for row, out in zip(rows, excluded, strict=True)]


def judge(found: Found, params: MineParams) -> Verdicts:
    """Gives every candidate a verdict; where several rules apply, the first of REASONS is the one counted."""
    # a share of a negative number would be above it
    ceiling = found.lowest_positive - (1 - params.max_share_of_positive) * np.abs(found.lowest_positive)
    reasons = np.full(found.scores.shape, REASONS.index("kept"), dtype=np.int8)
    reasons[found.scores > ceiling[:, None]] = REASONS.index("too_close")
    reasons[found.in_own_cluster] = REASONS.index("positive_cluster")
    reasons[found.is_positive] = REASONS.index("positive")
    eligible = np.cumsum(reasons == REASONS.index("kept"), axis=1)
    window = (eligible > params.first_rank) & (eligible <= params.first_rank + params.n_negatives)
    reasons[(reasons == REASONS.index("kept")) & ~window] = REASONS.index("not_needed")
    return Verdicts(reasons)


def fill(
    negatives: list[list[int]],
    rejected: list[list[int]],
    own: list[str],
    clusters: NDArray[np.str_],
    params: MineParams,
) -> tuple[list[list[int]], int]:
    """Tops up short lists with random documents of other clusters, seeded; returns the lists and how many were added.

    What was rejected among the ranked candidates is drawn only where nothing else is left; documents beyond the ranked
    ones are not scored again.

    Raises:
        BadInput: there are not enough documents outside a query's cluster.
    """
    random = np.random.default_rng(params.seed)
    filled = []
    for rows, bad, cluster in zip(negatives, rejected, own, strict=True):
        n_missing = params.n_negatives - len(rows)
        others = np.setdiff1d(np.flatnonzero(clusters != cluster), rows) if n_missing else np.empty(0, dtype=np.int64)
        if len(others) < n_missing:
            raise BadInput(
                f"mine: {len(others)} train documents outside a query's cluster, {n_missing} needed; "
                "lower mine.n_negatives"
            )
        clean = np.setdiff1d(others, bad)
        drawn = random.choice(clean, min(n_missing, len(clean)), replace=False).tolist()
        if len(drawn) < n_missing:
            drawn += random.choice(np.intersect1d(others, bad), n_missing - len(drawn), replace=False).tolist()
        filled.append(rows + drawn)
    return filled, sum(map(len, filled)) - sum(map(len, negatives))


def candidates_of(train: Path, corpus: pl.DataFrame) -> pl.DataFrame:
    """The documents of the train split, each with its row in the corpus's embeddings."""
    allowed = read(train / "documents.parquet", DOCUMENT_IDS)
    return corpus.with_row_index("row").join(allowed, on="document_id", how="semi", maintain_order="left")


def search(
    queries: Queries, corpus: pl.DataFrame, vectors: NDArray[np.float32], candidates: pl.DataFrame, params: MineParams
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
        is_positive=np.array([np.isin(ids[row], own) for row, own in zip(rows, queries.positives, strict=True)]),
        in_own_cluster=clusters[rows] == np.array(queries.clusters)[:, None],
        lowest_positive=np.round(lowest, 6).astype(np.float32),
    )


def mine(params: MineParams, prepared: Path, train: Path, embeddings: Path, out: Out) -> Receipt:
    """Writes one row per train query and positive: query, positive and the query's negatives."""
    corpus = read(prepared / "corpus.parquet", CORPUS)
    candidates = candidates_of(train, corpus)
    table = read(train / "queries.parquet", CLUSTERED_QUERIES)
    qrels = read(train / "qrels.parquet", QRELS)
    vectors = load_embeddings(embeddings / "corpus.npy", corpus.height, "the corpus")
    queries = Queries.of(table, qrels, load_embeddings(embeddings / "train.npy", table.height, "the train queries"))
    found = search(queries, corpus, vectors, candidates, params)
    verdicts = judge(found, params)
    negatives, n_filled = fill(
        verdicts.negatives(found.rows),
        verdicts.rejected(found.rows),
        queries.clusters,
        candidates["cluster_id"].to_numpy(),
        params,
    )
    ids = candidates["document_id"].to_numpy()
    negative_ids = pl.Series("negative_ids", [list(ids[rows]) for rows in negatives], TRIPLETS["negative_ids"])
    mined = table.select("query_id").with_columns(negative_ids)
    triplets = qrels.join(table, on="query_id").join(mined, on="query_id").select(list(TRIPLETS))
    write(triplets.sort("query_id", "document_id"), out / "triplets.parquet", TRIPLETS)
    kept = found.scores[verdicts.kept()]
    return {
        "n_triplets": triplets.height,
        "n_candidates": int(found.rows.size),
        **{f"n_{reason}": verdicts.count(reason) for reason in REASONS},
        "n_filled_at_random": n_filled,
        "mean_lowest_positive_score": float(found.lowest_positive.mean()),
        "mean_negative_score": float(kept.mean()) if kept.size else 0.0,
    }


if __name__ == "__main__":
    run(mine)
