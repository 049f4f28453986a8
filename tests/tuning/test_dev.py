"""Dev is searched among its own documents and a stable sample of train's; a query's own text is not counted."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from attune.data.sampling import sample_ids
from attune.errors import BadInput
from attune.tables import DOCUMENT_IDS, OWN_TEXTS, QRELS, SPLIT_QUERIES, write
from attune.tuning.curve import DEV_MEASURE
from attune.tuning.dev import DevEvaluator, RetrievalTask, read_dev

NDCG = DEV_MEASURE.removeprefix("eval_")
TEXTS = {id_: f"text of {id_}" for id_ in [*(f"d{i}" for i in range(4)), *(f"t{i:03}" for i in range(100))]}


class Splits:
    """Two dev queries with a relevant document each, d0 and d1; d2 is dev's, too; 100 documents of train, and d0."""

    def __init__(self, root: Path) -> None:
        self.dev, self.train_documents = root / "dev", root / "train" / "documents.parquet"
        queries = pl.DataFrame({"query_id": ["q0", "q1"], "text": ["one", "two"]})
        queries = queries.with_columns(
            pl.lit("").alias(name) for name in ("cluster_id", "near_group", "given_split", "stratum")
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
    """d0, d1 and d2 are dev's, judged or not; seven of the others come from train, and relevance 0 is no answer."""
    task = splits.read(7)
    assert task.queries == {"q0": "one", "q1": "two"}
    assert task.relevant == {"q0": {"d0"}, "q1": {"d1"}}
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


def scored(task: RetrievalTask, scores: dict[str, list[float]], monkeypatch: pytest.MonkeyPatch) -> float:
    """Returns nDCG@10 where cosines of query and documents (in the corpus's order) are given: e_q against rows."""
    n = len(task.queries)

    def embed(
        _: DevEvaluator, __: object, texts: list[str], encode_fn_name: str = "query", **___: object
    ) -> torch.Tensor:
        if encode_fn_name == "query":
            return torch.eye(n, n + 1)
        rows = np.array([scores[query_id] for query_id in task.queries]).T / 2
        rest = np.sqrt(1 - (rows**2).sum(axis=1, keepdims=True))
        return torch.from_numpy(np.hstack([rows, rest]).astype(np.float32))

    monkeypatch.setattr(DevEvaluator, "embed_inputs", embed)
    evaluator = DevEvaluator(task, "fp32")
    evaluator.store_metrics_in_model_card_data = lambda *_, **__: None
    return float(evaluator(SentenceTransformer)[NDCG])


def test_a_querys_own_text_is_not_counted_in_its_ranking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers at rank 2 behind the own text count as rank 1; another query still has that document as a distractor."""
    corpus = {"own": "one", "a": "answer of one", "b": "answer of two"}
    task = RetrievalTask({"q0": "one", "q1": "two"}, corpus, {"q0": {"a"}, "q1": {"b"}})
    scores = {"q0": [0.9, 0.8, 0.1], "q1": [0.9, 0.1, 0.8]}
    second = 1 / np.log2(3)
    assert scored(task, scores, monkeypatch) == pytest.approx(second)
    without = RetrievalTask(task.queries, corpus, task.relevant, {"q0": {"own"}})
    assert scored(without, scores, monkeypatch) == pytest.approx((1 + second) / 2)


def test_ten_documents_are_ranked_beside_what_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three own texts and nine others come first: the answer, at rank 13 of all, is at rank 10 of the rest."""
    corpus = {f"d{i:02}": "" for i in range(13)}
    scores = {"q": [1.0 - i / 20 for i in range(13)]}
    left_out = {"q": {"d00", "d04", "d07"}}
    task = RetrievalTask({"q": "one"}, corpus, {"q": {"d12"}}, left_out)
    assert scored(task, scores, monkeypatch) == pytest.approx(1 / np.log2(11))
    assert scored(RetrievalTask({"q": "one"}, corpus, {"q": {"d12"}}), scores, monkeypatch) == 0.0
