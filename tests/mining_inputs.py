"""Builds parameters and random inputs of stage mine, and runs the stage, for tests of mining."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from attune.stage import call
from attune.stages.mine import mine
from attune.tables import CLUSTERED_QUERIES, CORPUS, DOCUMENT_IDS, NEGATIVES, QRELS, TRIPLETS, read, write
from attune.tuning.mining.rules import MineParams

N_DOCUMENTS, N_CLUSTERS, DIM = 60, 25, 8
WORDS = "stack split sort merge".split()


def mine_params(**changes: object) -> MineParams:
    """Returns parameters with two negatives, depth 6, one thread and every option off, except for `changes`."""
    values: dict[str, object] = {
        "n_negatives": 2,
        "max_own_negatives": 2,
        "lexical_share": 0.0,
        "depth": 6,
        "index": "flat",
        "first_rank": 0,
        "max_share_of_positive": 0.9,
        "min_margin": 0.0,
        "same_query": 1.01,
        "reranker": "",
        "n_sample": 5,
        "machine": {"threads": 1, "precision": "fp32", "batch_tokens": 4096},
    }
    return MineParams.model_validate(values | changes)


@dataclass(frozen=True)
class Data:
    """The inputs of stage mine as plain arrays; documents are named by their rows in the corpus."""

    clusters: NDArray[np.int64]
    in_train: NDArray[np.bool_]
    vectors: NDArray[np.float32]
    positives: list[list[int]]
    query_vectors: NDArray[np.float32]

    @classmethod
    def random(cls, seed: int) -> "Data":
        """Returns random clusters of several sizes, part of them in the train split, and queries near their positives.

        Queries are in another order than documents. A cluster has one or two queries, a query one to three positives.
        Some positives are not in the train split, as happens if a given test split contains them.
        """
        random = np.random.default_rng(seed)
        clusters = random.integers(N_CLUSTERS, size=N_DOCUMENTS)
        topics = random.normal(size=(N_CLUSTERS, DIM)) + 0.8
        vectors = unit(topics[clusters] + 0.7 * random.normal(size=(N_DOCUMENTS, DIM)))
        train_clusters = [c for c in np.unique(clusters) if random.random() < 0.75]
        in_train = np.isin(clusters, train_clusters) & (random.random(N_DOCUMENTS) < 0.9)
        positives = []
        for cluster in random.permutation(np.repeat(train_clusters, 2))[: len(train_clusters) * 3 // 2]:
            members = random.permutation(np.flatnonzero(clusters == cluster))
            positives.append(sorted(members[: random.integers(1, 4)].tolist()))
        centres = np.array([vectors[rows].mean(axis=0) for rows in positives])
        return cls(clusters, in_train, vectors, positives, unit(centres + 0.1 * random.normal(size=centres.shape)))

    def cluster_of(self, query: int) -> int:
        """Returns the cluster of a query's positives."""
        return int(self.clusters[self.positives[query][0]])

    def scores(self, query: int) -> NDArray[np.float64]:
        """Returns the cosine of every document to the query, rounded to six digits as in retrieval."""
        return np.round(self.vectors.astype(float) @ self.query_vectors[query].astype(float), 6)

    def ranked(self, query: int, depth: int) -> list[int]:
        """Returns the `depth` nearest train documents, ties by row."""
        scores = self.scores(query)
        return sorted(np.flatnonzero(self.in_train).tolist(), key=lambda row: (-scores[row], row))[:depth]

    def train_rows_outside(self, query: int) -> list[int]:
        """Returns the train documents outside the query's cluster."""
        rows = np.flatnonzero(self.in_train).tolist()
        return [row for row in rows if self.clusters[row] != self.cluster_of(query)]

    def may_be_mined(self, query: int, row: int, share: float) -> bool:
        """Returns True for an unjudged document of another cluster, at most `share` times the lowest positive."""
        scores = self.scores(query)
        limit = share * min(scores[positive] for positive in self.positives[query])
        is_own = row in self.positives[query] or self.clusters[row] == self.cluster_of(query)
        return bool(not is_own and scores[row] <= limit)

    def answers_of_similar_queries(self, query: int, same_query: float) -> set[int]:
        """Returns the positives of all other queries with at least this cosine to the query."""
        cosines = np.round(self.query_vectors.astype(float) @ self.query_vectors[query].astype(float), 6)
        others = [other for other in np.flatnonzero(cosines >= same_query).tolist() if other != query]
        return {row for other in others for row in self.positives[other]}

    def written(self, folder: Path, own: Mapping[int, list[int]] | None = None) -> dict[str, Path]:
        """Writes the stage's inputs and returns its path arguments; own: the user's negatives by query."""
        ids = [name("d", row) for row in range(N_DOCUMENTS)]
        # the id of a cluster is that of its first document
        first = [name("d", int(np.flatnonzero(self.clusters == cluster)[0])) for cluster in self.clusters]
        titles, texts = [f"title {id_}" for id_ in ids], [WORDS[row % len(WORDS)] + " word" for row in range(len(ids))]
        columns = {"document_id": ids, "title": titles, "text": texts, "duplicate_of": ids, "cluster_id": first}
        corpus = pl.DataFrame(columns, schema=CORPUS)
        write(corpus, folder / "prepared" / "corpus.parquet", CORPUS)
        train = folder / "train"
        write(corpus.filter(self.in_train).select("document_id"), train / "documents.parquet", DOCUMENT_IDS)
        queries = [
            (name("q", query), f"{WORDS[query % len(WORDS)]}?", first[rows[0]], "", "")
            for query, rows in enumerate(self.positives)
        ]
        write(pl.DataFrame(queries, CLUSTERED_QUERIES, orient="row"), train / "queries.parquet", CLUSTERED_QUERIES)
        qrels = [(name("q", query), ids[row], 1) for query, rows in enumerate(self.positives) for row in rows]
        write(pl.DataFrame(qrels, QRELS, orient="row"), train / "qrels.parquet", QRELS)
        negatives = [(name("q", query), ids[row]) for query, rows in (own or {}).items() for row in rows]
        write(pl.DataFrame(negatives, NEGATIVES, orient="row"), train / "negatives.parquet", NEGATIVES)
        (folder / "embeddings").mkdir()
        np.save(folder / "embeddings" / "corpus.npy", self.vectors)
        np.save(folder / "embeddings" / "train.npy", self.query_vectors)
        return {"prepared": folder / "prepared", "train": train, "embeddings": folder / "embeddings"}


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    """Returns the vectors scaled to length 1."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def name(letter: str, row: int) -> str:
    """Returns the id of a document (d) or a query (q)."""
    return f"{letter}{row:02}"


def run_mine(
    data: Data, folder: Path, params: MineParams, own: Mapping[int, list[int]] | None = None
) -> tuple[list[list[int]], dict[str, float]]:
    """Runs the stage; returns the negatives of each query, as rows of the corpus, and the receipt."""
    call(mine, params, folder / "mine.json", **data.written(folder, own), rerankers=folder, out=folder / "mined")
    triplets = read(folder / "mined" / "triplets.parquet", TRIPLETS)
    pairs = [(name("q", query), name("d", row)) for query, rows in enumerate(data.positives) for row in rows]
    assert triplets.select("query_id", "document_id").rows() == pairs
    lists = triplets.unique("query_id", maintain_order=True)["negative_ids"]
    assert triplets.select("query_id", "negative_ids").unique().height == len(lists) == len(data.positives)
    return [[int(id_[1:]) for id_ in ids] for ids in lists], json.loads((folder / "mine.json").read_text())
