"""A corpus without queries: a table (csv, tsv, jsonl, parquet), or a folder of .txt and .md files.

A .txt file is one document, an .md file one document for each section. Ids are paths in the folder (and "#" with the
section's number), so they stay the same when files are added. README.md at the top of the folder is not read.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from tqdm import tqdm

from attune.data.sources.files.cells import Cells, ColumnNames
from attune.data.sources.files.lines import shown
from attune.data.sources.files.tabular import FORMATS, JUDGMENTS, columns_of, read_table, single_file
from attune.data.sources.pairs import content_id
from attune.data.sources.raw import Document
from attune.errors import Problems

_FRONT = re.compile(r"\A---[ \t]*\n(\w[\w.-]*[ \t]*:.*?\n)(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_FRONT_TITLE = re.compile(r"^title[ \t]*:[ \t]*([\"']?)(.+?)\1[ \t]*$", re.MULTILINE)
_MAX_HEADING = 1000  # characters; no query is longer, and unbalanced brackets take quadratic time to parse
_LINE_END = re.compile(r"\r\n?")
_PARSER = MarkdownIt("commonmark")
_BLOCKS = MarkdownIt("commonmark").disable(["inline", "text_join"])  # block structure alone is enough for headings


class Section(NamedTuple):
    """A Markdown text and the headings above it, outermost first."""

    headings: tuple[str, ...]
    text: str


def sections(markdown: str) -> list[Section]:
    """Returns all sections in order, first the text before any heading (often empty); texts may be blank.

    A section ends at the next heading of any level, so sections do not overlap.
    """
    text = _LINE_END.sub("\n", markdown)
    front = _FRONT.match(text)
    title = _FRONT_TITLE.search(front[1]) if front else None
    text = text[front.end() :] if front else text
    lines = text.split("\n")
    path: dict[int, str] = {0: title[2]} if title else {}
    result: list[Section] = []
    start = 0
    for level, heading, first, end in _headings(text):
        result.append(_section(path, lines[start:first]))
        path = {above: name for above, name in path.items() if above < level} | {level: heading}
        start = end
    return [*result, _section(path, lines[start:])]


def _section(path: dict[int, str], lines: list[str]) -> Section:
    return Section(tuple(name for name in path.values() if name), "\n".join(lines).strip())


def _headings(text: str) -> list[tuple[int, str, int, int]]:
    """Returns level (1 to 6), plain text, first line and line after of each heading outside lists and quotations."""
    return [
        (int(token.tag[1]), plain_text(content.content[:_MAX_HEADING]), token.map[0], token.map[1])
        for token, content in pairwise(_BLOCKS.parse(text))
        if token.type == "heading_open" and token.level == 0 and token.map
    ]


def plain_text(markdown: str) -> str:
    """Renders a paragraph or heading as one line of text, without emphasis, link targets, images and HTML."""
    tokens = _PARSER.parseInline(markdown)[0].children or []
    breaks = {"softbreak": " ", "hardbreak": " "}
    pieces = (
        breaks.get(t.type, t.content if t.type in {"text", "code_inline", "text_special"} else "") for t in tokens
    )
    return " ".join("".join(pieces).split())


_MAX_CHARACTERS = 16 * 2**20
_MAX_PATH = 480  # leaves room for the number of a section: ids have up to 500 characters


def files_of(folder: Path) -> list[Path]:
    """Returns the files at any depth in the order of their paths, without hidden ones.

    README.md and the table of judgments, which may stand at the top, are left out.
    """
    relative = sorted(file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    return [
        folder / inner
        for inner in relative
        if not any(part.startswith(".") for part in inner.parts) and str(inner) not in ("README.md", JUDGMENTS)
    ]


def read_texts(folder: Path, files: Sequence[Path], problems: Problems) -> Iterator[tuple[Path, str, str]]:
    """Yields file, path in the folder and text of each readable file; adds a problem for each of the others."""
    for file in tqdm(files, desc=folder.name, unit=" files", disable=None):
        inner = file.relative_to(folder).as_posix() if file != folder else file.name
        text = _read(file, problems)
        if len(inner) > _MAX_PATH or not inner.isprintable():
            # the path becomes an id, which must fit into tables, terminals and UTF-8
            problems.add(
                shown(str(file)),
                f"a path of {len(inner)} characters, expected up to {_MAX_PATH}, all printable; rename it",
            )
        elif text is not None:
            yield file, inner, text


def _read(file: Path, problems: Problems) -> str | None:
    """Returns the text of a file, or None after adding a problem."""
    content = file.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        problems.add(f"{file}:1", "UTF-16, expected UTF-8; save the file as UTF-8")
        return None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]  # without the byte order mark, which the decoder has removed
        line, byte = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        problems.add(f"{file}:{line}", f"byte {byte} is not UTF-8; save the file as UTF-8")
        return None
    before_nul, nul, _ = text.partition("\0")
    if nul:
        line = before_nul.count("\n") + 1
        problems.add(f"{file}:{line}", "NUL character, expected text; remove the character or the file")
    elif len(text) > _MAX_CHARACTERS:
        problems.add(f"{file}:1", f"{len(text)} characters, expected up to {_MAX_CHARACTERS}; cut the file in parts")
    else:
        return text
    return None


_TEXT, _MARKDOWN = (".txt",), (".md", ".markdown")
TEXTS = _TEXT + _MARKDOWN
_TABLES = tuple(f".{kind}{packed}" for kind in FORMATS for packed in ("", ".gz", ".zst"))
_PATH = "path"  # the only column of text files


class Entry(NamedTuple):
    """A document with the heading, group and stratum that its source gives it."""

    document: Document
    heading: str = ""  # the part of the title that can serve as a query: all of it, or the last of several headings
    is_markdown: bool = False
    group: str = ""  # queries of one group go to the same split; "" for none
    stratum: str = ""


def read_documents(path: Path, columns: ColumnNames) -> tuple[list[Entry], Counter[str]]:
    """Reads a corpus in the order of its rows, or of its sorted paths; columns that queries need are ignored.

    Drops and counts documents without title and text, documents with the title and text of an earlier one, sections
    that hold only further headings, and files of other types.

    Raises:
        BadInput: no document is there or remains, files or rows are malformed (all are named), or two different
            documents have one id.
    """
    problems, dropped = Problems(), Counter[str]()
    entries = list(_distinct(_entries(path, columns, problems, dropped), problems, dropped))
    problems.check()
    if not entries:
        left_out = ", ".join(f"{reason} {n}" for reason, n in sorted((+dropped).items()))
        problems.stop(str(path), f"no document with text (left out: {left_out or 'nothing'}); add some")
    return entries, dropped


def _entries(
    path: Path, columns: ColumnNames, problems: Problems, dropped: Counter[str]
) -> Iterator[tuple[str, Entry]]:
    files = [path] if path.is_file() else files_of(path)
    texts = [file for file in files if file.suffix.lower() in TEXTS]
    tables = [file for file in files if file.parent == path and file.name.lower().endswith(_TABLES)]
    if texts and tables:
        problems.stop(str(path), f"got texts ({texts[0].name}) and tables ({tables[0].name}); leave one kind")
    if path.is_dir() and not texts and not tables:
        problems.stop(str(path), "got neither .txt or .md files nor a table in csv, tsv, jsonl or parquet; add some")
    if not texts:
        return _of_table(single_file(path, problems), columns, problems)
    if columns.group not in {"", _PATH} or columns.stratum:
        problems.stop(
            str(path),
            f"files have no column but '{_PATH}', got group {shown(columns.group)} and stratum "
            f"{shown(columns.stratum)}; set collect.columns.group to '{_PATH}' or '', stratum to ''",
        )
    dropped["file_of_other_type"] = len(files) - len(texts)
    return _of_texts(path, texts, bool(columns.group), problems, dropped)


def _of_texts(
    path: Path, files: Sequence[Path], by_file: bool, problems: Problems, dropped: Counter[str]
) -> Iterator[tuple[str, Entry]]:
    for file, inner, text in read_texts(path, files, problems):
        group = inner if by_file else ""
        if file.suffix.lower() in _TEXT:
            yield str(file), Entry(Document(inner, "", text.strip()), group=group)
            continue
        for number, (headings, body) in enumerate(sections(text)):
            title, heading = " > ".join(headings), headings[-1] if headings else ""
            if body:
                yield str(file), Entry(Document(f"{inner}#{number}", title, body), heading, True, group)
            dropped["section_without_text"] += not body


def _of_table(file: Path, columns: ColumnNames, problems: Problems) -> Iterator[tuple[str, Entry]]:
    names = columns_of(file, Problems())  # problems of rows are added by the second reading
    wanted = {name: getattr(columns, name) for name in ("document", "title", "document_id", "group", "stratum")}
    for name, column in wanted.items():
        if (column or name == "document") and column not in names:
            otherwise = "" if name == "document" else " or to ''"
            problems.add(
                str(file),
                f"no column {shown(column)}, got {shown(names)}; set collect.columns.{name} to one of them{otherwise}",
            )
    problems.check()
    for where, row in read_table(file, problems, only=set(wanted.values())):
        entry = _of_row(Cells(where, row, problems), columns)
        if entry is not None:
            yield where, entry


def _of_row(cells: Cells, columns: ColumnNames) -> Entry | None:
    text, title = cells.text(columns.document), cells.text(columns.title, optional=True)
    group, stratum = cells.label(columns.group), cells.label(columns.stratum)
    if text is None or title is None or group is None or stratum is None:
        return None
    document_id = cells.identity(columns.document_id) if columns.document_id else content_id(title, text)
    return None if document_id is None else Entry(Document(document_id, title, text), title, False, group, stratum)


def _distinct(entries: Iterable[tuple[str, Entry]], problems: Problems, dropped: Counter[str]) -> Iterator[Entry]:
    """Yields the entries whose title and text differ from all earlier ones."""
    ids: dict[str, tuple[str, bytes]] = {}
    contents: set[bytes] = set()
    for where, entry in entries:
        document_id, title, text = entry.document
        content = sha256(f"{title}\n{text}".encode()).digest()
        first, known = ids.setdefault(document_id, (where, content))
        if known != content:
            problems.add(
                where, f"id {shown(document_id)} is that of another text in {first}; give each text its own id"
            )
        elif not (title + text).strip():
            dropped["document_blank"] += 1
        elif content in contents:
            dropped["document_repeated"] += 1
        else:
            contents.add(content)
            yield entry
