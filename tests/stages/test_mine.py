"""Hard negatives are hard, and negatives: never a positive, never one of its cluster, never too close to it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from attune.stage import call
from attune.stages.mine import MineParams, mine
from attune.tables import CLUSTERED_QUERIES, CORPUS, DOCUMENT_IDS, NEGATIVES, QRELS, TRIPLETS, read, write
from attune.tuning.mining import candidates
from attune.tuning.mining.rules import REASONS

N_DOCUMENTS, N_CLUSTERS, DIM = 60, 25, 8
WORDS = "stack split sort merge".split()


def params(**changes: object) -> MineParams:
    values = {
        "n_negatives": 2,
        "max_own_negatives": 2,
        "depth": 6,
        "index": "flat",
        "first_rank": 0,
        "max_share_of_positive": 0.9,
    }
    values |= {"lexical_share": 0.0, "min_margin": 0.0, "same_query": 1.01, "reranker": "", "n_sample": 5}
    values |= {"seed": 1, "threads": 1}
    return MineParams.model_validate(values | changes)


@dataclass(frozen=True)
class Data:
    """What the stage is given, as plain arrays; documents are named by their rows in the corpus."""

    clusters: NDArray[np.int64]
    in_train: NDArray[np.bool_]
    vectors: NDArray[np.float32]
    positives: list[list[int]]
    query_vectors: NDArray[np.float32]

    @classmethod
    def random(cls, seed: int) -> "Data":
        """Clusters of several sizes, scattered over the corpus as the train split is; queries near their documents.

        Queries come in another order than documents, clusters have one or two, and each has one or several positives.
        Now and then a positive is held out, as it is when a given test split shares it.
        """
        random = np.random.default_rng(seed)
        clusters = random.integers(N_CLUSTERS, size=N_DOCUMENTS)
        topics = random.normal(size=(N_CLUSTERS, DIM)) + 0.8
        vectors = unit(topics[clusters] + 0.7 * random.normal(size=(N_DOCUMENTS, DIM)))
        train_clusters = [c for c in np.unique(clusters) if random.random() < 0.75]
        in_train = np.isin(clusters, train_clusters) & (random.random(N_DOCUMENTS) < 0.9)
        positives = []
        for cluster in random.permutation(np.repeat(train_clusters, 2))[: len(train_clusters) * 3 // 2]:
            own = random.permutation(np.flatnonzero(clusters == cluster))
            positives.append(sorted(own[: random.integers(1, 4)].tolist()))
        centres = np.array([vectors[rows].mean(axis=0) for rows in positives])
        return cls(clusters, in_train, vectors, positives, unit(centres + 0.1 * random.normal(size=centres.shape)))

    def cluster_of(self, query: int) -> int:
        return int(self.clusters[self.positives[query][0]])

    def scores(self, query: int) -> NDArray[np.float64]:
        """Of all documents with a query, to the six digits that retrieval gives."""
        return np.round(self.vectors.astype(float) @ self.query_vectors[query].astype(float), 6)

    def ranked(self, query: int, depth: int) -> list[int]:
        scores = self.scores(query)
        return sorted(np.flatnonzero(self.in_train).tolist(), key=lambda row: (-scores[row], row))[:depth]

    def may_be_mined(self, query: int, row: int, share: float) -> bool:
        """The promise, as the design words it."""
        scores = self.scores(query)
        ceiling = share * min(scores[positive] for positive in self.positives[query])
        own = row in self.positives[query] or self.clusters[row] == self.cluster_of(query)
        return bool(not own and scores[row] <= ceiling)

    def written(self, folder: Path, refused: Mapping[int, list[int]] | None = None) -> dict[str, Path]:
        """The inputs of the stage, as the stages before it write them; refused: negatives that the user gave."""
        ids = [name("d", row) for row in range(N_DOCUMENTS)]
        # a cluster's id is its first document's
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
        own = [(name("q", query), ids[row]) for query, rows in (refused or {}).items() for row in rows]
        write(pl.DataFrame(own, NEGATIVES, orient="row"), train / "negatives.parquet", NEGATIVES)
        (folder / "embeddings").mkdir()
        np.save(folder / "embeddings" / "corpus.npy", self.vectors)
        np.save(folder / "embeddings" / "train.npy", self.query_vectors)
        return {"prepared": folder / "prepared", "train": train, "embeddings": folder / "embeddings"}


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def name(letter: str, row: int) -> str:
    return f"{letter}{row:02}"


def mined(
    data: Data, folder: Path, settings: MineParams, refused: Mapping[int, list[int]] | None = None
) -> tuple[list[list[int]], dict[str, float]]:
    """Runs the stage; returns the negatives of each query, as rows of the corpus, and the receipt."""
    call(mine, settings, folder / "mine.json", **data.written(folder, refused), rerankers=folder, out=folder / "mined")
    triplets = read(folder / "mined" / "triplets.parquet", TRIPLETS)
    pairs = [(name("q", query), name("d", row)) for query, rows in enumerate(data.positives) for row in rows]
    assert triplets.select("query_id", "document_id").rows() == pairs
    lists = triplets.unique("query_id", maintain_order=True)["negative_ids"]
    assert triplets.select("query_id", "negative_ids").unique().height == len(lists) == len(data.positives)
    return [[int(id_[1:]) for id_ in ids] for ids in lists], json.loads((folder / "mine.json").read_text())


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("share", [0.9, 0.75])
def test_the_nearest_allowed_train_documents_are_mined(tmp_path: Path, seed: int, share: float) -> None:
    """No positive, none of its cluster, none above the share of the lowest positive; in order of their nearness."""
    data = Data.random(seed)
    negatives, receipt = mined(data, tmp_path, params(max_share_of_positive=share))
    n_mined = 0
    for query, rows in enumerate(negatives):
        allowed = [row for row in data.ranked(query, 6) if data.may_be_mined(query, row, share)][:2]
        assert rows[: len(allowed)] == allowed
        n_mined += len(allowed)
    assert receipt["n_kept"] == n_mined
    lowest = [min(data.scores(query)[rows]) for query, rows in enumerate(data.positives)]
    assert receipt["mean_lowest_positive_score"] == pytest.approx(np.mean(lowest), abs=2e-6)


@pytest.mark.parametrize("seed", range(8))
def test_short_lists_are_filled_with_documents_that_no_rule_has_rejected(tmp_path: Path, seed: int) -> None:
    """Two distinct train documents of other clusters for every query; here enough are left beyond the rejected."""
    data = Data.random(seed)
    negatives, _ = mined(data, tmp_path, params(max_share_of_positive=0.75))
    for query, rows in enumerate(negatives):
        assert len(set(rows)) == 2
        assert all(data.in_train[row] and data.clusters[row] != data.cluster_of(query) for row in rows)
        rejected = {row for row in data.ranked(query, 6) if not data.may_be_mined(query, row, 0.75)}
        assert not rejected & set(rows)


def test_the_receipt_accounts_for_every_candidate(tmp_path: Path) -> None:
    """Kept and rejected add up to what was looked at, kept and filled to what was written; every rule has applied."""
    data = Data.random(7)
    _, receipt = mined(data, tmp_path, params(max_share_of_positive=0.75))
    reasons = tuple(f"n_{reason}" for reason in REASONS)
    n_queries = len(data.positives)
    assert sum(receipt[reason] for reason in reasons) == receipt["n_candidates"] == n_queries * 6
    assert receipt["n_kept"] + receipt["n_filled_at_random"] == n_queries * 2
    off = {"n_own_negative", "n_same_query", "n_within_margin", "n_passed_over"}
    applied = {*reasons, "n_filled_at_random"} - off
    assert min(receipt[reason] for reason in applied) > 0


def test_no_mined_negatives_are_an_option(tmp_path: Path) -> None:
    """n_negatives: 0 trains on in-batch negatives alone; the rows are there, their lists empty."""
    data = Data.random(7)
    negatives, _ = mined(data, tmp_path, params(n_negatives=0))
    assert negatives == [[]] * len(data.positives)


def test_the_users_own_negatives_come_first_and_mined_ones_fill_the_row(tmp_path: Path) -> None:
    """Query 0 brings three, of which two are taken; all rows hold n_negatives + 2, none twice."""
    data = Data.random(7)
    others = [row for row in np.flatnonzero(data.in_train).tolist() if data.clusters[row] != data.cluster_of(0)][:3]
    nearest = next(row for row in data.ranked(1, 6) if data.may_be_mined(1, row, 0.9))
    negatives, receipt = mined(data, tmp_path, params(n_negatives=1), {0: others, 1: [nearest]})
    assert negatives[0][:2] == others[:2]
    assert negatives[1][0] == nearest
    assert all(len(rows) == len(set(rows)) == 3 for rows in negatives)
    assert receipt["n_given_by_user"] == 3


@pytest.mark.parametrize("index", ["flat", "ivf", "hnsw", "sq8", "pq"])
def test_every_index_mines_by_the_rules_and_says_what_it_finds(tmp_path: Path, index: str) -> None:
    """So few documents give the exact search where an index needs training; the others find nearly all of them."""
    data = Data.random(7)
    negatives, receipt = mined(data, tmp_path, params(index=index))
    exact = {"flat": "Flat", "ivf": "Flat", "pq": "Flat", "hnsw": "HNSW32", "sq8": "SQ8"}
    assert receipt["index"] == exact[index]
    assert receipt["index_recall"] == 1.0 if exact[index] == "Flat" else 0.9 <= receipt["index_recall"] <= 1.0
    for query, rows in enumerate(negatives):
        assert not set(rows) & set(data.positives[query])
        assert all(data.in_train[row] and data.clusters[row] != data.cluster_of(query) for row in rows)


@pytest.mark.parametrize("lexical_share", [0.0, 0.5])
def test_a_few_queries_at_a_time_get_what_all_at_once_get(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lexical_share: float
) -> None:
    """Same negatives, same receipt, whatever the memory allows; like queries and own negatives among them."""
    data, settings = Data.random(7), params(lexical_share=lexical_share, same_query=0.9)
    refused = {3: [data.ranked(3, 1)[0]], 9: [int(np.flatnonzero(data.in_train)[0])]}
    whole = mined(data, tmp_path / "whole", settings, refused)
    for name_, few in (("PART", 3), ("LOOKED_UP", 5), ("BATCH", 4)):
        monkeypatch.setattr(candidates, name_, few)
    assert mined(data, tmp_path / "parts", settings, refused) == whole
