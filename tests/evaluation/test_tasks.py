"""Task data is read as written, and every fault is reported with file and line."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attune.errors import BadInput
from attune.evaluation.probe import LabelledData, RetrievalData, SimilarityData, TaskType, read_task


def write(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def pair(query: str, passage: str) -> dict[str, str]:
    return {"query": query, "passage": passage}


def test_a_repeated_query_is_one_with_several_passages(tmp_path: Path) -> None:
    """So is a passage that answers two queries: what reads the same is the same."""
    path = write(tmp_path / "r.jsonl", pair("a", "x"), pair("b", "y"), pair("a", "y"))
    task = read_task("retrieval", path, 1)
    assert isinstance(task, RetrievalData)
    assert (task.queries, task.documents) == (["a", "b"], ["x", "y"])
    assert task.judgments.tolist() == [[0, 0, 1], [1, 1, 1], [0, 1, 1]]
    assert task.positives() == [("a", "x"), ("b", "y"), ("a", "y")]
    assert task.items() == [("1", "1"), ("2", "2")]


def test_queries_with_the_same_relevant_documents_are_one_cluster() -> None:
    """They ask the same in other words: q1 and q3 have documents 0 and 1, q2 has 0 alone; a judgment of 0 is none."""
    judgments = np.array([[0, 0, 1], [0, 1, 2], [1, 0, 1], [1, 1, 0], [2, 1, 1], [2, 0, 1]])
    task = RetrievalData(["a", "b", "c"], ["x", "y"], judgments, ["q1", "q2", "q3"])
    assert task.items() == [("q1", "q1"), ("q2", "q2"), ("q3", "q1")]


def test_a_tasks_own_groups_are_its_clusters(tmp_path: Path) -> None:
    """groups.tsv beside the BEIR files says what hangs together; without it the relevant documents do."""
    write(tmp_path / "corpus.jsonl", *({"_id": f"d{i}", "text": f"x{i}"} for i in range(2)))
    write(tmp_path / "queries.jsonl", *({"_id": f"q{i}", "text": f"ask {i}"} for i in range(3)))
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\t1\nq1\td0\t1\nq2\td1\t1\n")
    assert read_task("retrieval", tmp_path, 1).items() == [("q0", "q0"), ("q1", "q0"), ("q2", "q2")]
    (tmp_path / "groups.tsv").write_text("query-id\tgroup\nq2\tone\nq1\tone\nq0\tother\nelse\tany\n")
    assert read_task("retrieval", tmp_path, 1).items() == [("q0", "other"), ("q1", "one"), ("q2", "one")]
    (tmp_path / "groups.tsv").write_text("query-id\tgroup\nq2\tone\n")
    with pytest.raises(BadInput, match=r"groups\.tsv: no group of 2 queries \(first: 'q0'\)"):
        read_task("retrieval", tmp_path, 1)


def test_a_beir_folder_is_its_test_split(tmp_path: Path) -> None:
    """Queries of test alone, all documents with their titles, judgments as graded; 0 is no positive."""
    write(tmp_path / "corpus.jsonl", *({"_id": f"d{i}", "title": f"t{i}", "text": f"x{i}"} for i in range(3)))
    write(tmp_path / "queries.jsonl", *({"_id": f"q{i}", "text": f"ask {i}"} for i in range(3)))
    (tmp_path / "qrels").mkdir()
    head = "query-id\tcorpus-id\tscore\n"
    (tmp_path / "qrels/train.tsv").write_text(f"{head}q0\td0\t1\n")
    (tmp_path / "qrels/test.tsv").write_text(f"{head}q2\td1\t2\nq2\td0\t0\nq1\td2\t1\n")
    task = read_task("retrieval", tmp_path, 1)
    assert isinstance(task, RetrievalData)
    assert (task.queries, task.documents) == (["ask 1", "ask 2"], ["t0 x0", "t1 x1", "t2 x2"])
    assert sorted(task.judgments.tolist()) == [[0, 2, 1], [1, 0, 0], [1, 1, 2]]
    assert sorted(task.positives()) == [("ask 1", "t2 x2"), ("ask 2", "t1 x1")]
    assert task.items() == [("q1", "q1"), ("q2", "q2")]


def test_without_a_test_split_all_judgments_are_taken(tmp_path: Path) -> None:
    """A BEIR folder with qrels/all.tsv alone is valid."""
    write(tmp_path / "corpus.jsonl", {"_id": "d", "text": "x"})
    write(tmp_path / "queries.jsonl", {"_id": "q", "text": "ask"})
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels/all.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\n")
    assert read_task("retrieval", tmp_path, 1).queries == ["ask"]


def test_pairs_keep_their_grades_and_both_sides_are_encoded(tmp_path: Path) -> None:
    """First and second texts are encoded as queries; none as documents."""
    records = [{"first": "a", "second": "b", "score": 5}, {"first": "c", "second": "d", "score": 0.5}]
    task = read_task("similarity", write(tmp_path / "s.jsonl", *records), 1)
    assert isinstance(task, SimilarityData)
    np.testing.assert_array_equal(task.scores, [5, 0.5])
    assert task.queries == ["a", "c", "b", "d"] and task.documents == []
    assert task.items() == [("1", "1"), ("2", "2")]


@pytest.mark.parametrize("kind", ["classification", "clustering"])
def test_labels_may_be_words_or_whole_numbers_and_files_may_be_packed(tmp_path: Path, kind: TaskType) -> None:
    """1 and 1.0 are the label "1"; .gz is read."""
    lines = [{"text": "a", "label": 1}, {"text": "b", "label": "two"}, {"text": "c", "label": 1.0}]
    path = tmp_path / "c.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    task = read_task(kind, path, 1)
    assert isinstance(task, LabelledData)
    assert (task.texts, task.labels, task.queries) == (["a", "b", "c"], ["1", "two", "1"], ["a", "b", "c"])


@pytest.mark.parametrize(
    ("kind", "records", "message"),
    [
        ("retrieval", [pair("a", "x"), {"query": "b"}], r'f:2: "passage" is missing, got the keys \[.query.\]; add it'),
        ("retrieval", [pair("a", "x"), pair("b", " ")], r'f:2: "passage" is empty; fill it in or remove the line'),
        ("retrieval", [pair("a", "x"), pair("a", "x")], r"f:2: the same query and passage as on line 1; remove one"),
        ("retrieval", [7], r"f:1: got a whole number, expected an object"),
        ("retrieval", [], r"f: no lines, expected objects with query, passage"),
        ("similarity", [{"first": "a", "second": "b"}], r'f:1: "score" is None, expected a number; grade the pair'),
        ("similarity", [{"first": "a", "second": "b", "score": "5"}], r"""f:1: "score" is '5', expected a number"""),
        ("similarity", [{"first": "a", "second": "b", "score": True}], r'f:1: "score" is True, expected a number'),
        ("similarity", [{"first": "a", "second": "b", "score": float("inf")}], r'f:1: "score" is inf, expected a'),
        ("similarity", [{"first": x, "second": "b", "score": 1} for x in "xy"], r"f: every score is 1\.0, expected"),
        ("classification", [{"text": "a"}], r'f:1: "label" is missing'),
        ("classification", [{"text": "a", "label": "l"}, {"text": "a", "label": "m"}], r"f:2: the same text as on"),
        ("classification", [{"text": "a", "label": "l"}], r"f: every label is 'l', expected several; label the texts"),
        ("clustering", [{"text": "", "label": "l"}], r'f:1: "text" is empty'),
    ],
)  # fmt: skip
def test_each_fault_has_its_line(tmp_path: Path, kind: TaskType, records: list[Any], message: str) -> None:
    """Missing, empty, repeated and malformed values name line, got, expected and remedy."""
    with pytest.raises(BadInput, match=message):
        read_task(kind, write(tmp_path / "f", *records), 1)


def test_a_label_with_fewer_texts_than_folds_is_named(tmp_path: Path) -> None:
    """Clustering has no folds, so there it is fine."""
    records = [{"text": f"{label}{i}", "label": label} for label, n in (("few", 2), ("many", 5)) for i in range(n)]
    path = write(tmp_path / "f", *records)
    with pytest.raises(BadInput, match=r"f: label 'few' has 2 texts, expected at least 3 \(probe.n_folds\)"):
        read_task("classification", path, 3)
    assert len(read_task("clustering", path, 3).queries) == 7


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    """No traceback."""
    with pytest.raises(BadInput, match="none: not found; check the path"):
        read_task("similarity", tmp_path / "none", 1)
