"""Stage near_domain: what is asked and searched in each task, and what never gets into one."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from near_domain_inputs import DOCUMENTS, FORMS, QUESTIONS, N, read_task, run_stage

from attune.data.query_groups import read_groups
from attune.data.searched_queries import searched
from attune.data.splitting.query_origins import clusters_of, groups_of, origins_of_paraphrases
from attune.data.typed_queries import typed
from attune.errors import BadInput
from attune.stages import near_domain as stage
from attune.stages.near_domain import (
    NearDomainParams,
    TaskQueries,
    as_indexed,
    capped,
    document_ids,
    near_domain,
    repeats,
)


def test_typed_queries_search_the_documents_as_they_are(tmp_path: Path) -> None:
    """The split's own queries and grades; all relevant documents, and as many others as fit."""
    receipt = run_stage(tmp_path, n_documents=20)
    for split in ("dev", "test"):
        queries, documents, raw = read_task(tmp_path, split, "as_typed")
        assert queries == {id_: typed(t) for id_, t in QUESTIONS.items() if id_.startswith(f"q-{split}")}
        assert [(q.query_id, q.document_id, q.relevance) for q in raw.qrels["all"]] == [
            (id_, id_.removeprefix("q-"), 2) for id_ in sorted(queries)
        ]
        assert len(documents) == 20 and set(documents) >= {id_ for id_ in DOCUMENTS if id_.startswith(split)}
        assert all(DOCUMENTS[id_] == text for id_, text in documents.items())
        assert raw.documents[0].title == f"pkg.{raw.documents[0].document_id}"
        assert (tmp_path / "out" / split / "as_typed" / "qrels" / f"{split}.tsv").is_file()
        assert receipt[f"{split}.as_typed.n_queries"] == N and receipt[f"{split}.as_typed.n_documents"] == 20


def test_searched_queries_are_a_task_of_test_alone(tmp_path: Path) -> None:
    """In the style that training never makes, over the same documents as typed ones; nothing of it gets to merge."""
    receipt = run_stage(tmp_path, n_documents=20)
    queries, documents, _ = read_task(tmp_path, "test", "as_searched")
    assert queries == {id_: searched(t) for id_, t in QUESTIONS.items() if id_.startswith("q-test")}
    assert not set(queries.values()) & set(read_task(tmp_path, "test", "as_typed")[0].values())
    assert documents == read_task(tmp_path, "test", "as_typed")[1]
    assert receipt["test.as_searched.n_queries"] == N and "dev.as_searched.n_queries" not in receipt
    assert sorted(path.name for path in (tmp_path / "out/dev").iterdir()) == ["as_typed"]


def test_each_task_has_groups(tmp_path: Path) -> None:
    """One for each query; each query is a cluster of its own here. Merge reads those of dev, probe those of test."""
    told = {f"p{n}": (f"Something else entirely {n}", [f"test{n}"]) for n in (2, 3)}
    receipt = run_stage(tmp_path, told_of_test=told)
    for split, name in (("test", "as_indexed"), ("test", "as_typed"), ("test", "as_searched"), ("dev", "as_typed")):
        ids = list(read_task(tmp_path, split, name)[0])
        assert read_groups(tmp_path / "out" / split / name, ids) == ids
        assert receipt[f"{split}.{name}.n_groups"] == len(ids)


def test_paraphrases_of_one_cluster_of_dev_are_one_group() -> None:
    """By the query that their document answers, by each other's words, and by the document where no query has it."""
    queries = pl.DataFrame([("q1", "c1"), ("q2", "c2"), ("q3", "c1")], ["query_id", "cluster_id"], orient="row")
    relevant = {"q1": {"d1": 1}, "q2": {"d2": 1, "d1": 1}, "q3": {"d3": 1}}
    cluster_of = clusters_of(relevant, queries)
    assert cluster_of == {"d1": "c1", "d2": "c2", "d3": "c1"}
    texts = {
        "p1": "add up",
        "p2": "highest of all",
        "p3": "join them",
        "p4": "highest of all",
        "p5": "cut",
        "p6": "halve",
    }
    answers = {"p1": ["d1"], "p2": ["d2"], "p3": ["d3", "d9"], "p4": ["d4"], "p5": ["d5"], "p6": ["d5"]}
    origins = origins_of_paraphrases(texts, answers, cluster_of, 1, 0.9)
    assert origins["p3"] == ("c1", "p3") and origins["p4"] == ("d4", "p2")
    groups = {"p1": "p1", "p2": "p2", "p3": "p1", "p4": "p2", "p5": "p5", "p6": "p5"}
    assert groups_of(texts, origins) == groups


def test_queries_of_a_cluster_or_of_one_text_are_one_group() -> None:
    """By the split's cluster, by near-identical queries, and by equal texts of the task, over several links, too."""
    texts = {"a": "sum", "b": "mean", "c": "max", "d": "sum", "e": "min", "f": "rank"}
    origins = {"a": ("c1", "a"), "b": ("c2", "b"), "c": ("c2", "c"), "d": ("c3", "d"), "e": ("c3", "e")}
    origins["f"] = "c4", "b"
    expected = {"a": "a", "b": "b", "c": "b", "d": "a", "e": "a", "f": "b"}
    assert groups_of(texts, origins) == expected
    assert groups_of({}, {}) == {}


def test_queries_that_become_equal_by_typing_get_one_group(tmp_path: Path) -> None:
    """Two clusters of the split, one typed text: no two pieces of evidence."""
    texts = {"q1": "Sum of Values.", "q2": "sum of values", "q3": "Products of Values."}
    origins = {id_: (id_, id_) for id_ in texts}
    task = TaskQueries({id_: typed(text) for id_, text in texts.items()}, {})
    assert task.texts["q1"] == task.texts["q2"] != texts["q1"]
    assert groups_of(task.texts, origins) == {"q1": "q1", "q2": "q1", "q3": "q3"}


def test_dev_never_searches_the_test_documents(tmp_path: Path) -> None:
    """Not even where all fit; test searches the whole corpus."""
    run_stage(tmp_path, n_documents=1000)
    allowed = {id_ for id_ in DOCUMENTS if not id_.startswith("test")}
    assert set(read_task(tmp_path, "dev", "as_typed")[1]) == allowed
    assert set(read_task(tmp_path, "test", "as_typed")[1]) == set(DOCUMENTS)


def test_relevant_documents_are_there_even_if_no_others_fit(tmp_path: Path) -> None:
    """With n_documents of 0."""
    run_stage(tmp_path, n_documents=0)
    assert set(read_task(tmp_path, "dev", "as_typed")[1]) == {id_ for id_ in DOCUMENTS if id_.startswith("dev")}


def test_paraphrases_search_the_other_forms(tmp_path: Path) -> None:
    """A document without another form keeps its own text; titles stay."""
    told = {"p": ("Something else entirely", ["test2"])}
    receipt = run_stage(tmp_path, n_documents=1000, told_of_test=told)
    queries, documents, raw = read_task(tmp_path, "test", "as_indexed")
    assert queries == {"p": "Something else entirely"}
    assert documents == {id_: FORMS.get(id_, text) for id_, text in DOCUMENTS.items()}
    assert {d.title for d in raw.documents} == {f"pkg.{id_}" for id_ in DOCUMENTS}
    assert receipt["test.as_indexed.n_queries"] == 1 and receipt["test.as_indexed.n_documents"] == len(DOCUMENTS)


def test_dev_asks_only_paraphrases_of_its_own_documents_that_are_new(tmp_path: Path) -> None:
    """None that also means another split's document, or repeats a query of any split or a text of its document."""
    others = {
        "of train": ("An unheard-of question", ["train2"]),
        "of two": ("Another unheard-of question", ["dev2", "test2"]),
        "a query of train": (QUESTIONS["q-train3"], ["dev3"]),
        "nearly one of test": (QUESTIONS["q-test4"].replace("everything", "anything"), ["dev4"]),
        "in its document": ("return x", ["dev5"]),
        "in its form": ("gives Some dev6 back!", ["dev6"]),
    }
    run_stage(tmp_path, paraphrases={**others, "good": ("What is so good", ["dev2", "dev3"])})
    queries, _, raw = read_task(tmp_path, "dev", "as_indexed")
    assert queries == {"good": "What is so good"}
    assert [(q.document_id, q.relevance) for q in raw.qrels["all"]] == [("dev2", 1), ("dev3", 1)]


def test_over_shared_documents_dev_asks_nothing_of_the_test_documents(tmp_path: Path) -> None:
    """With split.by: query a document may be of all splits; what test knows it by stays unseen until then."""
    shared = {"train": set(DOCUMENTS), "dev": {f"dev{n}" for n in range(N)} | {"test2"}}
    told = {"both": ("An unheard-of question", ["test2"]), "own": ("What is so good", ["dev2"])}
    run_stage(tmp_path, paraphrases=told, documents=shared)
    assert set(read_task(tmp_path, "dev", "as_indexed")[0]) == {"own"}


def test_a_task_without_queries_is_left_out(tmp_path: Path) -> None:
    """Without forms, or without paraphrases, there is no as_indexed; the folders of dev and test are always there."""
    told = {"p": ("Something else entirely", ["test2"])}
    receipt = run_stage(tmp_path, forms={}, told_of_test=told)
    assert [path.name for path in sorted((tmp_path / "out").glob("*/*"))] == ["as_typed", "as_searched", "as_typed"]
    assert [receipt[f"test.as_indexed.n_{what}"] for what in ("queries", "documents", "groups")] == [0, 0, 0]


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    """File by file."""
    run_stage(tmp_path / "one")
    run_stage(tmp_path / "two")
    one, two = (
        {
            path.relative_to(tmp_path / name).as_posix(): path.read_bytes()
            for path in (tmp_path / name / "out").rglob("*.*")
        }
        for name in ("one", "two")
    )
    assert one == two and one


def test_a_missing_table_is_one_line(tmp_path: Path) -> None:
    """The message names the file and what makes it."""
    with pytest.raises(BadInput, match=r"corpus\.parquet: not found; run `dvc repro`"):
        near_domain(NearDomainParams(n_documents=5), tmp_path, tmp_path, 1, 0.8, tmp_path / "out")


@pytest.mark.parametrize("change", [{"n_documents": -1}, {"n_documents": 1, "n_queries": 1}, {}])
def test_a_parameter_out_of_range_is_refused(change: dict[str, int]) -> None:
    """Also an unknown or a missing one."""
    with pytest.raises(ValueError, match="1 validation error"):
        NearDomainParams.model_validate(change)


@pytest.mark.parametrize(
    ("text", "document", "expected"),
    [
        ("Sum of `x`.", "It is the sum of\n    x, and", True),
        ("sum of x", "sums of x", False),
        ("sum of x", "sum of xs", False),
        ("sum of x", "", False),
    ],
)
def test_a_text_repeats_a_document_word_for_word(text: str, document: str, expected: bool) -> None:
    """Whole words; neither case, markup nor line breaks count."""
    assert repeats(text, document) is expected


ASKED = st.dictionaries(
    st.integers(0, 50).map(lambda n: f"q{n}"),
    st.sets(st.integers(0, 20).map(lambda n: f"d{n}"), max_size=3),
    max_size=30,
)


@given(ASKED, st.sets(st.integers(0, 20).map(lambda n: f"d{n}")), st.integers(0, 25))
def test_a_task_is_complete_and_of_bounded_size(answers: dict[str, set[str]], allowed: set[str], n: int) -> None:
    """Queries have only allowed answers, and every answer is among the documents, of which there are as many as fit."""
    task = TaskQueries(
        {id_: id_ for id_ in answers}, {id_: dict.fromkeys(ids, 1) for id_, ids in answers.items() if ids}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "MAX_QUERIES", 5)
        task = capped(task, allowed)
    fitting = {id_ for id_, ids in answers.items() if ids and ids <= allowed}
    assert set(task.texts) == set(task.relevant) <= fitting and len(task.texts) == min(5, len(fitting))
    searched = {f"d{number}" for number in range(21)}
    needed = set().union(*task.relevant.values())
    ids = document_ids(task, searched, n)
    assert needed <= set(ids) <= searched and len(ids) == len(set(ids)) == max(len(needed), min(n, len(searched)))


def test_forms_of_other_documents_alone_make_no_task() -> None:
    """The relevant documents would be read as they are: the paraphrases' own test."""
    task = TaskQueries({"p": "what is new"}, {"p": {"d1": 1}})
    assert as_indexed(task, {"d2": "other"}).texts == {}
    assert as_indexed(task, {"d1": "other"}).texts == {"p": "what is new"}
