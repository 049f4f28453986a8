"""A table of pairs or triplets is read completely, or refused with the line, the column and what to do."""

import math
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from pair_tables import FORMATS, Row, place, read, refusal, table

from attune.data.sources.raw import Document, Qrel, Query
from attune.errors import SHOWN


@pytest.fixture(params=FORMATS)
def form(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each format in turn."""
    yield request.param


def test_two_columns_are_a_data_set(tmp_path: Path, form: str) -> None:
    """Ids are hashes of the texts, so rows added elsewhere change none; the same document in two rows is one."""
    raw = read(tmp_path, form, table("q|d", " how? |so ", "why?|because", "how?|or so", "when?|so"))
    d = ["d" + sha256(f"\n{text}".encode()).hexdigest()[:16] for text in ("so", "because", "or so")]
    q = ["q" + sha256(text.encode()).hexdigest()[:16] for text in ("how?", "why?", "when?")]
    assert raw.documents == [Document(d[0], "", "so"), Document(d[1], "", "because"), Document(d[2], "", "or so")]
    assert raw.queries == [Query(q[0], "how?"), Query(q[1], "why?"), Query(q[2], "when?")]
    assert raw.qrels == {"all": [Qrel(q[0], d[0], 1), Qrel(q[1], d[1], 1), Qrel(q[0], d[2], 1), Qrel(q[2], d[0], 1)]}
    assert not +raw.dropped


def test_all_columns_are_kept(tmp_path: Path, form: str) -> None:
    """Ids, titles, grades, groups, strata and splits come from their columns, in whatever order these are."""
    rows = table(
        "split|d|i|t|rel|g|s|k|q",
        "test|b|D2|T2|2.0|G1|S1|Q2|y",
        "validation|c|D3||1|G1|S2|Q3|z",
        "train|a|D1|T1|3|G2|S1|Q1|x",
        "train|b|D2|T2|0|G2|S1|Q1|x",
    )
    names = {"query_id": "k", "document_id": "i", "title": "t", "relevance": "rel", "group": "g", "stratum": "s"}
    raw = read(tmp_path, form, rows, split="split", **names)
    assert raw.documents == [Document("D2", "T2", "b"), Document("D3", "", "c"), Document("D1", "T1", "a")]
    assert raw.queries == [Query("Q2", "y", "G1", "S1"), Query("Q3", "z", "G1", "S2"), Query("Q1", "x", "G2", "S1")]
    assert list(raw.qrels.items()) == [
        ("train", [Qrel("Q1", "D1", 3), Qrel("Q1", "D2", 0)]),
        ("dev", [Qrel("Q3", "D3", 1)]),
        ("test", [Qrel("Q2", "D2", 2)]),
    ]


def test_groups_and_strata_of_equal_letters_are_one(tmp_path: Path, form: str) -> None:
    """Composed and decomposed letters name one customer, whose queries no split may separate; texts stay as given."""
    raw = read(
        tmp_path,
        form,
        table("q|d|g|s", "M\u00fchle|a|M\u00fcller|\u00d6l", "Mu\u0308hle|b|Mu\u0308ller|O\u0308l"),
        group="g",
        stratum="s",
    )
    assert [query[1:] for query in raw.queries] == [
        ("M\u00fchle", "M\u00fcller", "\u00d6l"),
        ("Mu\u0308hle", "M\u00fcller", "\u00d6l"),
    ]


def test_negatives_are_documents_judged_not_to_answer(tmp_path: Path, form: str) -> None:
    """Triplets: several columns of negatives, blank ones left out, a negative of one query may answer another."""
    rows = table("q|d|n|m", "x|a|b|c", "y|b|c|", "x|a2|b|e")
    raw = read(tmp_path, form, rows, negatives=["n", "m"])
    text = {document.document_id: document.text for document in raw.documents}
    asked = {query.query_id: query.text for query in raw.queries}
    judged = [(asked[qrel.query_id], text[qrel.document_id], qrel.relevance) for qrel in raw.qrels["all"]]
    assert list(text.values()) == ["a", "b", "c", "a2", "e"]
    assert judged == [
        ("x", "a", 1),
        ("x", "b", 0),
        ("x", "c", 0),
        ("y", "b", 1),
        ("y", "c", 0),
        ("x", "a2", 1),
        ("x", "e", 0),
    ]
    assert +raw.dropped == Counter(negative_repeated=1)


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_cell_may_hold_a_list_of_documents(tmp_path: Path, form: str) -> None:
    """Each answers the query; what is blank, and a list of none, is counted; a list in a list is a problem."""
    rows = [{"q": "x", "d": ["a", "", "b"], "n": "c"}, {"q": "y", "d": ["a"], "n": None}, {"q": "z", "d": [], "n": "a"}]
    raw = read(tmp_path, form, rows, negatives=["n"])
    text = {document.document_id: document.text for document in raw.documents}
    asked = {query.query_id: query.text for query in raw.queries}
    judged = [(asked[qrel.query_id], text[qrel.document_id], qrel.relevance) for qrel in raw.qrels["all"]]
    assert sorted(judged) == [("x", "a", 1), ("x", "b", 1), ("x", "c", 0), ("y", "a", 1)]
    assert +raw.dropped == Counter(document_blank=2, negative_repeated=1)  # "c" comes with "a" and with "b"
    if form == "jsonl":
        assert 't.jsonl:1: "d" is a list' in refusal(tmp_path, form, [{"q": "x", "d": [["a"]]}])[0]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_cell_may_hold_a_list_of_negatives(tmp_path: Path, form: str) -> None:
    """Blank entries are counted, null is no negative."""
    rows = [{"q": "x", "d": "a", "n": ["b", " ", "c"]}, {"q": "y", "d": "b", "n": None}, {"q": "z", "d": "c", "n": []}]
    raw = read(tmp_path, form, rows, negatives=["n"])
    assert [document.text for document in raw.documents] == ["a", "b", "c"]
    assert [qrel.relevance for qrel in raw.qrels["all"]] == [1, 0, 0, 1, 1]
    assert +raw.dropped == Counter(negative_blank=1)


def test_a_list_of_documents_has_no_id(tmp_path: Path) -> None:
    """One problem a row, with what to do."""
    (found,) = refusal(tmp_path, "jsonl", [{"q": "x", "d": ["a", "b"], "i": "1"}], document_id="i")
    assert found.startswith("t.jsonl:1: column 'd' is a list, expected one text with its id; write a row for each")


def test_a_negative_is_the_document_with_its_text_even_if_that_comes_later(tmp_path: Path, form: str) -> None:
    """A text is one document, whether it is met first as a negative or with its id and title."""
    rows = table("q|d|i|t|n", "x|a|D1|A|b", "y|b|D2|B|a")
    raw = read(tmp_path, form, rows, document_id="i", title="t", negatives=["n"])
    assert raw.documents == [Document("D1", "A", "a"), Document("D2", "B", "b")]
    assert [(qrel.document_id, qrel.relevance) for qrel in raw.qrels["all"]] == [
        ("D1", 1),
        ("D2", 0),
        ("D2", 1),
        ("D1", 0),
    ]


def test_blank_cells_and_repeated_pairs_are_counted(tmp_path: Path, form: str) -> None:
    """Dropped rows are counted by reason; queries that have only judgments of 0 are dropped, too."""
    rows = table("q|d|rel", "x|a|1", " |b|1", "y| |1", "x|a|1", "|c|1", "z|e|0")
    raw = read(tmp_path, form, rows, relevance="rel")
    assert [query.text for query in raw.queries] == ["x"]
    assert [document.text for document in raw.documents] == ["a", "e"]
    assert [qrel.relevance for qrel in raw.qrels["all"]] == [1]
    assert +raw.dropped == Counter(query_blank=2, document_blank=1, pair_repeated=1, query_without_relevant=1)


CONFLICTS = {
    "two grades of a pair": (
        table("q|d|rel", "x|a|1", "y|b|1", "x|a|2"),
        {"relevance": "rel"},
        (3, "label conflict: relevance 2, but 1 in", 1),
    ),
    "a positive that is a later negative": (
        table("q|d|n", "x|a|b", "y|b|c", "x|c|a"),
        {"negatives": ["n"]},
        (3, "label conflict: a negative is 'a', which answers the query in", 1),
    ),
    "a negative that is a later positive": (
        table("q|d|n", "x|a|b", "y|c|e", "x|b|e"),
        {"negatives": ["n"]},
        (1, "label conflict: a negative is 'b', which answers the query in", 3),
    ),
    "its own negative": (
        table("q|d|n", "y|c|e", "x|a|a "),
        {"negatives": ["n"]},
        (2, "label conflict: a negative is 'a', which answers the query in", 2),
    ),
    "a negative with the text of a second document": (
        table("q|d|i|n", "y|a|D1|c", "x|a|D2|e", "x|b|D3|a"),
        {"negatives": ["n"], "document_id": "i"},
        (3, "label conflict: a negative is 'a', which answers the query in", 2),
    ),
    "a query id with two texts": (
        table("q|d|k", "x|a|1", "y|b|1"),
        {"query_id": "k"},
        (2, "query '1' has text 'y', but 'x' in", 1),
    ),
    "a document id with two texts": (
        table("q|d|i", "x|a|1", "y|b|1"),
        {"document_id": "i"},
        (2, "document '1' has text 'b', but 'a' in", 1),
    ),
    "a document id with two titles": (
        table("q|d|i|t", "x|a|1|A", "y|a|1|B"),
        {"document_id": "i", "title": "t"},
        (2, "document '1' has title 'B', but 'A' in", 1),
    ),
    "a query in two groups": (
        table("q|d|g", "x|a|A", "x|b|B"),
        {"group": "g"},
        (2, "query 'x' has group 'B', but 'A' in", 1),
    ),
    "a query in two strata": (
        table("q|d|s", "x|a|A", "x|b|"),
        {"stratum": "s"},
        (2, "query 'x' has stratum '', but 'A' in", 1),
    ),
    "a query in two splits": (
        table("q|d|p", "x|a|train", "y|b|test", "x|c|valid"),
        {"split": "p"},
        (3, "query 'x' has split 'dev', but 'train' in", 1),
    ),
    "a row without a split": (
        table("q|d|p", "x|a|train", "y|b|"),
        {"split": "p"},
        (2, "column 'p' is '', but 'train' in", 1),
    ),
}


@pytest.mark.parametrize("name", CONFLICTS)
def test_contradictions_name_both_rows(tmp_path: Path, form: str, name: str) -> None:
    """No row wins silently over another."""
    rows, names, (at, what, other) = CONFLICTS[name]
    (found,) = refusal(tmp_path, form, rows, **names)
    assert found.startswith(f"{place(form, at)}: {what} {place(form, other)}")


@pytest.mark.parametrize("value", ["NaN", "0.5", "", "1e3", "inf", "yes", "1_0", "٣"])
def test_a_relevance_is_a_whole_number(tmp_path: Path, form: str, value: str) -> None:
    """Scores that are none are named with their column."""
    (found,) = refusal(tmp_path, form, table("q|d|rel", "x|a|1", f"y|b|{value}"), relevance="rel")
    assert found.startswith(f"{place(form, 2)}: column 'rel' is {value!a}, expected a whole number")


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_numbers_are_relevances_if_they_are_whole(tmp_path: Path, form: str) -> None:
    """2 and 2.0 are 2, -2.0 is 0 as in BEIR's layout; NaN, 0.5 and null are problems of their rows."""
    values = (2.0, math.nan, 0.5, None, 0.0, 1e20, -2.0)
    rows = [{"q": f"q{n}", "d": "d", "rel": value} for n, value in enumerate(values)]
    found = refusal(tmp_path, form, rows, relevance="rel")
    places = [line.partition(": column")[0] for line in found]
    assert places == [place(form, row) for row in (2, 3, 4, 6)] + ["4 problems"]
    good = [rows[0], {"q": "q0", "d": "e", "rel": -2.0}]
    assert [q.relevance for q in read(tmp_path, form, good, relevance="rel").qrels["all"]] == [2, 0]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_whole_numbers_are_ids_and_labels_but_no_texts(tmp_path: Path, form: str) -> None:
    """An id 7 is "7"; a text 7 is a problem."""
    rows: list[Row] = [{"q": "x", "d": "a", "k": 7, "i": 8, "g": 9}]
    raw = read(tmp_path, form, rows, query_id="k", document_id="i", group="g")
    assert (raw.documents, raw.queries) == ([Document("8", "", "a")], [Query("7", "x", "9")])
    (found,) = refusal(tmp_path, form, rows, document="g")
    assert found.startswith(place(form, 1))
    assert "'g'" in found or '"g"' in found


def test_numbers_that_tables_write_with_a_point_are_whole(tmp_path: Path) -> None:
    """A column of whole numbers with a gap is one of floats in a data frame."""
    rows: list[Row] = [{"q": "x", "d": "a", "k": 7.0, "g": 9.0}, {"q": "y", "d": "b", "k": 8.0, "g": None}]
    raw = read(tmp_path, "parquet", rows, query_id="k", group="g")
    assert raw.queries == [Query("7", "x", "9"), Query("8", "y", "")]


def test_ids_of_mixed_types_are_a_problem_only_where_they_meet(tmp_path: Path) -> None:
    """1 and "1" may be two things; 1 and "2" are."""
    rows: list[Row] = [{"q": "x", "d": "a", "k": 1}, {"q": "y", "d": "b", "k": "2"}]
    assert [query.query_id for query in read(tmp_path, "jsonl", rows, query_id="k").queries] == ["1", "2"]
    (found,) = refusal(tmp_path, "jsonl", [*rows, {"q": "x", "d": "c", "k": "1"}], query_id="k")
    assert found.startswith("t.jsonl:3: query '1' has an id that is 'text', but 'a number' in t.jsonl:1")


def test_given_splits_need_train(tmp_path: Path, form: str) -> None:
    """A query that is answered there; no column, or one that is blank throughout, leaves the split to us."""
    (found,) = refusal(tmp_path, form, table("q|d|p", "x|a|test", "y|b|dev"), split="p")
    assert "column 'p': no document answers a query of train" in found
    assert list(read(tmp_path, form, table("q|d|p", "x|a|train", "y|b|dev"), split="p").qrels) == ["train", "dev"]
    assert not read(tmp_path, form, table("q|d", " |a", "y| ")).queries  # not the split's fault
    (found,) = refusal(tmp_path, form, table("q|d|p", "x|a|train", "y|b|eval"), split="p")
    assert found.startswith(f"{place(form, 2)}: column 'p' is 'eval', expected train, dev")
    assert list(read(tmp_path, form, table("q|d|p", "x|a|", "y|b| "), split="p").qrels) == ["all"]


def test_a_wrong_column_is_one_problem_with_a_proposal(tmp_path: Path, form: str) -> None:
    """The columns that are there are listed, and the parameter that is to be changed."""
    rows = table("Question|answers|n", *["x|a|b"] * 50)
    (found,) = refusal(tmp_path, form, rows, query="question", document="answer", negatives=["n", "zzz"])
    assert found.startswith(
        f"t.{form}: no column 'question' (collect.columns.query, did you mean 'Question'?), no column 'answer'"
        " (collect.columns.document, did you mean 'answers'?), no column 'zzz' (collect.columns.negatives);"
        " the columns are 'Question', 'answers', 'n'; set collect.columns"
    )


def test_query_and_document_must_be_two_named_columns(tmp_path: Path) -> None:
    """Neither may be left empty, nor be the same."""
    for query, document in (("", "d"), ("q", ""), ("q", "q")):
        (found,) = refusal(tmp_path, "csv", table("q|d", "x|a"), query=query, document=document)
        assert "expected two different columns" in found


def test_the_first_problems_are_shown_and_all_are_counted(tmp_path: Path, form: str) -> None:
    """Reading goes on after a bad row; a conflict later in the file is found as well."""
    rows = table("q|d|rel", *(f"x{n}|a|no" for n in range(30)), "y|b|1", "y|b|2")
    found = refusal(tmp_path, form, rows, relevance="rel")
    assert len(found) == SHOWN + 1
    assert found[-1] == f"31 problems; the first {SHOWN} are shown"


def test_a_key_that_some_rows_lack(tmp_path: Path) -> None:
    """In jsonl a row may leave out what is optional, but not its query."""
    rows: list[Row] = [{"q": "x", "d": "a", "t": "T", "g": "G", "n": "c"}, {"q": "y", "d": "b"}]
    assert len(read(tmp_path, "jsonl", rows, title="t", group="g", negatives=["n"]).queries) == 2
    (found,) = refusal(tmp_path, "jsonl", [*rows, {"d": "c"}])
    assert found.startswith("t.jsonl:3")


@pytest.mark.parametrize("value", ["\ud800", "a\udfff"])
def test_halves_of_surrogate_pairs_are_named(tmp_path: Path, value: str) -> None:
    """JSON can write them, UTF-8 cannot: in texts, ids, labels and negatives."""
    good: Row = {"q": "x", "d": "a", "k": "1", "i": "2", "t": "T", "g": "G", "n": ["c"]}
    names = {"query_id": "k", "document_id": "i", "title": "t", "group": "g", "negatives": ["n"]}
    for key in good:
        bad = {**good, key: [value] if key == "n" else value}
        (found,) = refusal(tmp_path, "jsonl", [good, bad], **names)
        assert found.startswith("t.jsonl:2")
