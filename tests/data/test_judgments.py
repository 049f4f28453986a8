"""Judgments added to test: the table and its faults, what counts, and that train and dev stay as they are."""

from pathlib import Path

import polars as pl
import pytest
from split_inputs import GIVEN, prepared, queries, run_split

from attune.cli.repository.product import template
from attune.data.judgments import COLUMNS, Judgment, counted, pair_hash, read_judgments, write_judgments
from attune.data.sources.documents import files_of
from attune.data.sources.files.tabular import single_file
from attune.errors import BadInput, Problems
from attune.tables import CORPUS, NEGATIVES, QRELS, read

HEADER = ",".join(COLUMNS)
QUERIES = pl.DataFrame({"query_id": ["q0", "q1"], "text": ["first", "second"]})
DOCUMENTS = pl.DataFrame(
    {
        "document_id": ["a", "b", "twin", "c"],
        "title": ["", "B", "B", ""],
        "text": ["text a", "text b", "text b", "text c"],
        "duplicate_of": ["a", "b", "b", "c"],
        "cluster_id": [""] * 4,
    },
    CORPUS,
).with_columns(split=pl.Series(["test", "train", "test", "test"]))
QRELS_OF_TEST = pl.DataFrame([("q0", "a", 2), ("q1", "c", 1)], QRELS, orient="row")
REFUSED = pl.DataFrame([("q1", "a")], NEGATIVES, orient="row")


def judgment(query_id: str, document_id: str, relevance: int, text: str = "") -> Judgment:
    """Returns a judgment by Ann of the texts above, or of other texts."""
    query = dict(QUERIES.iter_rows()).get(query_id, "")
    title, body = DOCUMENTS.filter(pl.col("document_id") == document_id).select("title", "text").row(0)
    return Judgment(query_id, document_id, relevance, "Ann", text or pair_hash(query, title, body))


def test_the_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """Sorted by its key, whatever the names hold; no file and no rows are no judgments; new repositories get a head."""
    rows = [judgment("q1", "b", 0), judgment("q0", "c", 3)]
    rows[0] = Judgment(*rows[0].key, 0, 'Ann "the judge", née Ü', rows[0].text)
    write_judgments(rows, tmp_path / "own/judgments.csv")
    assert read_judgments(tmp_path / "own/judgments.csv") == rows[::-1]
    write_judgments([], tmp_path / "none.csv")
    assert (tmp_path / "none.csv").read_text() == template("judgments.csv") == HEADER + "\n"
    assert read_judgments(tmp_path / "none.csv") == read_judgments(tmp_path / "absent.csv") == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("query_id,document_id\n", "t.csv:1: columns are 'query_id,document_id', expected query_id,document_id,rel"),
        ("", "t.csv:1: columns are '', expected"),
        (f"{HEADER}\nq,d,yes,Ann,00\n", "t.csv:2: 5 cells, relevance 'yes'; expected 5 and a whole number"),
        (f"{HEADER}\nq,d,-1,Ann,00\n", "t.csv:2: 5 cells, relevance '-1'"),
        (f"{HEADER}\nq,d,1\n", "t.csv:2: 3 cells, relevance '1'"),
        (f"{HEADER}\nq,d,1,Ann,00\n\nq,d,0,Bob,00\n", "t.csv:4: query 'q' and document 'd' again; remove one"),
        (f"{HEADER}\nq,d,1,\udcff,00\n", "t.csv: not a csv in UTF-8"),
    ],
)
def test_a_damaged_table_is_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    """File and line, got, expected, next step."""
    (tmp_path / "t.csv").write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(BadInput) as raised:
        read_judgments(tmp_path / "t.csv")
    assert complaint in str(raised.value) and len(raised.value.args) == 1


def test_answers_and_refusals_join_those_of_test() -> None:
    """A twin is judged alike; judgments of the data stay; other queries and changed texts are left out and counted."""
    rows = [
        judgment("q0", "b", 1),  # and its twin; b is a document of train
        judgment("q0", "c", 0),
        judgment("q0", "a", 0),  # judged by the data: an answer
        judgment("q1", "a", 3),  # judged by the data: none
        judgment("q1", "b", 1, "0123456789abcdef"),  # another text
        judgment("gone", "a", 1),
    ]
    found = counted(rows, QUERIES, DOCUMENTS, QRELS_OF_TEST, REFUSED)
    assert sorted(found.qrels.rows()) == [("q0", "a", 2), ("q0", "b", 1), ("q0", "twin", 1), ("q1", "c", 1)]
    assert sorted(found.negatives.rows()) == [("q0", "c"), ("q1", "a")]
    assert found.counts == {
        "n_judged_rows": 6,
        "n_judged_rows_left_out": 2,
        "n_judged_answers": 2,
        "n_judged_answers_outside_test": 1,
        "n_judged_no_answers": 1,
    }
    none = counted([], QUERIES, DOCUMENTS, QRELS_OF_TEST, REFUSED)
    assert none.qrels.equals(QRELS_OF_TEST) and none.negatives.equals(REFUSED) and none.counts == {}


def test_judging_changes_test_alone(tmp_path: Path) -> None:
    """The stage leaves every file of train, dev and paraphrases, the leaks and the assignments byte for byte."""
    source = prepared(tmp_path / "prepared", queries([f"c{i}" for i in range(40)], GIVEN))
    corpus = read(source / "corpus.parquet", CORPUS)
    texts = {id_: (title, text) for id_, title, text in corpus.select("document_id", "title", "text").iter_rows()}
    table = tmp_path / "judgments.csv"
    before = run_split(tmp_path / "without", source, judgments=str(table))
    found = [("q0", "d15", 1), ("q1", "d2", 0), ("q15", "d1", 1)]  # a document of train; one of test; a train query
    asked = {q: f"question number{q[1:]} of mine{q[1:]}" for q, *_ in found}
    rows = [Judgment(q, d, r, "Ann", pair_hash(asked[q], *texts[d])) for q, d, r in found]
    write_judgments(rows, table)
    after = run_split(tmp_path / "judged", source, judgments=str(table))
    old, new = (
        {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "without", tmp_path / "judged")
    )
    changed = {name for name in old | new if old.get(name) != new.get(name)}
    assert changed == {"splits/test/qrels.parquet", "splits/test/negatives.parquet", "split.json"}
    qrels = read(tmp_path / "judged/splits/test/qrels.parquet", QRELS)
    assert ("q0", "d15", 1) in qrels.rows() and qrels.height == 11
    assert read(tmp_path / "judged/splits/test/negatives.parquet", NEGATIVES).rows() == [("q1", "d2")]
    assert {key: value for key, value in after.items() if key not in before} == {
        "n_judged_rows": 3,
        "n_judged_rows_left_out": 1,
        "n_judged_answers": 1,
        "n_judged_answers_outside_test": 1,
        "n_judged_no_answers": 1,
    }


def test_the_table_beside_your_data_is_no_data(tmp_path: Path) -> None:
    """A folder with one table of pairs, and one of texts, read as before."""
    (tmp_path / "pairs.csv").write_text("query,document\na,b\n")
    (tmp_path / "judgments.csv").write_text(HEADER + "\n")
    assert single_file(tmp_path, Problems()) == tmp_path / "pairs.csv"
    assert files_of(tmp_path) == [tmp_path / "pairs.csv"]
