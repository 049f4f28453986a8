"""Documents in passages while mining, training and choosing: the best passage counts, and training reads it."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from attune.retrieval.passages import PASSAGES, READ_PASSAGES, Passages, read_as
from attune.tables import CORPUS, TRIPLETS, write
from attune.tuning.dev import RetrievalScorer, RetrievalTask
from attune.tuning.mining import passages as of_mining
from attune.tuning.mining.candidates import Pairs
from attune.tuning.training.rows import training_rows

DOCUMENT_ROWS = np.array([0, 1, 1, 1, 2, 2])
QUERIES = np.array([[1, 0], [0, 1]], np.float32)
PASSAGE_VECTORS = np.array([[0.6, 0.8], [0, 1], [0.8, 0.6], [0.8, 0.6], [1, 0], [0, 1]], np.float32)


def test_the_best_passage_scores_a_pair() -> None:
    """By hand, first among equals: query 0 reads document 1 in its second passage, query 1 in its first."""
    pairs = Pairs(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 2]))
    scores, rows = of_mining.best_passages(QUERIES, PASSAGE_VECTORS, DOCUMENT_ROWS, pairs)
    assert rows.tolist() == [0, 2, 1, 5]
    np.testing.assert_allclose(scores, [0.6, 0.8, 1, 1], atol=1e-6)
    assert of_mining.passage_scorer(QUERIES, PASSAGE_VECTORS, DOCUMENT_ROWS)(pairs).tolist() == scores.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_a_loop(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """For random passages, in small batches."""
    monkeypatch.setattr(of_mining, "BATCH", 7)
    random = np.random.default_rng(seed)
    document_rows = np.repeat(np.arange(9), random.integers(1, 5, size=9))
    passages = random.normal(size=(len(document_rows), 4)).astype(np.float32)
    queries = random.normal(size=(6, 4)).astype(np.float32)
    pairs = Pairs(random.integers(6, size=40), random.integers(9, size=40))
    scores, _ = of_mining.best_passages(queries, passages, document_rows, pairs)
    expected = [
        max(float(queries[q].astype(float) @ p) for p in passages[document_rows == d].astype(float))
        for q, d in zip(*pairs, strict=True)
    ]
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def triplets() -> pl.DataFrame:
    """Returns a row of query 0: document b is relevant, a and c are negatives."""
    row = {"query_id": "q0", "text": "ask", "near_group": "q0", "document_id": "b", "relevance": 1}
    return pl.DataFrame([row | {"negative_ids": ["a", "c"]}], schema=dict(TRIPLETS))


@pytest.mark.parametrize(("positive_passage", "place"), [("nearest", 1), ("first", 0)])
def test_training_reads_the_passage_that_mining_names(positive_passage: str, place: int, tmp_path: Path) -> None:
    """The relevant document by parameter, negatives by their nearest passage; a whole document stays whole."""
    ids = pl.Series(["q0", "q1"]), pl.Series(["a", "b", "c"])
    vectors = QUERIES, PASSAGE_VECTORS
    got = of_mining.read_as(triplets(), *ids, vectors, DOCUMENT_ROWS, positive_passage)
    assert got.rows() == [("q0", "b", place), ("q0", "c", 0)]
    write(got, tmp_path / "passages.parquet", READ_PASSAGES)
    passages = {"a": ["a whole"], "b": ["b0", "b1", "b2"], "c": ["c0", "c1"]}
    columns = training_rows(triplets(), {id_: f"{id_} whole" for id_ in "abc"}, read_as(tmp_path, passages))
    assert columns == {
        "query": ["ask"],
        "positive": [f"b{place}"],
        "negative_1": ["a whole"],
        "negative_2": ["c0"],
    }


def test_dev_ranks_documents_by_their_best_passage(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer stands in the second passage: read whole it comes second, in passages first."""
    vectors = {"ask": [1, 0], "long": [0.6, 0.8], "other": [0.8, 0.6], "start": [0, 1], "end": [1, 0]}

    class Encoder:
        def __init__(self, *_: object) -> None:
            pass

        def encode_query(self, texts: list[str]) -> np.ndarray:
            return np.array([vectors[text] for text in texts], np.float32)

        encode_document = encode_query

    monkeypatch.setattr("attune.tuning.dev.TorchEncoder", Encoder)
    task = RetrievalTask({"q": "ask"}, {"a": "long", "b": "other"}, {"q": {"a": 1}})
    cut = RetrievalTask(task.queries, task.corpus, task.relevant, passages={"a": ["start", "end"]})
    whole, passages = (RetrievalScorer(each, "fp32") for each in (task, cut))
    assert whole(None) == pytest.approx([1 / np.log2(3)])  # type: ignore[arg-type]
    assert passages(None) == pytest.approx([1.0])  # type: ignore[arg-type]
    assert (passages.documents, passages.n_documents) == (["start", "end", "other"], 2)


def test_passages_line_up_with_the_corpus() -> None:
    """Rows, first passages and texts of some documents; without a table each document is its own passage."""
    corpus = pl.DataFrame([[id_, "", f"text {id_}", id_, id_] for id_ in "ab"], dict(CORPUS), orient="row")
    table = pl.DataFrame([("a", 0, 2, "a0"), ("b", 0, 2, "b0"), ("b", 2, 4, "b1")], dict(PASSAGES), orient="row")
    cut, whole = Passages(corpus, table), Passages(corpus, table.clear())
    assert (len(cut), cut.document_rows.tolist(), cut.first.tolist()) == (3, [0, 1, 1], [0, 1])
    assert cut.of(pl.Series(["b"])) == ["b0", "b1"]
    assert (len(whole), whole.texts, whole.of_documents()) == (2, ["text a", "text b"], {})
