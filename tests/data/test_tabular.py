"""Tables in csv, tsv, jsonl and parquet give the same rows, or say where they are broken."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attune.data.sources.files.tabular import columns_of, read_table, single_file
from attune.errors import BadInput, Problems


def table(path: Path, content: str | bytes, only: tuple[str, ...] = ()) -> list[tuple[str, dict[str, Any]]]:
    """The rows of a file with this content; the folder is left out of their places."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    problems = Problems()
    rows = [(where.rpartition("/")[2], row) for where, row in read_table(path, problems, only)]
    problems.check()
    return rows


def refusal(path: Path, content: str | bytes) -> list[str]:
    """The problems of a file with this content, without the folder."""
    with pytest.raises(BadInput) as error:
        table(path, content)
    return [line.replace(f"{path.parent}/", "") for line in error.value.args]


def write_parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_the_four_formats_give_the_same_rows(tmp_path: Path) -> None:
    """Cells are the same text whatever they are stored in; places are lines, or rows in parquet."""
    rows = [{"q": 'say "hi", you', "d": "a\tb"}, {"q": "é 漢", "d": "c"}]
    csv_rows = table(tmp_path / "t.csv", 'q,d\n"say ""hi"", you",a\tb\né 漢,c\n')
    tsv_rows = table(tmp_path / "t.tsv", 'q\td\n"say ""hi"", you"\t"a\tb"\né 漢\tc\n')
    jsonl_rows = table(tmp_path / "t.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    path = write_parquet(tmp_path / "t.parquet", q=[row["q"] for row in rows], d=["a\tb", "c"])
    parquet_rows = list(read_table(path, Problems()))
    assert [row for _, row in csv_rows] == [row for _, row in tsv_rows] == [row for _, row in jsonl_rows] == rows
    assert [row for _, row in parquet_rows] == rows
    assert [where for where, _ in csv_rows] == ["t.csv:2", "t.csv:3"]
    assert [where for where, _ in jsonl_rows] == ["t.jsonl:1", "t.jsonl:2"]
    assert [where for where, _ in parquet_rows] == [f"{path}: row 1", f"{path}: row 2"]


def test_a_cell_may_span_lines_and_rows_are_known_by_their_first(tmp_path: Path) -> None:
    """Line ends and blank lines within quotes belong to the cell; blank lines between rows do not count."""
    rows = table(tmp_path / "t.csv", 'q,d\n\n"one\n\ntwo\n",x\n\n3,y')
    assert rows == [("t.csv:3", {"q": "one\n\ntwo\n", "d": "x"}), ("t.csv:8", {"q": "3", "d": "y"})]


@pytest.mark.parametrize("pack", [gzip.compress, lambda text: pa.Codec("zstd").compress(text, asbytes=True)])
def test_windows_files_and_packed_files_read_the_same(tmp_path: Path, pack: Any) -> None:
    """A byte order mark and CRLF change nothing, nor do .gz and .zst."""
    suffix = ".gz" if pack is gzip.compress else ".zst"
    content = '\ufeffq,d\r\n"a\r\nb",c\r\n'.encode()
    (_, plain), (_, packed) = (
        *table(tmp_path / "t.csv", content),
        *table(tmp_path / f"T.CSV{suffix}", pack(content)),
    )
    assert plain == packed == {"q": "a\nb", "d": "c"}


def test_a_csv_with_semicolons_is_read_as_spreadsheets_write_it(tmp_path: Path) -> None:
    """Commas in later rows are then text; a header with more commas is split at these."""
    assert table(tmp_path / "t.csv", 'q;d\na, b;"c;d"\n') == [("t.csv:2", {"q": "a, b", "d": "c;d"})]
    assert columns_of(tmp_path / "t.csv", Problems()) == ["q", "d"]
    assert table(tmp_path / "u.csv", "q,d;e\na,b\n") == [("u.csv:2", {"q": "a", "d;e": "b"})]
    assert table(tmp_path / "v.csv", 'q;d;"e, f, g"\na;b;c\n') == [("v.csv:2", {"q": "a", "d": "b", "e, f, g": "c"})]


LONE = [
    ("what stands on the sign", '"No entry'),
    ("how wide is the screen", '15"'),
    ("how long", "ten metres"),
    ('"a" or "b"', "b"),
]


def test_quotation_marks_of_tab_separated_lines_are_marks(tmp_path: Path) -> None:
    """Four lines with as many tabs as the header are four rows, also where a mark that opens meets one that closes."""
    rows = table(tmp_path / "t.tsv", "q\td\n" + "".join(f"{q}\t{d}\n" for q, d in LONE))
    assert [(row["q"], row["d"]) for _, row in rows] == LONE
    assert [where for where, _ in rows] == [f"t.tsv:{line}" for line in (2, 3, 4, 5)]
    assert table(tmp_path / "u.tsv", 'q\td\nx\t"never closed\n') == [("u.tsv:2", {"q": "x", "d": '"never closed'})]
    assert table(tmp_path / "v.tsv", 'q\td\n"x\ty"\n') == [("v.tsv:2", {"q": '"x', "d": 'y"'})]


TSV_CELLS = st.text(st.sampled_from('ab"\t\n '), max_size=8).map(lambda text: "x" + text.replace("\n", "\nx"))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(TSV_CELLS, TSV_CELLS), min_size=1, max_size=6))
def test_tab_separated_files_of_data_frames_are_read_as_written(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    """Whatever pandas and spreadsheets put in quotes comes back, cells with tabs, quotes and line ends among them.

    One cell spans lines without a tab: where each line of the file has as many tabs as the header, lines are rows.
    """
    path = tmp_path / "t.tsv"
    rows = [*rows, ("several", "lines\nin a cell")]
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerows([("q", "d"), *rows])
    problems = Problems()
    read = [(row["q"], row["d"]) for _, row in read_table(path, problems)]
    assert problems.n == 0
    assert read == rows


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(*[st.text(st.sampled_from('ab" '), min_size=1, max_size=8).filter(str.strip)] * 2),
        min_size=1,
        max_size=6,
    )
)
def test_tab_separated_files_without_quoting_have_a_row_a_line(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    """Cells keep their marks; only one that is in quotes throughout, each inner mark doubled, loses them."""
    path = tmp_path / "t.tsv"
    path.write_text("q\td\n" + "".join(f"{q}\t{d}\n" for q, d in rows))
    read = [(row["q"], row["d"]) for _, row in read_table(path, Problems())]
    assert len(read) == len(rows)
    for got, written in zip(sum(read, ()), sum(rows, ()), strict=True):
        assert got == written or f'"{got.replace(chr(34), chr(34) * 2)}"' == written


def test_a_tab_separated_file_that_fits_neither_reading_names_its_rows(tmp_path: Path) -> None:
    """The reading with fewer rows that do not fit is reported, with the lines of the file."""
    found = refusal(tmp_path / "t.tsv", 'q\td\na\tb\nc\t15"\nd\n')
    assert found == ["t.tsv:4: 1 cells, expected 2 as in the header; put cells that hold tabs or line ends in quotes"]
    found = refusal(tmp_path / "t.tsv", 'q\td\na\t"b\nb\nb"\nc\n')
    assert [line.partition(":")[2][:10] for line in found] == ["5: 1 cells"]
    assert refusal(tmp_path / "t.tsv", "q\td\ra\tb\r")[0].startswith("t.tsv:1: a carriage return outside quotes")


def test_a_single_column_of_tab_separated_text_has_cells_of_several_lines(tmp_path: Path) -> None:
    """Without tabs a line in quotes and the next belong together, as data frames write documents."""
    assert table(tmp_path / "t.tsv", 'd\n"one\n\ntwo"\nthree\n') == [
        ("t.tsv:2", {"d": "one\n\ntwo"}),
        ("t.tsv:5", {"d": "three"}),
    ]


def test_columns_without_a_name_are_left_out(tmp_path: Path) -> None:
    """The index column of a data frame and the empty ones of a spreadsheet do no harm."""
    assert table(tmp_path / "t.csv", ",q, d ,,\n0,a,b,,\n") == [("t.csv:2", {"q": "a", "d": "b"})]
    assert columns_of(tmp_path / "t.csv", Problems()) == ["q", "d"]


def test_only_the_columns_asked_for_are_read(tmp_path: Path) -> None:
    """Other columns cost nothing and need not be readable."""
    assert table(tmp_path / "t.csv", "q,d\na,b\n", ("d",)) == [("t.csv:2", {"d": "b"})]
    assert table(tmp_path / "t.jsonl", '{"q": 1, "d": "b"}\n', ("d",)) == [("t.jsonl:1", {"d": "b"})]
    path = write_parquet(tmp_path / "t.parquet", q=[b"\xff"], d=["b"], n=[{"d": 1}])
    assert [row for _, row in read_table(path, Problems(), ("d",))] == [{"d": "b"}]
    assert [row for _, row in read_table(path, Problems())] == [{"d": "b"}]
    with pytest.raises(BadInput, match="column 'q' holds binary, expected strings"):
        list(read_table(path, Problems(), ("q",)))


def test_columns_of_jsonl_are_all_keys(tmp_path: Path) -> None:
    """A key that only a late row has is a column too."""
    (tmp_path / "t.jsonl").write_text('{"q": "a"}\n{"d": "b", "q": "c"}\n')
    assert columns_of(tmp_path / "t.jsonl", Problems()) == ["q", "d"]
    assert columns_of(write_parquet(tmp_path / "t.parquet", b=[1], a=["x"]), Problems()) == ["b", "a"]


def test_parquet_strings_lists_and_numbers_of_any_width_are_read(tmp_path: Path) -> None:
    """Large strings, dictionaries, lists and nulls become plain strings, lists and None."""
    path = write_parquet(
        tmp_path / "t.parquet",
        large=pa.array(["a", None], pa.large_string()),
        coded=pa.array(["x", "x"]).dictionary_encode(),
        many=pa.array([["a", "b"], []], pa.large_list(pa.string())),
        small=pa.array([1, 2], pa.uint8()),
        none=pa.nulls(2),
    )
    assert [row for _, row in read_table(path, Problems())] == [
        {"large": "a", "coded": "x", "many": ["a", "b"], "small": 1, "none": None},
        {"large": None, "coded": "x", "many": [], "small": 2, "none": None},
    ]


def test_parquet_rows_are_numbered_across_batches(tmp_path: Path) -> None:
    """Row 3000 of 3000 is row 3000."""
    path = write_parquet(tmp_path / "t.parquet", n=list(range(1, 3001)))
    rows = list(read_table(path, Problems()))
    assert len(rows) == 3000
    assert all(where == f"{path}: row {row['n']}" for where, row in rows)


def test_a_parquet_string_that_is_not_utf8_costs_one_row(tmp_path: Path) -> None:
    """The row is named, the others are read."""
    broken = pa.Array.from_buffers(pa.string(), 3, pa.array([b"a", b"\xff", b"c"]).buffers())
    path, problems = write_parquet(tmp_path / "t.parquet", q=broken), Problems()
    assert [row["q"] for _, row in read_table(path, problems)] == ["a", "c"]
    with pytest.raises(BadInput, match=r"row 2: damaged \(.*UTF8"):
        problems.check()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "t.csv:1: no header"),
        (" , \na,b\n", "t.csv:1: no header"),
        ("q,d\n", "t.csv: no rows"),
        ("q,d,q\na,b,c\n", "t.csv:1: the header has 'q' twice"),
        ("q;d\na;b;c\n", "t.csv:2: 3 cells, expected 2 as in the header; put cells that hold semicolons"),
        ("sep=;\nq;d\na;b\n", "t.csv:1: got 'sep=', a line for Excel, expected the header; remove it"),
        ("q\td\na\tb\n", "t.csv:1: header is 'q\\td' with tabs, expected commas"),
        ("q,d\na\n", "t.csv:2: 1 cells, expected 2 as in the header"),
        ("q,d\na,b,c\n", "t.csv:2: 3 cells, expected 2 as in the header"),
        ('q,d\na,b\nc,"d\n' + "e,f\n" * 9, "t.csv:3: the quote that opens here is never closed"),
        ('q,d\na,b\n"c\n",d\n"e\nf","g\n', "t.csv:6: the quote that opens here is never closed"),
        ('q,d\na,"b\nc,"d"\n', "t.csv:2: the quote that opens here is followed by text after it closes on line 3"),
        ("q,d\ra,b\r", "t.csv:1: a carriage return outside quotes"),
        (b"q,d\na,\xff\n", "t.csv:2"),
        (b"q,\xffd\na,b\n", "t.csv:1"),
        ("q,d\na,b\0\n", "t.csv:2"),
        ("q,d\na,b\n".encode("utf-16"), "t.csv"),
    ],
)
def test_broken_csv_is_one_clear_problem(tmp_path: Path, content: str | bytes, expected: str) -> None:
    """Each says the line, what was found and what was expected, and only that."""
    found = refusal(tmp_path / "t.csv", content)
    assert found[0].startswith(expected)
    assert len(found) == 1


def test_broken_rows_are_collected_and_the_others_read(tmp_path: Path) -> None:
    """A bad row does not end the reading."""
    (tmp_path / "t.csv").write_text('q,d\na,b\nc\n"d"e,f\ng,h\n')
    problems = Problems()
    assert [row["q"] for _, row in read_table(tmp_path / "t.csv", problems)] == ["a", "g"]
    assert problems.n == 2


def test_cells_may_be_long_but_not_endless(tmp_path: Path) -> None:
    """A million characters are a text, sixteen millions are a forgotten quote; memory stays bounded."""
    ((_, row),) = table(tmp_path / "t.csv", f"q,d\na,{'x' * 1_000_000}\n")
    assert len(row["d"]) == 1_000_000
    found = refusal(tmp_path / "t.csv", 'q,d\na,b\nc,"' + ("x" * 999 + "\n") * 17_000)
    assert found[0].startswith(
        "t.csv:3: the row that starts here has more than 16777216 characters; close the quote of line 3"
    )


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 9, b"q,d\na,b\n"])
def test_a_file_that_is_not_parquet_is_one_problem(tmp_path: Path, content: bytes) -> None:
    """A file of another format with the name of parquet."""
    assert refusal(tmp_path / "t.parquet", content)[0].startswith("t.parquet: not parquet, or damaged")


def test_parquet_without_rows_or_with_a_name_twice_is_refused(tmp_path: Path) -> None:
    """Neither is read as if nothing were wrong."""
    pq.write_table(pa.table([pa.array(["a"]), pa.array(["b"])], ["q", "q"]), tmp_path / "t.parquet")
    with pytest.raises(BadInput, match="column 'q' is there twice"):
        list(read_table(tmp_path / "t.parquet", Problems()))
    with pytest.raises(BadInput, match="0 rows"):
        list(read_table(write_parquet(tmp_path / "t.parquet", q=pa.array([], pa.string())), Problems()))


def test_the_name_says_the_format(tmp_path: Path) -> None:
    """Another ending is a problem, and so is a file that is not there."""
    for name in ("t.xlsx", "t", "t.gz", "t.parquet.gz", "t.json"):
        assert "expected csv, tsv, jsonl, parquet" in refusal(tmp_path / name, "q,d\na,b\n")[0]
    for name in ("a.csv", "a.jsonl", "a.parquet"):
        with pytest.raises(BadInput, match=r"a\.\w+: not found"):
            list(read_table(tmp_path / name, Problems()))


def test_a_folder_stands_for_its_only_table(tmp_path: Path) -> None:
    """A README or a hidden file is ignored; two tables, or none, are a problem that names the files."""
    (tmp_path / "README.md").write_text("about")
    (tmp_path / ".hidden.csv").write_text("q,d")
    with pytest.raises(BadInput, match=r"got 'README.md', expected one file"):
        single_file(tmp_path, Problems())
    (tmp_path / "t.csv.gz").write_text("")
    assert single_file(tmp_path, Problems()) == tmp_path / "t.csv.gz"
    assert single_file(tmp_path / "t.csv.gz", Problems()) == tmp_path / "t.csv.gz"
    (tmp_path / "u.parquet").write_text("")
    with pytest.raises(BadInput, match=r"got 't.csv.gz', 'u.parquet', expected one file"):
        single_file(tmp_path, Problems())
    with pytest.raises(BadInput, match="not found"):
        single_file(tmp_path / "none", Problems())
