"""A corpus of texts or rows is read completely, or refused with the file, the line and what to do."""

import gzip
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attune.data.sources.documents import Entry, plain_text, read_documents, sections
from attune.data.sources.files.cells import ColumnNames
from attune.data.sources.raw import Document
from attune.errors import SHOWN, BadInput

NONE = dict.fromkeys(["query", "title", "relevance", "query_id", "document_id", "group", "stratum", "split"], "")


def columns(**names: str) -> ColumnNames:
    return ColumnNames.model_validate({**NONE, "document": "text", "negatives": [], **names})


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


GUIDE = """---
title: 'The guide'
---
What it is about.

# Setting `up` the [server](http://x.y)

First body.

```sh
# no heading
```

Underlined
----------

- # a list's
- item

### Deep down

> # quoted

## Last

The end.
"""


def test_markdown_is_cut_at_its_headings_and_nowhere_else() -> None:
    """Code, lists and quotations have no headings; a heading's path holds those of smaller level above it."""
    assert sections(GUIDE) == [
        (("The guide",), "What it is about."),
        (("The guide", "Setting up the server"), "First body.\n\n```sh\n# no heading\n```"),
        (("The guide", "Setting up the server", "Underlined"), "- # a list's\n- item"),
        (("The guide", "Setting up the server", "Underlined", "Deep down"), "> # quoted"),
        (("The guide", "Setting up the server", "Last"), "The end."),
    ]


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_line_ends_of_other_systems_give_the_same_sections(end: str) -> None:
    """CRLF and CR."""
    assert sections(GUIDE.replace("\n", end)) == sections(GUIDE)


def test_a_rule_at_the_top_is_no_front_matter() -> None:
    """A horizontal rule and text without keys stay in the text."""
    assert sections("---\nSome prose here.\n\n---\nMore.") == [((), "---\nSome prose here.\n\n---\nMore.")]


def test_headings_are_plain_text() -> None:
    """Without emphasis, entities, HTML, images and line breaks."""
    assert plain_text("**Fit** a _model_ &amp; `x_y`<br> ![logo](l.png)\nsoon") == "Fit a model & x_y soon"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["# a", "## b", "### c", "## d e", "words", "other words", ""]), max_size=12))
def test_sections_are_what_a_plain_reading_of_the_lines_gives(lines: list[str]) -> None:
    """Against an oracle that knows one kind of heading: what comes after it is its text, its path what is above it."""
    path: list[str] = []
    expected: list[tuple[tuple[str, ...], list[str]]] = [((), [])]
    for line in lines:
        mark, _, heading = line.partition(" ")
        if mark.startswith("#"):
            path = [*[p for p in path if p.index(" ") < len(mark)], f"{mark} {heading}"]
            expected.append((tuple(p.partition(" ")[2] for p in path), []))
        else:
            expected[-1][1].append(line)
    assert sections("\n".join(lines)) == [(headings, "\n".join(body).strip()) for headings, body in expected]


def test_a_folder_gives_files_and_sections_in_the_order_of_paths(tmp_path: Path) -> None:
    """Hidden files, the README at the top and other types are left out."""
    files = {
        "b.txt": "\ufeffText of b.\r\n",
        "a/g.MD": "Before.\n# Over\n## Under it\nBody.",
        "README.md": "about the folder",
        "a/README.md": "# Part a\nOf the corpus.",
        ".hidden/x.txt": "no",
        "a/.y.txt": "no",
        "table/x.csv": "text\nno\n",
        "pack.json.gz": b"\x1f\x8b",
        "empty.txt": " \n",
        "z.txt": "Text of b.",
    }
    entries, dropped = read_documents(write(tmp_path, files), columns())
    assert entries == [
        Entry(Document("a/README.md#1", "Part a", "Of the corpus."), "Part a", True),
        Entry(Document("a/g.MD#0", "", "Before."), "", True),
        Entry(Document("a/g.MD#2", "Over > Under it", "Body."), "Under it", True),
        Entry(Document("b.txt", "", "Text of b.")),
    ]
    assert +dropped == {
        "document_blank": 1,
        "document_repeated": 1,
        "section_without_text": 2,
        "file_of_other_type": 2,
    }


def test_ids_stay_when_files_are_added(tmp_path: Path) -> None:
    """Documents of the old files are unchanged."""
    write(tmp_path, {"b.md": "# B\nbody b", "d.txt": "d"})
    before = {entry.document for entry in read_documents(tmp_path, columns())[0]}
    write(tmp_path, {"a.md": "# A\nbody a", "c.txt": "c", "b/b.md": "b"})
    assert before < {entry.document for entry in read_documents(tmp_path, columns())[0]}


def test_group_path_makes_the_sections_of_a_file_a_group(tmp_path: Path) -> None:
    """Another column is an error, since files have none."""
    write(tmp_path, {"a.md": "# One\n1\n# Two\n2", "b.txt": "3"})
    assert [e.group for e in read_documents(tmp_path, columns(group="path"))[0]] == ["a.md", "a.md", "b.txt"]
    with pytest.raises(BadInput, match="files have no column but 'path', got group 'customer'"):
        read_documents(tmp_path, columns(group="customer"))


def test_one_text_file_is_a_corpus(tmp_path: Path) -> None:
    """Its name begins the ids."""
    write(tmp_path, {"book.md": "# One\nFirst.\n# Two\nSecond."})
    entries, _ = read_documents(tmp_path / "book.md", columns())
    assert [entry.document.document_id for entry in entries] == ["book.md#1", "book.md#2"]


ROWS = [
    {"id": "1", "name": "One", "text": "first", "team": "x", "kind": "k"},
    {"id": "2", "name": "", "text": "second, with\nbreak", "team": "", "kind": "k"},
    {"id": "3", "name": " ", "text": "", "team": "x", "kind": "k"},
    {"id": "4", "name": "One", "text": "first", "team": "y", "kind": "k"},
]
JSONL = "".join(f"{row}\n".replace("'", '"') for row in ROWS)
CSV = "id,name,text,team,kind\n" + "".join(",".join(f'"{cell}"' for cell in row.values()) + "\n" for row in ROWS)


@pytest.mark.parametrize("name", ["c.csv", "c.csv.gz", "c.tsv", "c.jsonl", "c.parquet"])
def test_every_kind_of_table_gives_the_same_corpus(tmp_path: Path, name: str) -> None:
    """csv, tsv, jsonl, parquet, packed or not."""
    if name == "c.parquet":
        pq.write_table(pa.Table.from_pylist([{k: v or None for k, v in row.items()} for row in ROWS]), tmp_path / name)
    else:
        text = {
            "c.jsonl": JSONL,
            "c.tsv": CSV.replace('","', '"\t"').replace("id,name,text,team,kind", "id\tname\ttext\tteam\tkind"),
        }
        content = text.get(name, CSV).encode()
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    (tmp_path / "README.md").write_text("about it")
    asked = columns(title="name", document_id="id", group="team", stratum="kind")
    for path in (tmp_path, tmp_path / name):
        entries, dropped = read_documents(path, asked)
        assert entries == [
            Entry(Document("1", "One", "first"), "One", False, "x", "k"),
            Entry(Document("2", "", "second, with\nbreak"), "", False, "", "k"),
        ]
        assert +dropped == {"document_blank": 1, "document_repeated": 1}


def test_a_corpus_file_of_beir_is_a_table(tmp_path: Path) -> None:
    """Column _id gives the ids; a missing title is empty."""
    write(tmp_path, {"corpus.jsonl": '{"_id": "d1", "title": "T", "text": "body"}\n{"_id": "d2", "text": "more"}\n'})
    entries, _ = read_documents(tmp_path / "corpus.jsonl", columns(title="title", document_id="_id"))
    assert [entry.document for entry in entries] == [Document("d1", "T", "body"), Document("d2", "", "more")]


def test_without_an_id_column_equal_texts_are_one_document_whose_id_stays(tmp_path: Path) -> None:
    """The id is d and 16 digits of the sha256 of title, line end and text: `printf '\\nabc' | sha256sum`."""
    write(tmp_path, {"c.csv": "text\nabc\nabc\nx\n"})
    entries, dropped = read_documents(tmp_path, columns())
    assert entries[0].document.document_id == "df39d39bfc99287b8"
    assert (len(entries), dropped["document_repeated"]) == (2, 1)


@pytest.mark.parametrize(
    ("files", "names", "messages"),
    [
        ({}, {}, ["got neither .txt or .md files nor a table in csv, tsv, jsonl or parquet; add some"]),
        ({"README.md": "x"}, {}, ["got neither .txt or .md files nor a table"]),
        ({"a.txt": "x", "b.csv": "text\nx\n"}, {}, ["got texts (a.txt) and tables (b.csv); leave one kind"]),
        ({"a.txt": " ", "b.md": "# only\n## headings"}, {}, ["no document with text", "document_blank 1", "section"]),
        ({"a.txt": b"ab\ncaf\xe9"}, {}, ["a.txt:2: byte 4 is not UTF-8; save the file as UTF-8"]),
        ({"a.txt": b"\xef\xbb\xbfcaf\xe9"}, {}, ["a.txt:1: byte 4 is not UTF-8"]),
        ({"a.txt": "ab".encode("utf-16")}, {}, ["a.txt:1: UTF-16, expected UTF-8; save the file as UTF-8"]),
        ({"a.txt": b"a\n\nb\x00", "b.md": b"\xff"}, {}, ["a.txt:3: NUL", "b.md:1: byte 1", "2 problems"]),
        (
            {"a.txt": b"x" * (16 * 2**20 + 1)},
            {},
            ["a.txt:1: 16777217 characters, expected up to 16777216; cut the file"],
        ),
        (
            {f"{'a' * 240}/{'b' * 240}.txt": "x"},
            {},
            ["a path of 485 characters, expected up to 480, all printable; rename"],
        ),
        ({"a\tb.txt": "x"}, {}, ["a path of 7 characters, expected up to 480, all printable"]),
        (
            {"c.csv": "body\nx\n"},
            {},
            ["c.csv: no column 'text', got ['body']; set collect.columns.document to one of them"],
        ),
        ({"c.csv": "text\nx\n"}, {"document": ""}, ["no column '', got ['text']; set collect.columns.document to one"]),
        (
            {"c.csv": "text\nx\n"},
            {"title": "t", "group": "g"},
            ["columns.title to one of them or to ''", "columns.group to one of them or to ''", "2 problems"],
        ),
        (
            {"c.csv": "id,text\n1,x\n2,y\n1,z\n"},
            {"document_id": "id"},
            ["c.csv:4: id '1' is that of another text in", "c.csv:2; give each text its own id"],
        ),
        (
            {"c.jsonl": '{"text": "x"}\n{"text": ["y"]}\n{"text": 3}\n'},
            {},
            ["c.jsonl:2: 'text' is a list", "c.jsonl:3: 'text' is a", "2 problems"],
        ),
        ({"c.csv": "id,text\n,x\n"}, {"document_id": "id"}, ["c.csv:2: 'id' is ''"]),
        ({"c.jsonl": '{"text": "x"}\n{"text": \n'}, {}, ["c.jsonl:2: not valid JSON"]),
    ],
)
def test_each_problem_names_its_file_and_line(
    tmp_path: Path, files: dict[str, str | bytes], names: dict[str, str], messages: list[str]
) -> None:
    """On one printable line, with what to do."""
    with pytest.raises(BadInput) as caught:
        read_documents(write(tmp_path, files), columns(**names))
    for message in messages:
        assert message in str(caught.value).replace('"', "'")
    assert all(str(line).isprintable() for line in caught.value.args)
    assert len(caught.value.args) <= 3  # nothing is said twice


def test_all_problems_are_counted_and_the_first_are_shown(tmp_path: Path) -> None:
    """Reading goes on after a bad row."""
    write(tmp_path, {f"{number:03}.txt": b"\xff" for number in range(50)})
    with pytest.raises(BadInput) as caught:
        read_documents(tmp_path, columns())
    assert len(caught.value.args) == SHOWN + 1
    assert caught.value.args[-1].startswith("50 problems")


def test_a_missing_path_is_one_line(tmp_path: Path) -> None:
    """The message names it."""
    with pytest.raises(BadInput, match="not found"):
        read_documents(tmp_path / "nowhere", columns())


def test_a_name_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    """Since paths become ids."""
    write(tmp_path, {"a\udcff.txt": "x"})
    with pytest.raises(BadInput, match="a path of 6 characters, expected"):
        read_documents(tmp_path, columns())


NAMES = st.sampled_from(
    ["a.txt", "b.md", "c/d.md", "c/E.TXT", "README.md", "x.csv", "y.jsonl", "z.parquet", "w.tsv.gz"]
)
PIECES = st.sampled_from(
    [
        "# a\n",
        "## b c\r\n",
        "text",
        "\r",
        "\n\n",
        "---\n",
        "title: x\n",
        "```\n",
        "\0",
        "\ufeff",
        "caf\xe9",
        "\U0001f600",
    ]
)
BYTES = st.one_of(
    st.binary(max_size=30),
    st.lists(PIECES, max_size=8).map(lambda pieces: "".join(pieces).encode()),
    st.lists(PIECES, max_size=8).map(lambda pieces: "".join(pieces).encode("utf-16")),
    st.lists(PIECES, max_size=8).map(lambda pieces: "".join(pieces).encode("latin-1", "replace")),
    st.lists(PIECES, max_size=8).map(lambda pieces: "".join(pieces).encode()[:-1]),
)


def outcome(files: dict[str, Any], group: str) -> str:
    """Reads such a folder: "read", all ids different, or "refused" with lines that say what is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            entries, _ = read_documents(write(Path(folder), files), columns(group=group))
        except BadInput as error:
            assert error.args and all(str(line).strip() and "\n" not in str(line) for line in error.args)
            return "refused"
    ids = [entry.document.document_id for entry in entries]
    assert len(set(ids)) == len(ids) > 0
    for document_id, title, text in (entry.document for entry in entries):
        assert document_id.strip() and (title + text).strip() and "\0" not in title + text
        (document_id + title + text).encode()
    return "read"


@pytest.mark.parametrize("n", [pytest.param(260, id="some"), pytest.param(1_050, id="all", marks=pytest.mark.slow)])
def test_any_folder_is_read_or_refused(n: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Random bytes, cut and wrongly encoded texts, 1,000 in `make test-slow`; nothing but BadInput is raised."""
    tried: Counter[str] = Counter()

    @settings(max_examples=n, deadline=None, derandomize=True)
    @given(st.dictionaries(NAMES, BYTES, max_size=4), st.sampled_from(["", "path"]))
    def damaged(files: dict[str, Any], group: str) -> None:
        tried[outcome(files, group)] += 1

    damaged()
    counts = f"{tried.total()} malformed inputs tried, {tried['refused']} refused, {tried['read']} read"
    with capsys.disabled():
        print(f"\ndocuments: {counts}")  # noqa: T201
    assert tried.total() >= 0.95 * n
    assert min(tried["refused"], tried["read"]) >= n // 60
