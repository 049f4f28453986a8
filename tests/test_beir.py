"""A BEIR folder: read whole, or refused with the file, the line and what to do."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attune.errors import BadInput
from attune.sources.beir import read_beir
from attune.sources.raw import Document, Qrel, Query

CORPUS = '{"_id": "d1", "title": "One", "text": "first"}\n{"_id": "d2", "text": "second"}\n'
QUERIES = '{"_id": "q1", "text": "which is first?"}\n{"_id": "q2", "text": "which is second?"}\n'
HEADER = "query-id\tcorpus-id\tscore\n"
ALL = {"corpus.jsonl": CORPUS, "queries.jsonl": QUERIES, "qrels/all.tsv": HEADER + "q1\td1\t1\nq2\td2\t2\n"}

Files = dict[str, str | bytes | None]


def write(folder: Path, files: Files) -> Path:
    """Writes the good folder with some files replaced, or left out where None."""
    for name, content in {**ALL, **files}.items():
        if content is not None:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def test_rows_keep_their_order_text_and_grades(tmp_path: Path) -> None:
    raw = read_beir(write(tmp_path, {}))
    assert raw.documents == [Document("d1", "One", "first"), Document("d2", "", "second")]
    assert raw.queries == [Query("q1", "which is first?"), Query("q2", "which is second?")]
    assert raw.qrels == {"all": [Qrel("q1", "d1", 1), Qrel("q2", "d2", 2)]}
    assert not +raw.dropped


def test_given_splits_come_in_the_order_train_dev_test(tmp_path: Path) -> None:
    splits: Files = {
        "qrels/all.tsv": None,
        "qrels/test.tsv": HEADER + "q1\td1\t1\n",
        "qrels/train.tsv": HEADER + "q2\td2\t1",
    }
    raw = read_beir(write(tmp_path, splits))
    assert list(raw.qrels.items()) == [("train", [Qrel("q2", "d2", 1)]), ("test", [Qrel("q1", "d1", 1)])]


def test_windows_files_blank_lines_and_other_keys_are_read(tmp_path: Path) -> None:
    corpus = "\ufeff" + CORPUS.replace("\n", "\r\n\r\n").replace('"text"', '"metadata": {"a": [1]}, "text"')
    raw = read_beir(
        write(tmp_path, {"corpus.jsonl": corpus, "qrels/all.tsv": ALL["qrels/all.tsv"].replace("\n", "\r\n")})
    )
    assert raw == read_beir(write(tmp_path / "plain", {}))


def test_what_no_query_can_use_is_left_out_and_counted(tmp_path: Path) -> None:
    raw = read_beir(
        write(
            tmp_path,
            {
                "corpus.jsonl": CORPUS
                + '{"_id": "blank", "title": " ", "text": "\\n"}\n{"_id": "far", "text": "unasked"}\n',
                "queries.jsonl": QUERIES
                + '{"_id": "q3", "text": ""}\n{"_id": "q4", "text": "unjudged"}\n{"_id": "q5", "text": "only 0"}\n',
                "qrels/all.tsv": HEADER
                + "q1\td1\t1\nq1\td2\t0\nq1\tblank\t1\nq1\td1\t1\nq2\td2\t3\nq3\td1\t1\nq5\td2\t-1\n",
            },
        )
    )
    assert [d.document_id for d in raw.documents] == ["d1", "d2", "far"]
    assert [q.query_id for q in raw.queries] == ["q1", "q2"]
    assert raw.qrels == {"all": [Qrel("q1", "d1", 1), Qrel("q2", "d2", 3)]}
    assert raw.dropped == {
        "document_blank": 1,
        "query_blank": 1,
        "query_without_relevant": 2,
        "qrel_not_relevant": 2,
        "qrel_of_blank": 2,
        "qrel_repeated": 1,
    }


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"corpus.jsonl": None},
            "corpus.jsonl: not found; a BEIR folder holds corpus.jsonl, queries.jsonl and qrels/*.tsv",
        ),
        ({"queries.jsonl": None}, "queries.jsonl: not found"),
        ({"qrels/all.tsv": None}, "qrels: no judgments; expected all.tsv, or any of train.tsv, dev.tsv and test.tsv"),
        ({"corpus.jsonl": ""}, "corpus.jsonl: no rows"),
        ({"corpus.jsonl": "\n \n"}, "corpus.jsonl: no rows"),
        ({"corpus.jsonl": CORPUS + '{"_id": "d3", "text": oops}\n'}, "corpus.jsonl:3: not valid JSON at column 23"),
        ({"corpus.jsonl": CORPUS + "\n" + '{"_id": "d3"'}, "corpus.jsonl:4: not valid JSON at column 13"),
        ({"corpus.jsonl": CORPUS + "[" * 100_000}, "corpus.jsonl:3: JSON too deep"),
        ({"corpus.jsonl": CORPUS + "9" * 5_000}, "corpus.jsonl:3: JSON too deep or with too long a number"),
        ({"corpus.jsonl": CORPUS + "[1]"}, "corpus.jsonl:3: got a list, expected an object"),
        ({"corpus.jsonl": CORPUS + "null"}, "corpus.jsonl:3: got null, expected an object"),
        ({"corpus.jsonl": b'{"_id": "d1", "text": "caf\xe9"}'}, "corpus.jsonl:1: byte 27 is not UTF-8"),
        (
            {"corpus.jsonl": CORPUS + '{"text": "x"}'},
            "corpus.jsonl:3: \"_id\" is missing, got the keys ['text']; add it",
        ),
        ({"corpus.jsonl": CORPUS + '{"_id": "d3"}'}, 'corpus.jsonl:3: "text" is missing'),
        ({"corpus.jsonl": CORPUS + '{"_id": 3, "text": "x"}'}, 'corpus.jsonl:3: "_id" is a number, expected a string'),
        ({"corpus.jsonl": CORPUS + '{"_id": "3", "text": null}'}, 'corpus.jsonl:3: "text" is null, expected a string'),
        ({"corpus.jsonl": CORPUS + '{"_id": "3", "title": [], "text": ""}'}, 'corpus.jsonl:3: "title" is a list'),
        (
            {"corpus.jsonl": CORPUS + '{"_id": " ", "text": "x"}'},
            "corpus.jsonl:3: \"_id\" is ' ', expected text without tabs",
        ),
        ({"corpus.jsonl": CORPUS + '{"_id": "a\\tb", "text": "x"}'}, "corpus.jsonl:3: \"_id\" is 'a\\tb'"),
        (
            {"corpus.jsonl": CORPUS + '{"_id": "d3", "text": "\\ud800"}'},
            'corpus.jsonl:3: "text" has half of a surrogate pair',
        ),
        (
            {"corpus.jsonl": CORPUS + '{"_id": "d1", "text": "x"}'},
            "corpus.jsonl:3: \"_id\" 'd1' is already on line 1; make ids",
        ),
        (
            {"queries.jsonl": QUERIES + '{"_id": "q2", "text": "x"}'},
            "queries.jsonl:3: \"_id\" 'q2' is already on line 2",
        ),
        ({"queries.jsonl": QUERIES + '{"_id": "q3"}'}, 'queries.jsonl:3: "text" is missing'),
        ({"qrels/all.tsv": ""}, "all.tsv:1: header is '', expected 'query-id\\tcorpus-id\\tscore' (two tabs)"),
        ({"qrels/all.tsv": "q1\td1\t1\n"}, "all.tsv:1: header is 'q1\\td1\\t1', expected"),
        ({"qrels/all.tsv": HEADER.replace("\t", " ")}, "all.tsv:1: header is 'query-id corpus-id score', expected"),
        ({"qrels/all.tsv": HEADER}, "all.tsv: no judgment of 1 or more"),
        ({"qrels/all.tsv": HEADER + "q1\td1\t0"}, "all.tsv: no judgment of 1 or more"),
        ({"qrels/all.tsv": HEADER + "q1 d1 1"}, "all.tsv:2: 1 columns, expected 3 with tabs between"),
        ({"qrels/all.tsv": HEADER + "q1\td1\t1\t1"}, "all.tsv:2: 4 columns, expected 3"),
        ({"qrels/all.tsv": HEADER + "q9\td1\t1"}, "all.tsv:2: query-id 'q9' is not in queries.jsonl; add the query or"),
        (
            {"qrels/all.tsv": HEADER + "q1\td9\t1"},
            "all.tsv:2: corpus-id 'd9' is not in corpus.jsonl; add the document or",
        ),
        ({"qrels/all.tsv": HEADER + "q1\td1\t1.0"}, "all.tsv:2: score is '1.0', expected a whole number such as 1"),
        ({"qrels/all.tsv": HEADER + "q1\td1\t9999999999"}, "all.tsv:2: score is '9999999999', expected a whole number"),
        ({"qrels/all.tsv": HEADER + "q1\td1\t٣"}, "all.tsv:2: score is '\\u0663', expected a whole number"),
        ({"qrels/all.tsv": HEADER + "q1\td1\t1\n\nq1\td1\t2"}, "all.tsv:4: score is 2, but 1 in"),
        ({"qrels/train.tsv": HEADER}, "qrels: got all.tsv, train.tsv, expected all.tsv, or any of"),
        ({"qrels/all.tsv": None, "qrels/valid.tsv": HEADER}, "qrels: got valid.tsv, expected all.tsv, or any of"),
        (
            {"qrels/all.tsv": None} | {f"qrels/{split}.tsv": HEADER + "q1\td1\t1" for split in ("train", "test")},
            "test.tsv:2: query-id 'q1' is also in",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_file_and_line(tmp_path: Path, files: Files, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_beir(write(tmp_path, files))
    text = str(caught.value)
    assert message in text
    assert text.startswith(str(tmp_path))
    assert text.isprintable() and len(text) < 300 + 2 * len(str(tmp_path))


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.text(), max_size=2)
)
ROWS = st.dictionaries(st.sampled_from(["_id", "title", "text", "x"]), st.one_of(VALUES, st.sampled_from(["1", "2"])))
LINES = st.lists(st.one_of(ROWS.map(json.dumps), st.text(max_size=9), st.sampled_from(["[]", '"', "{}"])), max_size=4)
JSONL = st.one_of(LINES.map(lambda lines: "\n".join(lines).encode()), st.binary(max_size=20))
CELLS = st.sampled_from(["q1", "q2", "d1", "d2", "0", "1", "-2", "1e3", "", " ", "\t", "\x00", "é"])
TSV = st.one_of(
    st.lists(st.lists(CELLS, max_size=4).map("\t".join), max_size=4).map(
        lambda rows: (HEADER + "\n".join(rows)).encode()
    ),
    st.binary(max_size=20),
)


@settings(max_examples=300, deadline=None)
@given(
    st.fixed_dictionaries(
        {}, optional={"corpus.jsonl": JSONL, "queries.jsonl": JSONL, "qrels/all.tsv": TSV, "qrels/dev.tsv": TSV}
    )
)
def test_any_folder_is_read_or_refused_with_one_line(files: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            raw = read_beir(write(Path(folder), files))
        except BadInput as error:
            assert "\n" not in str(error)
            return
    judged = [qrel for qrels in raw.qrels.values() for qrel in qrels]
    assert {qrel.query_id for qrel in judged} == {query.query_id for query in raw.queries} != set()
    assert {qrel.document_id for qrel in judged} <= {document.document_id for document in raw.documents}
    assert all(qrel.relevance > 0 for qrel in judged)


@pytest.mark.parametrize(
    ("name", "n_documents", "n_queries", "n_qrels"),
    [
        ("scifact", 5183, 1109, {"train": 919, "test": 339}),
        ("nl2bash", 10594, 11322, {"all": 12596}),
        ("medquad", 4550, 3609, {"train": 3837, "dev": 338, "test": 384}),
    ],
)
def test_real_folders_give_their_published_counts(
    name: str, n_documents: int, n_queries: int, n_qrels: dict[str, int]
) -> None:
    default = Path(__file__).parents[2] / "shared" / "datasets"
    folder = Path(os.environ.get("ATTUNE_DATASETS", default)) / name
    if not folder.is_dir():
        pytest.skip(f"{name} is not there; set ATTUNE_DATASETS to the folder of the data sets")
    raw = read_beir(folder)
    assert (len(raw.documents), len(raw.queries)) == (n_documents, n_queries)
    assert {split: len(qrels) for split, qrels in raw.qrels.items()} == n_qrels
    assert not +raw.dropped
