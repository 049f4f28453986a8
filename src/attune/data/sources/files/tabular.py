"""Tables in csv, tsv, jsonl or parquet as one stream of rows; every problem names its line or row."""

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from attune.data.sources.files.lines import read_jsonl, read_lines, shown
from attune.data.sources.files.parquet import parquet_columns, read_parquet
from attune.data.sources.files.separated import read_separated, separated_columns
from attune.errors import Problems

_QUOTED = re.compile(r'"[^"]*"')
FORMATS = ("csv", "tsv", "jsonl", "parquet")
JUDGMENTS = "judgments.csv"  # beside your data: what `attune judge` had judged (split.judgments), no data to read


def read_table(path: Path, problems: Problems, only: Collection[str] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields `path:line` (parquet: `path: row N`) and the cells of each row by column, of the columns `only` if given.

    Cells are strings in csv and tsv, JSON values in jsonl, and strings, numbers, lists of these or None in parquet.
    Skips rows with a problem and adds it.

    Raises:
        BadInput: the file is missing, of another format, empty or damaged, or its header is unusable.
    """
    kind = _format(path, problems)
    if kind == "parquet":
        yield from read_parquet(path, problems, only)
        return
    rows = read_jsonl(path, problems) if kind == "jsonl" else read_separated(path, _separator(path, kind), problems)
    empty = True
    for where, record in rows:
        empty = False
        yield where, {name: record[name] for name in record if name in only} if only else record
    if empty and not problems.n:
        problems.stop(str(path), "no rows; write at least one")


def columns_of(path: Path, problems: Problems) -> list[str]:
    """Returns the names of the columns in order; in jsonl, where rows may differ, all keys by first occurrence.

    Raises:
        BadInput: the file is missing, of another format, empty or damaged, or its header is unusable.
    """
    kind = _format(path, problems)
    if kind == "parquet":
        return parquet_columns(path, problems)
    if kind == "jsonl":
        return list(dict.fromkeys(name for _, record in read_jsonl(path, problems) for name in record))
    return separated_columns(path, _separator(path, kind), problems)


def single_file(path: Path, problems: Problems) -> Path:
    """Returns the path itself if it is a file, or the only table in a folder; others, hidden and judgments ignored.

    Raises:
        BadInput: there is no such file or folder, or the folder holds no table or several.
    """
    if not path.is_dir():
        return path if path.is_file() else problems.stop(str(path), "not found; correct collect.path in params.yaml")
    files = sorted(file for file in path.iterdir() if file.is_file() and file.name != JUDGMENTS and file.name[0] != ".")
    tables = [file for file in files if _suffix(file) in FORMATS]
    if len(tables) != 1:
        got = ", ".join(shown(file.name) for file in (tables or files)[:5]) or "nothing"
        expected = f"one file in {', '.join(FORMATS)}"
        problems.stop(str(path), f"got {got}, expected {expected}; name the file in collect.path in params.yaml")
    return tables[0]


def _format(path: Path, problems: Problems) -> str:
    kind = _suffix(path)
    if kind not in FORMATS:
        expected = f"{', '.join(FORMATS)} (all but parquet also with .gz or .zst)"
        problems.stop(str(path), f"ends in {shown(path.suffix)}, expected {expected}; convert or rename the file")
    return kind


def _separator(path: Path, kind: str) -> str:
    """Returns the separator of a csv: a semicolon if the header has more of them, as where decimals have commas."""
    if kind == "tsv":
        return "\t"
    _, header = next(read_lines(path, Problems()), ("", ""))
    bare = _QUOTED.sub("", header)
    return ";" if bare.count(";") > bare.count(",") else ","


def _suffix(path: Path) -> str:
    """Returns the last suffix, or the one before .gz or .zst; "" for packed parquet, which packs its own pages."""
    suffixes = [suffix[1:].lower() for suffix in path.suffixes]
    packed = suffixes[-1:] in (["gz"], ["zst"])
    kind = "".join(suffixes[-2:-1] if packed else suffixes[-1:])
    return "" if packed and kind == "parquet" else kind
