"""Test queries that tuning improved or made worse, by their own scores."""

from pathlib import Path

import pytest
from demo_project import DOCUMENTS, finished_pipeline

from attune.cli.demo.examples import QueryChange, query_changes, read_answers, read_query_changes
from attune.errors import BadInput


def test_queries_are_grouped_by_their_change_largest_first() -> None:
    """By hand: two better, one worse, one unchanged."""
    base = {"a": 0.2, "b": 0.0, "c": 0.9, "d": 0.5}
    tuned = {"a": 0.4, "b": 1.0, "c": 0.3, "d": 0.5}
    changes = query_changes({"a": "A", "b": "B", "c": "C", "d": "D", "not scored": "E"}, base, tuned)
    assert changes.improved == [QueryChange("B", 0.0, 1.0), QueryChange("A", 0.2, 0.4)]
    assert changes.worse == [QueryChange("C", 0.9, 0.3)]
    assert changes.unchanged == [QueryChange("D", 0.5, 0.5)]
    assert changes.n_queries == 4
    assert changes.find("C") == QueryChange("C", 0.9, 0.3) and changes.find("E") is None


def test_equal_changes_come_from_all_over_the_corpus_in_one_order() -> None:
    """In sorted order the first ids would all be of one module."""
    ids = [f"{module}/{i:03}" for module in "abcd" for i in range(50)]
    texts, zeros, ones = {id_: id_ for id_ in ids}, dict.fromkeys(ids, 0.0), dict.fromkeys(ids, 1.0)
    first = [each.text for each in query_changes(texts, zeros, ones).improved[:20]]
    again = query_changes(dict(reversed(texts.items())), dict(reversed(zeros.items())), ones).improved[:20]
    assert {text[0] for text in first} == set("abcd")
    assert first == [each.text for each in again]


def test_scores_of_other_queries_are_refused() -> None:
    """Base and tuned must have the same test queries."""
    with pytest.raises(BadInput, match="not scored on the same test queries"):
        query_changes({"a": "A", "b": "B"}, {"a": 1.0}, {"b": 1.0})


def test_a_finished_pipeline_is_read(tmp_path: Path, tiny_onnx: Path) -> None:
    """Scores of train queries are left out, and a judgment of 0 is no answer."""
    project = finished_pipeline(tmp_path / "project", tiny_onnx, tiny_onnx)
    changes = read_query_changes(project)
    assert changes.improved == [QueryChange("stack rows", 0.5, 1.0)]
    assert changes.worse == [QueryChange("sort rows & <columns>", 1.0, 0.25)]
    assert [each.text for each in changes.unchanged] == ["graph"]
    assert read_answers(project) == {"stack rows": {"d0"}, "sort rows & <columns>": {"d1"}, "graph": {"d5"}}
    assert set().union(*read_answers(project).values()) <= set(DOCUMENTS)


def test_an_unfinished_pipeline_is_one_line(tmp_path: Path) -> None:
    """The line has the file and the command that makes it."""
    with pytest.raises(BadInput, match=r"scores.parquet: not found; run `dvc repro`"):
        read_query_changes(tmp_path)
