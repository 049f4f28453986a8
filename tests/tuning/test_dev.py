"""Dev is searched among its own documents and a stable sample of train's; a query's own text is not counted."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attune.data.sampling import sample_ids
from attune.encoding.encoders import TorchEncoder, load_torch
from attune.errors import BadInput
from attune.evaluation.scoring.measures import measure
from attune.retrieval.exact import top_k
from attune.retrieval.ties import without_pairs
from attune.runtime.arrays import Float32
from attune.tables import DOCUMENT_IDS, OWN_TEXTS, QRELS, SPLIT_QUERIES, write
from attune.tuning.dev import RetrievalScorer, RetrievalTask, read_dev

TEXTS = {id_: f"text of {id_}" for id_ in [*(f"d{i}" for i in range(4)), *(f"t{i:03}" for i in range(100))]}


class Splits:
    """Two dev queries with a relevant document each, d0 and d1; d2 is dev's, too; 100 documents of train, and d0."""

    def __init__(self, root: Path) -> None:
        self.dev, self.train_documents = root / "dev", root / "train" / "documents.parquet"
        queries = pl.DataFrame({"query_id": ["q0", "q1"], "text": ["one", "two"]})
        queries = queries.with_columns(cluster_id=pl.Series(["c0", "c1"])).with_columns(
            pl.lit("").alias(name) for name in ("near_group", "given_split", "stratum")
        )
        write(queries, self.dev / "queries.parquet", SPLIT_QUERIES)
        rows = [("q0", "d0", 2), ("q1", "d1", 1), ("q1", "d3", 0)]
        write(pl.DataFrame(rows, QRELS, orient="row"), self.dev / "qrels.parquet", QRELS)
        write(pl.DataFrame({"document_id": ["d0", "d2"]}), self.dev / "documents.parquet", DOCUMENT_IDS)
        own = pl.DataFrame([("q0", "d2")], OWN_TEXTS, orient="row")
        write(own, self.dev / "own_texts.parquet", OWN_TEXTS)
        self.write_train([id_ for id_ in TEXTS if id_.startswith("t")] + ["d0"])

    def write_train(self, ids: list[str]) -> None:
        write(pl.DataFrame({"document_id": ids}), self.train_documents, DOCUMENT_IDS)

    def read(self, n_documents: int) -> RetrievalTask:
        return read_dev(self.dev, TEXTS, self.train_documents, n_documents)


@pytest.fixture
def splits(tmp_path: Path) -> Splits:
    return Splits(tmp_path)


def test_dev_searches_its_own_documents_and_a_sample_of_trains(splits: Splits) -> None:
    """d0, d1 and d2 are dev's, judged or not; seven of the others are train's; relevance 0 is no answer."""
    task = splits.read(7)
    assert task.queries == {"q0": "one", "q1": "two"}
    assert task.relevant == {"q0": {"d0": 2}, "q1": {"d1": 1}}
    assert task.clusters == {"q0": "c0", "q1": "c1"}
    assert task.left_out == {"q0": {"d2"}}
    assert [id_ for id_ in task.corpus if id_.startswith("d")] == ["d0", "d1", "d2"]
    assert len(task.corpus) == 3 + 7
    assert all(text == TEXTS[id_] for id_, text in task.corpus.items())


@pytest.mark.parametrize(("n_documents", "expected"), [(0, 3), (100, 103), (5000, 103)])
def test_the_sample_has_at_most_all_of_trains_other_documents(splits: Splits, n_documents: int, expected: int) -> None:
    """None at 0, as before; where train has fewer than n, all of them; dev's own d0 never counts twice."""
    assert len(splits.read(n_documents).corpus) == expected


def test_documents_that_are_neither_devs_nor_trains_are_not_searched(splits: Splits) -> None:
    """d3, which is in no list, stays out, as a document of test would."""
    assert "d3" not in splits.read(5000).corpus


@given(st.sets(st.text(min_size=1), max_size=30), st.text(min_size=1), st.integers(0, 40))
def test_an_added_document_replaces_at_most_one_of_the_sample(ids: set[str], added: str, n: int) -> None:
    """The order of the ids does not matter, and larger samples hold the smaller ones."""
    sample = sample_ids(ids, n)
    assert sample == sample_ids(sorted(ids, reverse=True), n) and len(sample) == min(n, len(ids))
    assert set(sample) <= set(sample_ids(ids, n + 1)) <= ids
    assert len(set(sample) - set(sample_ids(ids | {added}, n))) <= 1


def test_the_sample_is_drawn_by_hash_and_not_by_name(splits: Splits) -> None:
    """Of 100 documents in order of time, 20 come from both halves."""
    drawn = [id_ for id_ in splits.read(20).corpus if id_.startswith("t")]
    assert 4 <= sum(id_ < "t050" for id_ in drawn) <= 16


def test_a_split_without_own_texts_is_refused(splits: Splits) -> None:
    """A table of an earlier version is named with the command that makes it."""
    (splits.dev / "own_texts.parquet").unlink()
    with pytest.raises(BadInput, match=r"own_texts\.parquet: not found; run `dvc repro`"):
        splits.read(1)


class GivenCosines:
    """Stands for an encoder whose cosines of query and documents are given: e_q against rows."""

    def __init__(self, scores: list[list[float]]) -> None:
        self.scores = np.array(scores)

    def encode_query(self, texts: list[str]) -> Float32:
        return np.eye(len(texts), len(texts) + 1, dtype=np.float32)

    def encode_document(self, _: list[str]) -> Float32:
        rows = self.scores.T / 2
        rest = np.sqrt(1 - (rows**2).sum(axis=1, keepdims=True))
        return np.hstack([rows, rest]).astype(np.float32)


def scored(task: RetrievalTask, scores: list[list[float]], monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Returns each query's nDCG@10 where its cosines to documents, in the corpus's order, are given."""
    monkeypatch.setattr("attune.tuning.dev.TorchEncoder", lambda *_: GivenCosines(scores))
    model: Any = None
    return [float(value) for value in RetrievalScorer(task, "fp32")(model)]


def test_a_querys_own_text_is_not_counted_in_its_ranking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers at rank 2 behind the own text count as rank 1; another query still has that document as a distractor."""
    corpus = {"own": "one", "a": "answer of one", "b": "answer of two"}
    task = RetrievalTask({"q0": "one", "q1": "two"}, corpus, {"q0": {"a": 1}, "q1": {"b": 1}})
    scores = [[0.9, 0.8, 0.1], [0.9, 0.1, 0.8]]
    second = 1 / np.log2(3)
    assert scored(task, scores, monkeypatch) == pytest.approx([second, second])
    without = RetrievalTask(task.queries, corpus, task.relevant, {"q0": {"own"}})
    assert scored(without, scores, monkeypatch) == pytest.approx([1, second])


def test_ten_documents_are_ranked_beside_what_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three own texts and nine others come first: the answer, at rank 13 of all, is at rank 10 of the rest."""
    corpus = {f"d{i:02}": "" for i in range(13)}
    scores = [[1.0 - i / 20 for i in range(13)]]
    left_out = {"q": {"d00", "d04", "d07", "of another corpus"}}
    task = RetrievalTask({"q": "one"}, corpus, {"q": {"d12": 1}}, left_out)
    assert scored(task, scores, monkeypatch) == pytest.approx([1 / np.log2(11)])
    assert scored(RetrievalTask({"q": "one"}, corpus, {"q": {"d12": 1}}), scores, monkeypatch) == [0.0]


def test_a_better_answer_counts_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Relevance 3 and 1 at ranks 1 and 9 score .909, at ranks 4 and 1 .631; alike, the second would win."""
    corpus = {f"d{i:02}": "" for i in range(10)}
    scores = [[1.0 - i / 20 for i in range(10)]]
    ideal = 3 + 1 / np.log2(3)
    for relevant, gained, rounded in (
        ({"d00": 3, "d08": 1}, 3 + 1 / np.log2(10), 0.909),
        ({"d03": 3, "d00": 1}, 1 + 3 / np.log2(5), 0.631),
    ):
        (own,) = scored(RetrievalTask({"q": "one"}, corpus, {"q": relevant}), scores, monkeypatch)
        assert own == pytest.approx(gained / ideal) == pytest.approx(rounded, abs=5e-4)


def test_tied_documents_score_the_mean_over_their_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is one of three at ranks 2 to 4, wherever it stands in the corpus."""
    mean = np.mean([1 / np.log2(rank + 1) for rank in (2, 3, 4)])
    for answer in ("d1", "d2", "d3"):
        task = RetrievalTask({"q": "one"}, {f"d{i}": "" for i in range(5)}, {"q": {answer: 1}})
        assert scored(task, [[0.9, 0.5, 0.5, 0.5, 0.1]], monkeypatch) == pytest.approx([mean])


def test_queries_without_an_answer_are_not_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids, texts, clusters and scores are those of the others, in the task's order."""
    relevant = {"q2": {"a": 1}, "q0": {"b": 1}, "q1": {}}
    queries = {"q0": "zero", "q1": "one", "q2": "two", "q3": "three"}
    task = RetrievalTask(queries, {"a": "", "b": ""}, relevant, clusters={"q0": "x", "q1": "x", "q2": "x"})
    scorer = RetrievalScorer(task, "fp32")
    assert (scorer.query_ids, scorer.queries) == (["q0", "q2"], ["zero", "two"])
    assert scored(task, [[0.9, 0.1], [0.9, 0.1]], monkeypatch) == pytest.approx([1 / np.log2(3), 1])


def test_clusters_number_the_queries_and_those_without_one_are_alone() -> None:
    """Two of one cluster share a number; an id that reads like a cluster's is none."""
    queries = dict.fromkeys(("a", "b", "c", "d"), "")
    task = RetrievalTask(queries, {"x": ""}, {id_: {"x": 1} for id_ in queries}, clusters={"a": "d", "c": "d"})
    one, two, again, alone = RetrievalScorer(task, "fp32").clusters
    assert one == again and len({one, two, alone}) == 3


def test_dev_scores_are_those_of_the_report(tiny_encoder: Path) -> None:
    """The measure of stage evaluate over a search of the same embeddings, with own texts left out."""
    words = "array graph matrix mean sum sort tree edge node vector signal table".split()
    corpus = {
        f"d{i}": f"{a} {b} of the data" for i, (a, b) in enumerate(zip(words, words[1:] + words[:1], strict=True))
    }
    queries = {f"q{i}": f"find {word}" for i, word in enumerate(words)}
    relevant = {f"q{i}": {f"d{i}": 1 + i % 3, f"d{(i + 3) % 12}": 1} for i in range(12)}
    own = {"q0": {"d5"}, "q3": {"d1", "d2"}}
    model = load_torch(tiny_encoder)
    scorer = RetrievalScorer(RetrievalTask(queries, corpus, relevant, own), "fp32")
    vectors = scorer.embed_documents(model, scorer.documents)
    asked = TorchEncoder(model, "fp32", 4096).encode_query(scorer.queries)
    scores, rows = without_pairs(*top_k(asked, vectors, 12, 1), np.array([[0, 5], [3, 1], [3, 2]]))
    judged = [(int(q[1:]), int(d[1:]), grade) for q, grades in relevant.items() for d, grade in grades.items()]
    expected = measure(rows, np.array(judged), scores)["ndcg@10"]
    np.testing.assert_allclose(scorer(model), expected, atol=1e-12)
    np.testing.assert_array_equal(scorer(model, vectors), scorer(model))
