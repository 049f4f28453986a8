"""Lines and JSON objects of text files: valid ones are read, each bad one is a problem with its file and line."""

import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attune.data.sources.files.lines import id_of, read_jsonl, read_lines, shown, text_of
from attune.errors import BadInput, Problems

MIB = 1024 * 1024


def zst(content: bytes) -> bytes:
    packed: bytes = pa.compress(content, codec="zstd", asbytes=True)
    return packed


def lines_of(folder: Path, content: bytes, name: str = "x.txt") -> tuple[list[tuple[str, str]], str]:
    """Reads a file; returns its lines with their numbers, and the problems."""
    (folder / name).write_bytes(content)
    problems = Problems()
    lines = []
    try:
        lines += ((where.rpartition(":")[2], text) for where, text in read_lines(folder / name, problems))
        problems.check()
    except BadInput as error:
        return lines, str(error).replace(f"{folder}/", "")
    return lines, ""


@pytest.mark.parametrize(
    "content",
    [b"a\n\n b \nc", b"a\n\n b \nc\n\n", b"a\r\n\r\n b \r\nc\r\n", b"\xef\xbb\xbfa\n \t\n b \nc\n"],
    ids=["last line without end", "blank lines", "CRLF", "BOM"],
)
@pytest.mark.parametrize(("name", "pack"), [("x.txt", bytes), ("x.txt.gz", gzip.compress), ("x.txt.zst", zst)])
def test_line_ends_byte_order_mark_and_compression_make_no_difference(
    tmp_path: Path, content: bytes, name: str, pack: Any
) -> None:
    """Lines and their numbers are those of the plain file."""
    assert lines_of(tmp_path, pack(content), name) == ([("1", "a"), ("3", " b "), ("4", "c")], "")


def test_archives_of_several_parts_are_read_whole(tmp_path: Path) -> None:
    """As parallel compressors and concatenation write them."""
    expected = ([("1", "a"), ("2", "b")], "")
    assert lines_of(tmp_path, gzip.compress(b"a\n") + gzip.compress(b"b\n"), "x.gz") == expected
    assert lines_of(tmp_path, zst(b"a\n") + zst(b"b\n"), "x.zst") == expected


@pytest.mark.parametrize(
    ("content", "kept", "problem"),
    [
        (b"a\ncaf\xe9\nc\n", ["1", "3"], "x.txt:2: byte 4 is not UTF-8; save the file as UTF-8"),
        (b"\xed\xa0\x80\nb", ["2"], "x.txt:1: byte 1 is not UTF-8"),
        (b"a\nb\0\nc", ["1", "3"], "x.txt:2: byte 2 is NUL; remove it"),
        (b"a\n" + b"x" * (16 * MIB + 1) + b"\nc", ["1", "3"], "x.txt:2: the line has more than 16777216 bytes"),
        (b"a\n" + b"x" * (16 * MIB - 1) + b"\nc", ["1", "2", "3"], ""),
        (
            b"x" * (50 * MIB) + b"\n" + b"y" * (50 * MIB) + b"\nc",
            ["3"],
            "x.txt:1: the line has more than 16777216 bytes",
        ),
        ("a\nb".encode("utf-16"), [], "x.txt:1: the file is UTF-16"),
        ("ab\nb".encode("utf-16-le"), [], "x.txt:1: the file is UTF-16; save the file as UTF-8"),
        ("ab\nb".encode("utf-16-be"), [], "x.txt:1: the file is UTF-16; save the file as UTF-8"),
        ("a\nb".encode("utf-32"), [], "x.txt:1: the file is UTF-16 or UTF-32; save"),
        (gzip.compress(b"a", mtime=0), [], "x.txt:1: the file is compressed with gzip; end its name in .gz"),
        (zst(b"a"), [], "x.txt:1: the file is compressed with Zstandard; end its name in .zst"),
        (b"PK\x03\x04rest", [], "x.txt:1: the file is a zip archive or a spreadsheet"),
        (b"PAR1rest", [], "x.txt:1: the file is parquet"),
    ],
)
def test_a_line_or_file_that_is_no_text_is_a_problem(
    tmp_path: Path, content: bytes, kept: list[str], problem: str
) -> None:
    """NUL, another encoding, a zip archive or a line that is too long; the message says what to do."""
    lines, problems = lines_of(tmp_path, content)
    assert [number for number, _ in lines] == kept
    assert problems.startswith(problem) and bool(problems) == bool(problem)
    assert problems.count("\n") == (2 if content.startswith(b"xxx") else 0)


NOISE = b"".join(b"%d\n" % (i * 7919 % 1_000_003) for i in range(100_000))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.gz", gzip.compress(NOISE, mtime=0)[:-9], "Truncated compressed stream"),
        ("x.gz", gzip.compress(NOISE, mtime=0)[:1000], "Truncated compressed stream"),
        (
            "x.gz",
            gzip.compress(NOISE, mtime=0)[:-8] + b"0000" + gzip.compress(NOISE, mtime=0)[-4:],
            "incorrect data check",
        ),
        ("x.gz", NOISE, "incorrect header check"),
        ("x.zst", zst(NOISE)[:-9], "Truncated compressed stream"),
        ("x.zst", NOISE, "Unknown frame descriptor"),
    ],
)
def test_a_damaged_archive_is_one_problem_at_the_line_where_it_ends(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    """The lines before it are read."""
    lines, problem = lines_of(tmp_path, content, name)
    assert problem.startswith(f"{name}:{len(lines) + 1}: cannot be read on (") and "\n" not in problem
    assert reason in problem and problem.endswith("; make or download the file again")


def test_a_missing_file_or_a_folder_is_one_problem(tmp_path: Path) -> None:
    """The message says which of the two it is."""
    for path, found in ((tmp_path / "no.txt", "not found"), (tmp_path, "a folder, expected a file")):
        with pytest.raises(BadInput, match=f"{path.name}: {found}; check the path"):
            next(read_lines(path, Problems()))


def test_an_endless_line_takes_no_memory(tmp_path: Path) -> None:
    """128 MiB on one line, packed in 1% of that, are passed over in pieces of the limit's size."""
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"x" * (128 * MIB), compresslevel=1))
    tracemalloc.start()
    problems = Problems()
    assert list(read_lines(tmp_path / "x.gz", problems)) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert problems.n == 1
    assert peak < 48 * MIB


def test_bad_lines_of_json_are_problems_and_the_others_are_read(tmp_path: Path) -> None:
    """Broken JSON, other values than objects, too deep or too long ones, and keys that stand twice."""
    bad = ["[1]", "null", "3", '"a"', "{oops}", '{"a": 1', "[" * 100_000, "9" * 5000, '{"a": 1} {"b": 2}', "true"]
    bad += ['{"a": 1, "a": 1}', '{"b": {"c": 1, "c": 2}}']
    (tmp_path / "x.jsonl").write_text("\n".join(['{"a": 0}', *bad, '{"a": 9}']))
    problems = Problems()
    records = list(read_jsonl(tmp_path / "x.jsonl", problems))
    assert records == [(f"{tmp_path}/x.jsonl:1", {"a": 0}), (f"{tmp_path}/x.jsonl:14", {"a": 9})]
    assert problems.n == len(bad)
    with pytest.raises(BadInput) as caught:
        problems.check()
    lines = [line.partition("jsonl:")[2] for line in str(caught.value).split("\n")]
    assert lines[0] == "2: got a list, expected an object; write one object a line"
    assert lines[4].startswith("6: not valid JSON at column 2 (Expecting property name")
    assert lines[10:12] == [
        "12: the key 'a' stands twice in one object; keep one of the two",
        "13: the key 'c' stands twice in one object; keep one of the two",
    ]
    assert lines[6] == "8: JSON too deep or with too long a number; write one flat object a line"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", ""),
        ("caf\u00e9 \U0001f600", ""),
        (None, '"k" is null, expected a string'),
        (1, '"k" is a whole number, expected'),
        (1.5, '"k" is a number'),
        (True, '"k" is a boolean'),
        (b"x", '"k" is bytes'),
        ("a\0b", '"k" holds a NUL character; remove it'),
        ("a\ud800b", '"k" has half of a surrogate pair'),
        ("\udfff", '"k" has half of a surrogate pair'),
    ],
)
def test_texts_are_strings_that_utf8_can_write(value: object, problem: str) -> None:
    """Other types, NUL and half surrogate pairs are problems."""
    problems = Problems()
    assert text_of("f:1", {"k": value}, "k", problems) == (None if problem else value)
    assert problems.n == bool(problem)
    if problem:
        with pytest.raises(BadInput, match=f"^f:1: {problem}"):
            problems.check()


def test_a_missing_key_has_its_default_or_is_a_problem() -> None:
    """The message lists the keys that are there."""
    problems = Problems()
    assert text_of("f:1", {}, "k", problems, default="") == ""
    assert text_of("f:1", {"a": 1}, "k", problems) is None
    with pytest.raises(BadInput, match=r'^f:1: "k" is missing, got the keys \[\'a\'\]; add it$'):
        problems.check()


@pytest.mark.parametrize(
    ("value", "id_"),
    [("a b", "a b"), (7, "7"), (-7, "-7"), (7.0, "7"), ("7", "7"), ("x" * 500, "x" * 500), ("\u00e9", "\u00e9")]
    + [
        (bad, None)
        for bad in (
            "",
            " ",
            "a\tb",
            "a\nb",
            "a\r",
            "\0",
            "\ud800",
            "x" * 501,
            10**600,
            True,
            1.5,
            1e300,
            float("nan"),
            None,
        )
    ],
)
def test_ids_are_short_text_on_one_line_or_whole_numbers(value: object, id_: str | None) -> None:
    """Blank, long, tabbed or fractional ids are problems."""
    problems = Problems()
    assert id_of("f:1", {"k": value}, "k", problems) == id_
    assert problems.n == (id_ is None)


DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]


@given(st.recursive(st.none() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=9))
def test_a_value_is_formatted_as_short_printable_ascii(value: object) -> None:
    """Also a number of thousands of digits, or lists in lists a thousand deep."""
    for each in (value, json.dumps(value), 10**5000, DEEP):
        assert shown(each).isprintable() and shown(each).isascii() and len(shown(each)) <= 80
