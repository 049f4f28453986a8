"""A corpus without queries: a table (csv, tsv, jsonl, parquet), or a folder of .txt and .md files.

A .txt file is one document, an .md file one for each section. Their ids are the paths in the folder (and "#" with the
section's number), so they stay when files are added. README.md at the top of the folder is about it and is not read.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from attune.data.sources.files.cells import Cells
from attune.data.sources.files.columns import Columns
from attune.data.sources.files.lines import shown
from attune.data.sources.files.tabular import FORMATS, columns_of, read_table, single_file
from attune.data.sources.pair_rows import made_id
from attune.data.sources.raw import Document
from attune.data.sources.sections import sections
from attune.data.sources.text_files import files_of, read_texts
from attune.problems import Problems

_TEXT, _MARKDOWN = (".txt",), (".md", ".markdown")
TEXTS = _TEXT + _MARKDOWN
_TABLES = tuple(f".{kind}{packed}" for kind in FORMATS for packed in ("", ".gz", ".zst"))
_PATH = "path"  # the one column that files have


class Entry(NamedTuple):
    """A document and what its source says of it."""

    document: Document
    heading: str = ""  # what of the title somebody might ask: all of it, or the last of several headings
    is_markdown: bool = False
    group: str = ""  # queries of one group are never split; "" where there is none
    stratum: str = ""


def read_documents(path: Path, columns: Columns) -> tuple[list[Entry], Counter[str]]:
    """Reads a corpus in the order of its rows, or of its sorted paths; of `columns` query and the like play no part.

    Left out and counted: documents without title and text, documents with the title and text of an earlier one,
    sections that only hold further headings, and files of other types.

    Raises:
        BadInput: nothing is there or left, a file or row is malformed (all of them are named), or an id is given to
            two different documents.
    """
    problems, dropped = Problems(), Counter[str]()
    entries = list(_distinct(_entries(path, columns, problems, dropped), problems, dropped))
    problems.check()
    if not entries:
        left_out = ", ".join(f"{reason} {n}" for reason, n in sorted((+dropped).items()))
        problems.stop(str(path), f"no document with text (left out: {left_out or 'nothing'}); add some")
    return entries, dropped


def _entries(path: Path, columns: Columns, problems: Problems, dropped: Counter[str]) -> Iterator[tuple[str, Entry]]:
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


def _of_table(file: Path, columns: Columns, problems: Problems) -> Iterator[tuple[str, Entry]]:
    there = columns_of(file, Problems())  # faults of rows are noted by the second reading
    wanted = {name: getattr(columns, name) for name in ("document", "title", "document_id", "group", "stratum")}
    for name, column in wanted.items():
        if (column or name == "document") and column not in there:
            otherwise = "" if name == "document" else " or to ''"
            problems.add(
                str(file),
                f"no column {shown(column)}, got {shown(there)}; set collect.columns.{name} to one of them{otherwise}",
            )
    problems.check()
    for where, row in read_table(file, problems, only=set(wanted.values())):
        entry = _of_row(Cells(where, row, problems), columns)
        if entry is not None:
            yield where, entry


def _of_row(cells: Cells, columns: Columns) -> Entry | None:
    text, title = cells.text(columns.document), cells.text(columns.title, optional=True)
    group, stratum = cells.label(columns.group), cells.label(columns.stratum)
    if text is None or title is None or group is None or stratum is None:
        return None
    document_id = cells.identity(columns.document_id) if columns.document_id else made_id(title, text)
    return None if document_id is None else Entry(Document(document_id, title, text), title, False, group, stratum)


def _distinct(entries: Iterable[tuple[str, Entry]], problems: Problems, dropped: Counter[str]) -> Iterator[Entry]:
    """The entries with a text that no earlier one has."""
    ids: dict[str, tuple[str, bytes]] = {}
    contents: set[bytes] = set()
    for where, entry in entries:
        document_id, title, text = entry.document
        content = sha256(f"{title}\n{text}".encode()).digest()
        first, known = ids.setdefault(document_id, (where, content))
        if known != content:
            problems.add(where, f"id {shown(document_id)} is that of another text in {first}; give it one of its own")
        elif not (title + text).strip():
            dropped["document_blank"] += 1
        elif content in contents:
            dropped["document_repeated"] += 1
        else:
            contents.add(content)
            yield entry
