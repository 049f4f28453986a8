"""A BEIR folder is read completely, or refused with the file, the line and what to do."""

import gzip
import json
import os
from pathlib import Path

import pyarrow as pa
import pytest
from beir_folders import ALL, CORPUS, HEADER, QUERIES, Files, write

from attune.data.sources.beir import read_beir
from attune.data.sources.raw import Document, Qrel, Query
from attune.errors import BadInput


def test_rows_keep_their_order_text_and_grades(tmp_path: Path) -> None:
    """Documents, queries and judgments are as in the files, and nothing is dropped."""
    raw = read_beir(write(tmp_path, {}))
    assert raw.documents == [Document("d1", "One", "first"), Document("d2", "", "second")]
    assert raw.queries == [Query("q1", "which is first?"), Query("q2", "which is second?")]
    assert raw.qrels == {"all": [Qrel("q1", "d1", 1), Qrel("q2", "d2", 2)]}
    assert not +raw.dropped


def test_given_splits_come_in_the_order_train_dev_test(tmp_path: Path) -> None:
    """Whatever the order of their file names."""
    splits: Files = {
        "qrels/all.tsv": None,
        "qrels/test.tsv": HEADER + "q1\td1\t1\n",
        "qrels/train.tsv": HEADER + "q2\td2\t1",
    }
    raw = read_beir(write(tmp_path, splits))
    assert list(raw.qrels.items()) == [("train", [Qrel("q2", "d2", 1)]), ("test", [Qrel("q1", "d1", 1)])]


@pytest.mark.parametrize("name", ["validation.tsv", "valid.tsv", "val.tsv", "dev.tsv"])
def test_validation_is_dev(tmp_path: Path, name: str) -> None:
    """The names under which other collections keep their dev judgments are read as dev."""
    splits: Files = {
        "qrels/all.tsv": None,
        f"qrels/{name}": HEADER + "q1\td1\t1\n",
        "qrels/train.tsv": HEADER + "q2\td2\t1",
    }
    raw = read_beir(write(tmp_path, splits))
    assert list(raw.qrels.items()) == [("train", [Qrel("q2", "d2", 1)]), ("dev", [Qrel("q1", "d1", 1)])]


def test_two_files_for_dev_are_one_problem(tmp_path: Path) -> None:
    """Neither dev.tsv nor validation.tsv is taken in silence."""
    dev = HEADER + "q1\td1\t1\n"
    files: Files = {"qrels/all.tsv": None, "qrels/dev.tsv": dev, "qrels/validation.tsv": dev}
    with pytest.raises(
        BadInput, match=r"qrels: got dev\.tsv, train\.tsv, validation\.tsv, expected .*each once"
    ) as error:
        read_beir(write(tmp_path, {**files, "qrels/train.tsv": HEADER + "q2\td2\t1"}))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["train", "dev", "validation", "test"])
def test_a_single_file_of_judgments_is_split_later(tmp_path: Path, name: str) -> None:
    """Its judgments are under "all", whatever its name."""
    files: Files = {"qrels/all.tsv": None, f"qrels/{name}.tsv": ALL["qrels/all.tsv"]}
    assert read_beir(write(tmp_path / "one", files)) == read_beir(write(tmp_path / "all", {}))


def test_dev_and_test_need_train(tmp_path: Path) -> None:
    """The message names the file that is missing."""
    files: Files = {
        "qrels/all.tsv": None,
        "qrels/dev.tsv": HEADER + "q1\td1\t1\n",
        "qrels/test.tsv": HEADER + "q2\td2\t1",
    }
    with pytest.raises(BadInput, match=r"qrels: got dev\.tsv and test\.tsv, expected train\.tsv as well; add it"):
        read_beir(write(tmp_path, files))


def test_windows_files_blank_lines_and_other_keys_are_read(tmp_path: Path) -> None:
    """Byte order mark, CRLF, blank lines and unknown keys change nothing."""
    corpus = "\ufeff" + CORPUS.replace("\n", "\r\n\r\n").replace('"text"', '"metadata": {"a": [1]}, "text"')
    raw = read_beir(
        write(tmp_path, {"corpus.jsonl": corpus, "qrels/all.tsv": ALL["qrels/all.tsv"].replace("\n", "\r\n")})
    )
    assert raw == read_beir(write(tmp_path / "plain", {}))


def test_blank_rows_and_unanswered_queries_are_dropped_and_counted(tmp_path: Path) -> None:
    """Their judgments are dropped, too; a document without a judgment stays."""
    raw = read_beir(
        write(
            tmp_path,
            {
                "corpus.jsonl": CORPUS
                + '{"_id": "blank", "title": " ", "text": "\\n"}\n{"_id": "far", "text": "unasked"}\n',
                "queries.jsonl": QUERIES
                + '{"_id": "q3", "text": ""}\n{"_id": "q4", "text": "unjudged"}\n{"_id": "q5", "text": "only 0"}\n',
                "qrels/all.tsv": HEADER
                + "q1\td1\t1\nq1\td2\t-1\nq1\tblank\t1\nq1\td1\t1.0\nq2\td2\t3\nq3\td1\t1\nq5\td2\t0\n",
            },
        )
    )
    assert [d.document_id for d in raw.documents] == ["d1", "d2", "far"]
    assert [q.query_id for q in raw.queries] == ["q1", "q2"]
    assert raw.qrels == {"all": [Qrel("q1", "d1", 1), Qrel("q1", "d2", 0), Qrel("q2", "d2", 3)]}
    assert raw.dropped == {
        "document_blank": 1,
        "query_blank": 1,
        "document_repeated": 0,
        "query_repeated": 0,
        "query_without_relevant": 2,
        "qrel_of_blank": 2,
        "qrel_repeated": 1,
    }


def test_judgment_columns_come_in_any_order(tmp_path: Path) -> None:
    """Scores may be written 1, 1.0 or 2.; white space around them does not count."""
    qrels = "score\tquery-id \tcorpus-id\n1.0\tq1\td1\n 2.\tq2\td2"
    assert read_beir(write(tmp_path, {"qrels/all.tsv": qrels})) == read_beir(write(tmp_path / "plain", {}))


def test_packed_files_are_read_like_plain_ones(tmp_path: Path) -> None:
    """gzip and Zstandard, for rows and judgments."""
    packed: Files = {**dict.fromkeys(ALL), "corpus.jsonl.gz": gzip.compress(CORPUS.encode())}
    packed["queries.jsonl.zst"] = pa.compress(QUERIES.encode(), codec="zstd", asbytes=True)
    packed["qrels/all.tsv.gz"] = gzip.compress(ALL["qrels/all.tsv"].encode())
    assert read_beir(write(tmp_path, packed)) == read_beir(write(tmp_path / "plain", {}))


def test_whole_numbers_are_ids_and_a_null_title_is_empty(tmp_path: Path) -> None:
    """Id 17 is "17" in rows and judgments."""
    files: Files = {name: content.replace('"d1"', "17") for name, content in ALL.items()}
    files["corpus.jsonl"] = str(files["corpus.jsonl"]).replace('"One"', "null")
    files["qrels/all.tsv"] = HEADER + "q1\t17\t1\nq2\td2\t2\n"
    raw = read_beir(write(tmp_path, files))
    assert raw.documents[0] == Document("17", "", "first") and raw.qrels["all"][0] == Qrel("q1", "17", 1)


def test_groups_and_strata_are_read_from_the_object_or_its_metadata(tmp_path: Path) -> None:
    """A key that no query has, or a value that is no label, is a problem."""
    queries = [
        {"_id": "q1", "text": "a", "page": 7, "metadata": {"kind": "x"}},
        {"_id": "q2", "text": "b", "metadata": {"page": "8"}, "kind": None},
    ]
    raw = read_beir(write(tmp_path, {"queries.jsonl": "\n".join(map(json.dumps, queries))}), "page", "kind")
    assert raw.queries == [Query("q1", "a", "7", "x"), Query("q2", "b", "8", "")]
    with pytest.raises(BadInput, match="queries.jsonl: no query has 'pages'; set collect.columns.group to a key"):
        read_beir(tmp_path, "pages", "kind")
    with pytest.raises(BadInput, match='queries.jsonl:1: "metadata" is an object, expected a string'):
        read_beir(tmp_path, stratum="metadata")


def test_repeated_rows_are_dropped_and_counted(tmp_path: Path) -> None:
    """Equal rows of one id are one row."""
    raw = read_beir(write(tmp_path, {"corpus.jsonl": CORPUS * 3, "queries.jsonl": QUERIES * 2}))
    assert (len(raw.documents), len(raw.queries)) == (2, 2)
    assert +raw.dropped == {"document_repeated": 4, "query_repeated": 2}


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
    """Documents, queries and judgments of public BEIR data sets."""
    default = Path(__file__).parents[3] / "shared" / "datasets"
    folder = Path(os.environ.get("ATTUNE_DATASETS", default)) / name
    if not folder.is_dir():
        pytest.skip(f"{name} is not there; set ATTUNE_DATASETS to the folder of the data sets")
    raw = read_beir(folder)
    assert (len(raw.documents), len(raw.queries)) == (n_documents, n_queries)
    assert {split: len(qrels) for split, qrels in raw.qrels.items()} == n_qrels
    assert not +raw.dropped
