"""Which test queries tuning helped and hurt, by their own scores."""

from pathlib import Path

import pytest
from demo_project import DOCUMENTS, finished_pipeline

from attune.cli.demo.examples import Changed, changed_queries, read_answers, read_changed_queries
from attune.errors import BadInput


def test_queries_are_parted_by_their_change_largest_first() -> None:
    """By hand: two better, one worse, one as it was."""
    base = {"a": 0.2, "b": 0.0, "c": 0.9, "d": 0.5}
    tuned = {"a": 0.4, "b": 1.0, "c": 0.3, "d": 0.5}
    found = changed_queries({"a": "A", "b": "B", "c": "C", "d": "D", "not scored": "E"}, base, tuned)
    assert found.improved == [Changed("B", 0.0, 1.0), Changed("A", 0.2, 0.4)]
    assert found.worse == [Changed("C", 0.9, 0.3)]
    assert found.unchanged == [Changed("D", 0.5, 0.5)]
    assert found.n_queries == 4
    assert found.find("C") == Changed("C", 0.9, 0.3) and found.find("E") is None


def test_equal_changes_come_from_all_over_the_corpus_and_in_the_same_order_each_time() -> None:
    """Ids in sorted order would all be of one module."""
    ids = [f"{module}/{i:03}" for module in "abcd" for i in range(50)]
    texts, zeros, ones = {id_: id_ for id_ in ids}, dict.fromkeys(ids, 0.0), dict.fromkeys(ids, 1.0)
    first = [each.text for each in changed_queries(texts, zeros, ones).improved[:20]]
    again = changed_queries(dict(reversed(texts.items())), dict(reversed(zeros.items())), ones).improved[:20]
    assert {text[0] for text in first} == set("abcd")
    assert first == [each.text for each in again]


def test_scores_of_other_queries_are_refused() -> None:
    with pytest.raises(BadInput, match="not scored on the same test queries"):
        changed_queries({"a": "A", "b": "B"}, {"a": 1.0}, {"b": 1.0})


def test_a_finished_pipeline_is_read(tmp_path: Path, tiny_encoder: Path, tiny_onnx: Path) -> None:
    """Train's scores are left out, and a judgment of 0 is no answer."""
    project = finished_pipeline(tmp_path / "project", tiny_encoder, tiny_onnx)
    found = read_changed_queries(project)
    assert found.improved == [Changed("stack rows", 0.5, 1.0)]
    assert found.worse == [Changed("sort rows & <columns>", 1.0, 0.25)]
    assert [each.text for each in found.unchanged] == ["graph"]
    assert read_answers(project) == {"stack rows": {"d0"}, "sort rows & <columns>": {"d1"}, "graph": {"d5"}}
    assert set().union(*read_answers(project).values()) <= set(DOCUMENTS)


def test_an_unfinished_pipeline_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"scores.parquet: not found; run `dvc repro`"):
        read_changed_queries(tmp_path)
