"""Stage prepare: identical queries and documents are merged, near-duplicates are clustered, and nothing else is."""

import json
from pathlib import Path
from unicodedata import normalize

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attune.data.passages import PassageParams
from attune.data.splitting.clusters import components, normalise
from attune.data.splitting.duplicates import share_relevance
from attune.stage import call
from attune.stages.prepare import PrepareParams, prepare
from attune.tables import CLUSTERED_QUERIES, CORPUS, MERGED_QUERIES, NEGATIVES, QRELS, read

PARAMS = PrepareParams(
    document_shingle=2,
    query_shingle=1,
    identical_document=0.9,
    similar_document=0.6,
    similar_query=0.8,
    passages=PassageParams(tokens=0, overlap=0),
)
LONG = "def norm x axis none return the square root of the sum of squares along an axis of the given array"


Judgments = list[tuple[str, str, int]]


def raw(
    folder: Path,
    documents: dict[str, str],
    queries: dict[str, str],
    qrels: Judgments | dict[str, Judgments],
    titles: dict[str, str] | None = None,
    groups: dict[str, str] | None = None,
) -> Path:
    """A BEIR folder; qrels is one list for all.tsv, or a list per given split."""
    (folder / "qrels").mkdir(parents=True)
    titles = titles or {}
    rows = [json.dumps({"_id": id_, "title": titles.get(id_, ""), "text": text}) for id_, text in documents.items()]
    (folder / "corpus.jsonl").write_text("".join(row + "\n" for row in rows))
    groups = groups or {}
    rows = [
        json.dumps({"_id": id_, "text": text} | ({"group": groups[id_]} if id_ in groups else {}))
        for id_, text in queries.items()
    ]
    (folder / "queries.jsonl").write_text("".join(row + "\n" for row in rows))
    for name, judgments in (qrels if isinstance(qrels, dict) else {"all": qrels}).items():
        lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in judgments)]
        (folder / "qrels" / f"{name}.tsv").write_text("".join(line + "\n" for line in lines))
    return folder


def prepared(tmp_path: Path, folder: Path) -> dict[str, pl.DataFrame]:
    call(prepare, PARAMS, tmp_path / "prepare.json", raw=folder, out=tmp_path / "prepared")
    columns = {"corpus": CORPUS, "queries": CLUSTERED_QUERIES, "qrels": QRELS}
    columns |= {"negatives": NEGATIVES, "merged_queries": MERGED_QUERIES}
    return {name: read(tmp_path / "prepared" / f"{name}.parquet", columns[name]) for name in columns}


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, pl.DataFrame]:
    """Six documents (a, its copy, its variant, and three strangers) and five queries, two of which read the same."""
    documents = {
        "a": LONG,
        "copy": LONG.upper() + "\n",
        "variant": LONG.replace("squares", "cubes").replace("root", "power"),
        "b": "completely different text about parsing dates from strings",
        "c": "another unrelated thing on drawing graphs with nodes",
        "d": "the last one opens and reads compressed files from disk",
    }
    queries = {
        "q1": "norm of an array",
        "q2": "parse dates",
        "q3": "Parse dates.",
        "q4": "draw a graph with many nodes now",
        "q5": "draw a graph with many nodes",
    }
    qrels = [("q1", "a", 1), ("q2", "b", 3), ("q2", "c", 1), ("q3", "b", 1), ("q3", "c", 2)]
    qrels += [("q4", "c", 1), ("q5", "d", 1)]
    return prepared(tmp_path, raw(tmp_path / "raw", documents, queries, qrels))


def test_identical_queries_become_one_with_all_their_documents(tables: dict[str, pl.DataFrame]) -> None:
    """q3 reads like q2: the first id stays, and answers of both count; the higher relevance survives."""
    assert tables["queries"]["query_id"].to_list() == ["q1", "q2", "q4", "q5"]
    rows = tables["qrels"].filter(pl.col("query_id") == "q2").select("document_id", "relevance").rows()
    assert rows == [("b", 3), ("c", 2)]


def test_merged_queries_are_recorded_with_the_id_that_replaces_them(tables: dict[str, pl.DataFrame]) -> None:
    """q3 is listed with q2."""
    assert tables["merged_queries"].rows() == [("q3", "q2")]


def test_queries_of_one_group_are_one_cluster(tmp_path: Path) -> None:
    """Two questions of a customer have nothing else in common; the third customer's merged query ties two groups."""
    documents = {name: f"text {name} of its own {name}{name}" for name in "abcde"}
    queries = {"q1": "first thing", "q2": "second matter", "q3": "third affair", "q4": "Third affair.", "q5": "fifth"}
    qrels = [(f"q{i}", name, 1) for i, name in enumerate("abcde", start=1)]
    groups = {"q1": "ann", "q2": "ann", "q3": "bob", "q4": "ann"}
    tables = prepared(tmp_path, raw(tmp_path / "raw", documents, queries, qrels, groups=groups))
    clusters = dict(tables["queries"].select("query_id", "cluster_id").iter_rows())
    assert clusters == {"q1": "a", "q2": "a", "q3": "a", "q5": "e"}


def test_own_negatives_are_never_near_identical_to_an_answer(tmp_path: Path) -> None:
    """Judged 0 is a negative, unless near-identical to a relevant document or judged relevant for an equal query."""
    documents = {"a": LONG, "copy": LONG.upper(), "b": "parsing dates from strings", "c": "drawing graphs and nodes"}
    queries = {"q1": "norm of an array", "q2": "parse dates", "q3": "Parse dates."}
    qrels = [("q1", "a", 1), ("q1", "copy", 0), ("q1", "b", 0), ("q2", "b", 1), ("q2", "c", 0), ("q3", "b", 0)]
    qrels += [("q3", "c", 0), ("q3", "a", 0)]
    tables = prepared(tmp_path, raw(tmp_path / "raw", documents, queries, qrels))
    assert tables["negatives"].rows() == [("q1", "b"), ("q2", "a"), ("q2", "c")]
    assert tables["qrels"].rows() == [("q1", "a", 1), ("q1", "copy", 1), ("q2", "b", 1)]
    assert tables["corpus"]["cluster_id"].n_unique() == 3  # a negative ties nothing together


def test_equal_queries_in_two_given_splits_are_not_merged(tmp_path: Path) -> None:
    """Merging them would hide the leak from the audit; within one given split they are merged."""
    documents = {"a": "dates come from strings", "b": "days are read from text", "c": "nodes are drawn as circles"}
    queries = {"q1": "parse dates", "q2": "Parse dates.", "q3": "PARSE dates", "q4": "draw a graph"}
    train, test = [("q1", "a", 1), ("q2", "b", 1), ("q4", "c", 1)], [("q3", "b", 2)]
    tables = prepared(tmp_path, raw(tmp_path / "raw", documents, queries, {"train": train, "test": test}))
    kept = tables["queries"].select("query_id", "given_split", "cluster_id").rows()
    assert kept == [("q1", "train", "a"), ("q3", "test", "a"), ("q4", "train", "c")]
    assert tables["qrels"].rows() == [("q1", "a", 1), ("q1", "b", 1), ("q3", "b", 2), ("q4", "c", 1)]


def test_a_correct_answer_never_counts_as_a_miss(tables: dict[str, pl.DataFrame]) -> None:
    """The copy of a relevant document is relevant; the mere variant is not."""
    assert tables["qrels"].filter(pl.col("query_id") == "q1")["document_id"].to_list() == ["a", "copy"]
    duplicates = dict(tables["corpus"].select("document_id", "duplicate_of").iter_rows())
    assert duplicates == {"a": "a", "copy": "a", "variant": "variant", "b": "b", "c": "c", "d": "d"}


def test_commands_that_differ_in_a_symbol_are_two_answers_of_one_cluster(tmp_path: Path) -> None:
    """Similar in words, they go to one split, but do not share judgments; white space makes no difference."""
    documents = {"a": "find . -name '*.txt'", "b": "find . ! -name '*.txt'", "c": "find .  -name '*.txt' "}
    tables = prepared(tmp_path, raw(tmp_path / "raw", documents, {"q1": "find text files"}, [("q1", "a", 1)]))
    assert tables["qrels"]["document_id"].to_list() == ["a", "c"]
    assert tables["corpus"]["cluster_id"].to_list() == ["a", "a", "a"]


def test_duplicates_share_the_highest_relevance_of_any_of_them() -> None:
    """For each query by itself."""
    duplicate_of = pl.DataFrame({"document_id": ["a", "b", "c", "z"], "duplicate_of": ["a", "a", "a", "z"]})
    rows = [("q1", "a", 1), ("q1", "b", 3), ("q2", "a", 2), ("q2", "b", 1), ("q3", "z", 1)]
    shared = share_relevance(pl.DataFrame(rows, QRELS, orient="row"), duplicate_of)
    assert shared.rows() == [*(("q1", id_, 3) for id_ in "abc"), *(("q2", id_, 2) for id_ in "abc"), ("q3", "z", 1)]


def test_documents_of_equal_text_and_different_titles_are_not_merged(tmp_path: Path) -> None:
    """Twenty FAQ entries with one answer are twenty documents; an equal title makes a duplicate."""
    ids = [f"d{i:02}" for i in range(20)]
    titles = {id_: f"May I change feature{i} within section{i} after signing{i}?" for i, id_ in enumerate(ids)}
    titles["twin"] = titles["d07"].upper()
    documents = dict.fromkeys([*ids, "twin"], "Yes, in the settings.")
    queries = {f"q{id_[1:]}": f"how feature{i} is changed{i}" for i, id_ in enumerate(ids)}
    qrels = [(f"q{id_[1:]}", id_, 1) for id_ in ids]
    tables = prepared(tmp_path, raw(tmp_path / "raw", documents, queries, qrels, titles))
    duplicates = dict(tables["corpus"].select("document_id", "duplicate_of").iter_rows())
    assert duplicates == {id_: id_ for id_ in ids} | {"twin": "d07"}
    assert tables["qrels"].rows() == sorted([*qrels, ("q07", "twin", 1)])
    assert tables["corpus"]["cluster_id"].n_unique() == 20
    assert json.loads((tmp_path / "prepare.json").read_text())["n_duplicate_documents"] == 1


def test_clusters_join_similar_texts_and_judged_pairs(
    tables: dict[str, pl.DataFrame],
) -> None:
    """Named after the first document: a~copy~variant by text; b-c by the merged query; c-d by q4~q5."""
    documents = dict(tables["corpus"].select("document_id", "cluster_id").iter_rows())
    assert documents == {"a": "a", "copy": "a", "variant": "a", "b": "b", "c": "b", "d": "b"}
    assert dict(tables["queries"].select("query_id", "cluster_id").iter_rows()) == {
        "q1": "a",
        "q2": "b",
        "q4": "b",
        "q5": "b",
    }


def test_appending_rows_keeps_the_names_of_old_clusters(tmp_path: Path) -> None:
    """New rows that join an old cluster take its name; so does a new query of an old document."""
    documents = {"z": LONG, "b": "completely different text about parsing dates from strings"}
    queries, qrels = {"q1": "norm of an array", "q2": "parse dates"}, [("q1", "z", 1), ("q2", "b", 1)]
    call(prepare, PARAMS, None, raw=raw(tmp_path / "one", documents, queries, qrels), out=tmp_path / "before")
    documents["a"] = LONG.replace("squares", "cubes")
    queries |= {"q3": "length of a vector", "q0": "cubic norm"}
    qrels += [("q3", "z", 1), ("q0", "a", 1)]
    call(prepare, PARAMS, None, raw=raw(tmp_path / "two", documents, queries, qrels), out=tmp_path / "after")
    clusters = {
        name: dict(
            read(tmp_path / name / "queries.parquet", CLUSTERED_QUERIES).select("query_id", "cluster_id").iter_rows()
        )
        for name in ("before", "after")
    }
    assert clusters["before"] == {"q1": "z", "q2": "b"}
    assert clusters["after"] == {"q1": "z", "q2": "b", "q3": "z", "q0": "z"}


@given(st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))))
@settings(max_examples=100, deadline=None)
def test_components_agree_with_networkx(graph: tuple[int, list[tuple[int, int]]]) -> None:
    """Each node is labelled with the lowest node of its component."""
    import networkx

    n, pairs = graph
    oracle = networkx.Graph(pairs)
    oracle.add_nodes_from(range(n))
    expected = {node: min(component) for component in networkx.connected_components(oracle) for node in component}
    assert components(n, np.array(pairs, dtype=np.int64).reshape(-1, 2)).tolist() == [
        expected[node] for node in range(n)
    ]


@given(st.text(max_size=30))
@settings(max_examples=300, deadline=None)
def test_forms_of_unicode_do_not_distinguish_texts(text: str) -> None:
    """Composed, decomposed and compatible characters are equal, and normalising again changes nothing."""
    forms = {normalise(normalize(form, text)) for form in ("NFC", "NFD", "NFKC", "NFKD")}
    assert forms == {normalise(text)} == {normalise(normalise(text))}


def test_case_layout_and_final_punctuation_do_not_distinguish_texts() -> None:
    """Words, their order and symbols do."""
    assert normalise("  Sum\n of ROWS! ") == normalise("sum of rows") != normalise("rows of sum")
    assert len({normalise(f"what is {name}?") for name in ("C", "C++", "C#")}) == 3
    assert normalise("?!") != normalise("...")
