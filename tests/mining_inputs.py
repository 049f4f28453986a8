"""Builds parameters and random inputs of stage mine, and runs the stage, for tests of mining."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from prepared_tables import write_corpus

from attune.stage import call
from attune.stages.mine import mine
from attune.tables import CORPUS, DOCUMENT_IDS, NEGATIVES, OWN_TEXTS, QRELS, SPLIT_QUERIES, TRIPLETS, read, write
from attune.tuning.mining.rules import MineParams

# the negatives of each query, by the positive of their row; documents are named by their rows in the corpus
Negatives = list[dict[int, list[int]]]

N_DOCUMENTS, N_TOPICS, DIM = 60, 25, 8
WORDS = "stack split sort merge".split()


def mine_params(**changes: object) -> MineParams:
    """Returns parameters with two negatives, depth 6, one thread and every option off, except for `changes`."""
    values: dict[str, object] = {
        "n_negatives": 2,
        "lexical_share": 0.0,
        "depth": 6,
        "index": "flat",
        "first_rank": 0,
        "max_share_of_positive": 0.9,
        "min_margin": 0.0,
        "same_query": 1.01,
        "positive_passage": "nearest",
        "reranker": "",
        "n_sample": 5,
        "machine": {"threads": 1, "precision": "fp32", "batch_tokens": 4096},
    }
    return MineParams.model_validate(values | changes)


@dataclass(frozen=True)
class Data:
    """The inputs of stage mine as plain arrays; documents are named by their rows in the corpus."""

    in_train: NDArray[np.bool_]
    vectors: NDArray[np.float32]
    positives: list[list[int]]
    query_vectors: NDArray[np.float32]
    near_groups: list[int]  # the first query of the group, by query
    own_texts: list[list[int]]

    @classmethod
    def random(cls, seed: int) -> "Data":
        """Returns documents on random topics, part of them in the train split, and queries near their positives.

        Queries are in another order than documents. A topic has one or two queries, a query one to three positives,
        some of them relevant to the other query, too. Every third pair of queries on one topic reads the same. Every
        fifth query is the text of a document beside its positives. Some positives are not in the train split, as
        happens if a given test split contains them.
        """
        random = np.random.default_rng(seed)
        topics = random.integers(N_TOPICS, size=N_DOCUMENTS)
        centres = random.normal(size=(N_TOPICS, DIM)) + 0.8
        vectors = unit(centres[topics] + 0.7 * random.normal(size=(N_DOCUMENTS, DIM)))
        train_topics = [topic for topic in np.unique(topics) if random.random() < 0.75]
        in_train = np.isin(topics, train_topics) & (random.random(N_DOCUMENTS) < 0.9)
        of_queries = random.permutation(np.repeat(train_topics, 2))[: len(train_topics) * 3 // 2].tolist()
        positives, near_groups, own_texts = [], [], []
        for query, topic in enumerate(of_queries):
            members = random.permutation(np.flatnonzero(topics == topic))
            positives.append(sorted(members[: random.integers(1, 4)].tolist()))
            near_groups.append(of_queries.index(topic) if topic % 3 == 0 else query)
            own_texts.append(members[3:4].tolist() if query % 5 == 0 else [])
        means = np.array([vectors[rows].mean(axis=0) for rows in positives])
        query_vectors = unit(means + 0.1 * random.normal(size=means.shape))
        return cls(in_train, vectors, positives, query_vectors, near_groups, own_texts)

    def never_negatives(self, query: int) -> set[int]:
        """Returns the positives of the query and of those that read the same, and documents with its own text."""
        group = self.near_groups[query]
        like = [other for other, of_other in enumerate(self.near_groups) if of_other == group]
        return {row for other in like for row in self.positives[other]} | set(self.own_texts[query])

    def scores(self, query: int) -> NDArray[np.float64]:
        """Returns the cosine of every document to the query, rounded to six digits as in retrieval."""
        return np.round(self.vectors.astype(float) @ self.query_vectors[query].astype(float), 6)

    def ranked(self, query: int, depth: int) -> list[int]:
        """Returns the `depth` nearest train documents, ties by row."""
        scores = self.scores(query)
        return sorted(np.flatnonzero(self.in_train).tolist(), key=lambda row: (-scores[row], row))[:depth]

    def allowed_rows(self, query: int) -> list[int]:
        """Returns the train documents that may be negatives of the query, at whatever score."""
        return [row for row in np.flatnonzero(self.in_train).tolist() if row not in self.never_negatives(query)]

    def may_be_mined(self, query: int, positive: int, row: int, share: float) -> bool:
        """Returns True for a document that may be a negative and scores at most `share` times the row's positive."""
        scores = self.scores(query)
        return bool(row not in self.never_negatives(query) and scores[row] <= share * scores[positive])

    def mined_from(
        self, query: int, pool: list[int], scores: Sequence[float] | NDArray[np.float64], share: float
    ) -> dict[int, list[int]]:
        """Returns the up to two negatives from a pool, nearest first, by the positive of their row.

        The row of the lowest positive chooses first, and each row prefers documents that earlier ones use least.
        """
        n_uses = dict.fromkeys(pool, 0)
        mined = {}
        for positive in sorted(self.positives[query], key=lambda row: (scores[row], row)):
            limit = share * scores[positive]
            allowed = [row for row in pool if row not in self.never_negatives(query) and scores[row] <= limit]
            mined[positive] = sorted(allowed, key=lambda row: n_uses[row])[:2]
            for row in mined[positive]:
                n_uses[row] += 1
        return mined

    def n_rows(self) -> int:
        """Returns the number of rows of training: pairs of a query and a positive."""
        return sum(map(len, self.positives))

    def answers_of_similar_queries(self, query: int, same_query: float) -> set[int]:
        """Returns the positives of all other queries with at least this cosine to the query."""
        cosines = np.round(self.query_vectors.astype(float) @ self.query_vectors[query].astype(float), 6)
        others = [other for other in np.flatnonzero(cosines >= same_query).tolist() if other != query]
        return {row for other in others for row in self.positives[other]}

    def written(self, folder: Path, own: Mapping[int, list[int]] | None = None) -> dict[str, Path]:
        """Writes the stage's inputs and returns its path arguments; own: the user's negatives by query."""
        ids = [name("d", row) for row in range(N_DOCUMENTS)]
        titles, texts = [f"title {id_}" for id_ in ids], [WORDS[row % len(WORDS)] + " word" for row in range(len(ids))]
        columns = {"document_id": ids, "title": titles, "text": texts, "duplicate_of": ids, "cluster_id": ids}
        corpus = pl.DataFrame(columns, schema=CORPUS)
        write_corpus(corpus, folder / "prepared")
        train = folder / "train"
        write(corpus.filter(self.in_train).select("document_id"), train / "documents.parquet", DOCUMENT_IDS)
        queries = [
            (name("q", query), f"{WORDS[query % len(WORDS)]}?", name("q", query), name("q", group), "", "")
            for query, group in enumerate(self.near_groups)
        ]
        write(pl.DataFrame(queries, SPLIT_QUERIES, orient="row"), train / "queries.parquet", SPLIT_QUERIES)
        qrels = [(name("q", query), ids[row], 1 + row % 3) for query, rows in enumerate(self.positives) for row in rows]
        write(pl.DataFrame(qrels, QRELS, orient="row"), train / "qrels.parquet", QRELS)
        negatives = [(name("q", query), ids[row]) for query, rows in (own or {}).items() for row in rows]
        write(pl.DataFrame(negatives, NEGATIVES, orient="row"), train / "negatives.parquet", NEGATIVES)
        own_texts = [(name("q", query), ids[row]) for query, rows in enumerate(self.own_texts) for row in rows]
        write(pl.DataFrame(own_texts, OWN_TEXTS, orient="row"), train / "own_texts.parquet", OWN_TEXTS)
        (folder / "embeddings").mkdir(parents=True)
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
) -> tuple[Negatives, dict[str, float]]:
    """Runs the stage; returns the negatives of each row and the receipt."""
    call(mine, params, folder / "mine.json", **data.written(folder, own), rerankers=folder, out=folder / "mined")
    triplets = read(folder / "mined" / "triplets.parquet", TRIPLETS)
    pairs = [
        (name("q", query), name("q", data.near_groups[query]), name("d", row), 1 + row % 3)
        for query, rows in enumerate(data.positives)
        for row in rows
    ]
    assert triplets.select("query_id", "near_group", "document_id", "relevance").rows() == pairs
    assert set(triplets["negative_ids"].list.len()) == {params.n_negatives}
    negatives: Negatives = [{} for _ in data.positives]
    for query, positive, ids in triplets.select("query_id", "document_id", "negative_ids").iter_rows():
        negatives[int(query[1:])][int(positive[1:])] = [int(id_[1:]) for id_ in ids]
    return negatives, json.loads((folder / "mine.json").read_text())
