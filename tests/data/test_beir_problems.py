"""All problems of a BEIR folder are reported at once, each with its file, line, column and remedy."""

import gzip
from pathlib import Path

import pytest
from beir_folders import CORPUS, HEADER, QUERIES, Files, write

from attune.data.sources.beir import read_beir
from attune.errors import BadInput


def test_all_problems_of_all_files_are_reported_at_once(tmp_path: Path) -> None:
    """None follows from another: ids of malformed rows are known, and with unreadable ids none is called unknown."""
    files: Files = {
        "corpus.jsonl": '{"_id": "d1", "text": 1}\n{"_id": "d2", "title": 2}\n',
        "queries.jsonl": QUERIES.replace('"q2"', "oops") + '{"_id": "q1", "text": "other"}\n',
        "qrels/all.tsv": HEADER + "q1\td1\tNaN\nq2\td2\t1\nq2\td9\t0.5\nq1\td2\t1\nq1\td2\t2\n",
    }
    with pytest.raises(BadInput) as caught:
        read_beir(write(tmp_path, files))
    *problems, total = str(caught.value).split("\n")
    assert [problem.replace(f"{tmp_path}/", "").partition(",")[0] for problem in problems] == [
        'corpus.jsonl:1: "text" is a whole number',
        'corpus.jsonl:2: "title" is a whole number',
        'corpus.jsonl:2: "text" is missing',
        "queries.jsonl:2: not valid JSON at column 9 (Expecting value); write one object a line",
        "queries.jsonl:3: \"_id\" 'q1' is already on line 1 with other content; give each row its own id",
        "qrels/all.tsv:2: score is 'NaN'",
        "qrels/all.tsv:4: corpus-id 'd9' is not in corpus.jsonl; add its row there or remove this line",
        "qrels/all.tsv:4: score is '0.5'",
        "qrels/all.tsv:6: score is 2",
    ]
    assert total == "9 problems"


def test_a_wrong_header_or_a_damaged_file_is_one_problem(tmp_path: Path) -> None:
    """However many lines follow."""
    rows = "q1\t0\td1\t1\n" * 1000
    files: Files = {"corpus.jsonl": None, "corpus.jsonl.gz": gzip.compress(CORPUS.encode())[:-3], "qrels/all.tsv": rows}
    with pytest.raises(BadInput) as caught:
        read_beir(write(tmp_path, files))
    problems = str(caught.value).split("\n")
    assert len(problems) == 3 and "corpus.jsonl.gz:1: cannot be read on" in problems[0]
    assert "all.tsv:1: the first line is no header but 'q1\\t0\\td1\\t1'" in problems[1]


def test_a_query_in_two_splits_is_one_problem(tmp_path: Path) -> None:
    """However many judgments it has."""
    qrels = HEADER + "q1\td1\t1\nq1\td2\t1\nq2\td2\t1\n"
    with pytest.raises(BadInput) as caught:
        read_beir(write(tmp_path, {"qrels/all.tsv": None, "qrels/dev.tsv": qrels, "qrels/test.tsv": qrels}))
    assert [line.rpartition("/")[2][:26] for line in str(caught.value).split("\n")] == [
        "test.tsv:2: query-id 'q1' ",
        "test.tsv:4: query-id 'q2' ",
        "2 problems",
    ]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"corpus.jsonl": None},
            "corpus.jsonl: not found; a BEIR folder holds corpus.jsonl, queries.jsonl and qrels/*.tsv",
        ),
        ({"queries.jsonl": None}, "queries.jsonl: not found"),
        (
            {"qrels/all.tsv": None},
            "qrels: no judgments; expected all.tsv, or any of train.tsv, dev.tsv (also validation.tsv",
        ),
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
        (
            {"corpus.jsonl": CORPUS + '{"_id": 3.5, "text": "x"}'},
            'corpus.jsonl:3: "_id" is a number, expected a string',
        ),
        ({"corpus.jsonl": CORPUS + '{"_id": "3", "text": null}'}, 'corpus.jsonl:3: "text" is null, expected a string'),
        ({"corpus.jsonl": CORPUS + '{"_id": "3", "title": [], "text": ""}'}, 'corpus.jsonl:3: "title" is a list'),
        (
            {"corpus.jsonl": CORPUS + '{"_id": " ", "text": "x"}'},
            "corpus.jsonl:3: \"_id\" is ' ', expected 1 to 500 characters of text without tabs",
        ),
        ({"corpus.jsonl": CORPUS + '{"_id": "a\\tb", "text": "x"}'}, "corpus.jsonl:3: \"_id\" is 'a\\tb'"),
        (
            {"corpus.jsonl": CORPUS + '{"_id": "d3", "text": "\\ud800"}'},
            'corpus.jsonl:3: "text" has half of a surrogate pair',
        ),
        (
            {"corpus.jsonl": CORPUS + '{"_id": "d1", "text": "x"}'},
            "corpus.jsonl:3: \"_id\" 'd1' is already on line 1 with other content; give",
        ),
        (
            {"queries.jsonl": QUERIES + '{"_id": "q2", "text": "x"}'},
            "queries.jsonl:3: \"_id\" 'q2' is already on line 2",
        ),
        ({"queries.jsonl": QUERIES + '{"_id": "q3"}'}, 'queries.jsonl:3: "text" is missing'),
        (
            {"qrels/all.tsv": ""},
            "all.tsv:1: the first line is empty, expected the header 'query-id\\tcorpus-id\\tscore' (two tabs;",
        ),
        (
            {"qrels/all.tsv": "q1\td1\t1\n"},
            "all.tsv:1: the first line is no header but 'q1\\td1\\t1', expected the header",
        ),
        (
            {"qrels/all.tsv": HEADER.replace("\t", " ")},
            "all.tsv:1: the first line is 'query-id corpus-id score', expected the header",
        ),
        ({"qrels/all.tsv": HEADER}, "all.tsv: no judgment of 1 or more"),
        ({"qrels/all.tsv": HEADER + "q1\td1\t0"}, "all.tsv: no judgment of 1 or more"),
        ({"qrels/all.tsv": HEADER + "q1 d1 1"}, "all.tsv:2: 1 columns, expected 3 with tabs between"),
        ({"qrels/all.tsv": HEADER + "q1\td1\t1\t1"}, "all.tsv:2: 4 columns, expected 3"),
        (
            {"qrels/all.tsv": HEADER + "q9\td1\t1"},
            "all.tsv:2: query-id 'q9' is not in queries.jsonl; add its row there or",
        ),
        (
            {"qrels/all.tsv": HEADER + "q1\td9\t1"},
            "all.tsv:2: corpus-id 'd9' is not in corpus.jsonl; add its row there or",
        ),
        ({"qrels/all.tsv": HEADER + "q1\td1\t0.5"}, "all.tsv:2: score is '0.5', expected a whole number such as 1"),
        ({"qrels/all.tsv": HEADER + "q1\td1\t9999999999"}, "all.tsv:2: score is '9999999999', expected a whole number"),
        ({"qrels/all.tsv": HEADER + "q1\td1\t٣"}, "all.tsv:2: score is '\\u0663', expected a whole number"),
        (
            {"qrels/all.tsv": HEADER + "q1\td1\t1\n\nq1\td1\t2"},
            "all.tsv:4: score is 2, but 1 on line 2 for the same pair",
        ),
        (
            {"corpus.jsonl.gz": gzip.compress(CORPUS.encode())},
            "got corpus.jsonl and corpus.jsonl.gz, expected one of them",
        ),
        ({"qrels/all.tsv.gz": gzip.compress(b"")}, "qrels: got all.tsv, all.tsv.gz, expected all.tsv, or any of"),
        ({"corpus.jsonl": CORPUS.encode("utf-16")}, "corpus.jsonl:1: the file is UTF-16"),
        ({"corpus.jsonl": gzip.compress(CORPUS.encode())}, "corpus.jsonl:1: the file is compressed with gzip; end"),
        ({"corpus.jsonl": CORPUS + '{"_id": "d3", "text": "\0"}'}, "corpus.jsonl:3: byte 24 is NUL"),
        ({"corpus.jsonl": CORPUS + '{"_id": "d3", "text": "\\u0000"}'}, 'corpus.jsonl:3: "text" holds a NUL'),
        ({"corpus.jsonl": CORPUS + "x" * 17_000_000}, "corpus.jsonl:3: the line has more than 16777216 bytes"),
        ({"corpus.jsonl": CORPUS + '{"_id": 2, "text": "x"}\n{"_id": "2", "text": "y"}'}, "\"_id\" '2' is already on"),
        ({"qrels/all.tsv": HEADER + "q1\td1\tnan"}, "all.tsv:2: score is 'nan', expected a whole number"),
        ({"qrels/all.tsv": "query-id\tcorpus-id\n"}, "all.tsv:1: the first line is 'query-id\\tcorpus-id', expected"),
        ({"qrels/all.tsv": (HEADER + "q1\td1\t1").encode("utf-16-le")}, "all.tsv:1: the file is UTF-16"),
        ({"qrels/train.tsv": HEADER}, "qrels: got all.tsv, train.tsv, expected all.tsv, or any of"),
        ({"qrels/all.tsv": None, "qrels/rest.tsv": HEADER}, "qrels: got rest.tsv, expected all.tsv, or any of"),
        (
            {"qrels/all.tsv": None} | {f"qrels/{split}.tsv": HEADER + "q1\td1\t1" for split in ("train", "test")},
            "test.tsv:2: query-id 'q1' is also in train.tsv; a query belongs to one split",
        ),
    ],
)
def test_each_problem_names_its_file_and_line(tmp_path: Path, files: Files, message: str) -> None:
    """On one printable line, with what to do."""
    with pytest.raises(BadInput) as caught:
        read_beir(write(tmp_path, files))
    text = str(caught.value)
    assert message in text
    assert text.startswith(str(tmp_path))
    assert text.isprintable() and len(text) < 300 + 2 * len(str(tmp_path))
