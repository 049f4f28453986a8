"""Near-domain tasks: documents with the very text of a query, and paraphrases of dev that are nearly those of test."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from near_domain_inputs import DOCUMENTS, N, read_task, run_stage

from attune.data.splitting.paraphrases import n_near
from attune.stages.near_domain import TaskQueries, apart_from_own_texts


def test_documents_with_the_text_of_a_query_are_not_searched(tmp_path: Path) -> None:
    """In any task of its split; without such documents all are."""
    own = [("q-test3", "train5"), ("q-dev3", "train6")]
    run_stage(tmp_path / "own", n_documents=1000, own_texts=own)
    run_stage(tmp_path / "all", n_documents=1000)
    for split, name, left_out in (
        ("test", "as_typed", "train5"),
        ("test", "as_searched", "train5"),
        ("dev", "as_typed", "train6"),
    ):
        _, searched, _ = read_task(tmp_path / "own", split, name)
        _, everything, _ = read_task(tmp_path / "all", split, name)
        assert everything.keys() - searched.keys() == {left_out} and searched.keys() <= everything.keys()


def test_a_query_whose_text_answers_another_is_not_asked_beside_it(tmp_path: Path) -> None:
    """Of two duplicate questions that are each other's answer, one stays, and finds the other."""
    own = [("q-test3", "test4"), ("q-test4", "test3")]
    receipt = run_stage(tmp_path, own_texts=own)
    queries, documents, _ = read_task(tmp_path, "test", "as_typed")
    assert "q-test3" in queries and "q-test4" not in queries and receipt["test.as_typed.n_queries"] == N - 1
    assert "test3" in documents and "test4" not in documents


IDS = st.integers(0, 6).map(str)


@given(st.dictionaries(IDS, st.tuples(st.sets(IDS, min_size=1), st.sets(IDS)), max_size=7))
def test_no_own_text_is_needed_and_no_query_is_dropped_in_vain(rows: dict[str, tuple[set[str], set[str]]]) -> None:
    """Nothing left out is relevant to a query that stays; each query that went collides with one that stays."""
    relevant = {id_: dict.fromkeys(found - own, 1) for id_, (found, own) in rows.items()}
    task = TaskQueries({id_: id_ for id_ in rows}, relevant)
    own_texts = {id_: own for id_, (_, own) in rows.items()}
    apart, left_out = apart_from_own_texts(task, own_texts)
    needed = {document for id_ in apart.texts for document in apart.relevant[id_]}
    assert left_out == {document for id_ in apart.texts for document in own_texts[id_]}
    assert not left_out & needed and apart.texts.keys() == apart.relevant.keys()
    for id_ in rows.keys() - apart.texts.keys():
        assert left_out & relevant[id_].keys() or needed & own_texts[id_]
    assert apart_from_own_texts(task, {}) == (task, set())


def test_paraphrases_of_dev_near_those_of_test_are_counted(tmp_path: Path) -> None:
    """One of two; they stay, so that merge chooses by the same queries as before."""
    paraphrases = {
        "near": ("Apply one function to each row or column of a table", ["dev2"]),
        "far": ("What is so good about it", ["dev3"]),
    }
    told = {"p": ("Apply a function to each row or column of a table", ["test2"])}
    receipt = run_stage(tmp_path, n_documents=len(DOCUMENTS), paraphrases=paraphrases, told_of_test=told)
    assert receipt["dev.as_indexed.n_queries"] == 2 and receipt["dev.as_indexed.n_near_test"] == 1
    assert set(read_task(tmp_path, "dev", "as_indexed")[0]) == {"near", "far"}
    assert n_near(["a b c d e", "f"], ["a b c d f", "A B C D E!"], 1, 0.8) == 1
    assert n_near(["a b c d e"], [], 1, 0.8) == n_near([], ["a"], 1, 0.8) == 0
