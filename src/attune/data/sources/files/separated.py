"""Tables in csv and tsv as spreadsheets write them (RFC 4180): a header, then one record a row.

Cells with a separator, a quote or a line end are in double quotes, in which a quote is doubled. Many programs write
tab-separated files without quotes, each line a row, so that a quotation mark is only a mark: such a file is read so.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from attune.data.sources.files.lines import read_lines, shown
from attune.errors import BadInput, Problems

_NAMES = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
_TAB = "\t"
_QUOTED_CELL = re.compile(r'"((?:[^"]|"")*)"')
_CELL_WITH_TABS = re.compile(r'("(?:[^"]|"")*"|[^\t]*)(\t|$)')
_MAX_RECORD = 16 * 1024 * 1024  # characters; a longer record is an unclosed quote


class _Lines(Iterator[str]):
    """The lines of a file for csv.reader; records the lines where a record starts and where its quotes open."""

    def __init__(self, path: Path, problems: Problems) -> None:
        self.path = path
        self.problems = problems
        self.number = 0  # of the last line returned
        self._lines = read_lines(path, problems)
        self._next: tuple[int, str] | None = None
        self.start_record()

    def start_record(self) -> None:
        """Starts another record at the next line."""
        self.start = self.opened = self.closed = 0
        self._in_quotes = False
        self._size = 0

    def __next__(self) -> str:
        if self._next is None:
            where, text = next(self._lines)
            self._next = int(where.rpartition(":")[2]), text
        self.number += 1
        text = "\n"  # read_lines skips blank lines, but within quotes they belong to the cell
        if self._next[0] == self.number:
            text = f"{self._next[1]}\n"
            self._next = None
            self._follow(text)
        self._size += len(text)
        if self._size > _MAX_RECORD:
            what = f"the row that starts here has more than {_MAX_RECORD} characters"
            self.problems.stop(f"{self.path}:{self.start}", f"{what}; close the quote of line {self.opened}")
        return text

    def _follow(self, text: str) -> None:
        """Remembers where the last quote opened and which was still open at this line, for error messages."""
        self.start = self.start or self.number
        self.closed = self.opened if self._in_quotes else self.number
        n_quotes = text.replace('""', "").count('"')
        self.opened = self.number if n_quotes else self.opened
        self._in_quotes ^= bool(n_quotes % 2)


def read_separated(path: Path, separator: str, problems: Problems) -> Iterator[tuple[str, dict[str, str]]]:
    """Yields `path:line`, the line where the record starts, and its cells by column, unnamed columns left out.

    A tab-separated file is read by lines or by quotes, whichever leaves fewer rows that do not fit the header.

    Raises:
        BadInput: the file is missing or empty, its header is unusable, or a quote is never closed.
    """
    if separator == _TAB and _fits_by_lines(path):
        yield from _by_lines(path, problems)
    else:
        yield from _by_quotes(path, separator, problems)


def separated_columns(path: Path, separator: str, problems: Problems) -> list[str]:
    """Returns the names in the header, in order.

    Raises:
        BadInput: the file is missing or empty, or its header is unusable.
    """
    lines = _Lines(path, problems)
    return [name for name in _header(_records(lines, separator), path, separator, problems) if name]


def _fits_by_lines(path: Path) -> bool:
    """Tells whether to take each line of a tab-separated file for a row, and quotation marks for mere marks.

    Where both readings fit, each line has as many tabs as the header: lines are rows. Without tabs, in a single column,
    nothing tells a row from a line, and quotes decide.
    """
    problems = Problems()
    by_lines = _n_unreadable(_by_lines(path, problems), problems)
    if by_lines == 0:
        return len(separated_columns(path, _TAB, Problems())) > 1
    problems = Problems()
    return by_lines < _n_unreadable(_by_quotes(path, _TAB, problems), problems)


def _n_unreadable(rows: Iterator[tuple[str, dict[str, str]]], problems: Problems) -> float:
    """Returns the number of problems of a reading, infinity where it stops before the end."""
    try:
        for _ in rows:
            pass
    except BadInput:
        return float("inf")
    return problems.n


def _by_quotes(path: Path, separator: str, problems: Problems) -> Iterator[tuple[str, dict[str, str]]]:
    """Yields the rows of a file in which a cell in quotes may hold separators and line ends (RFC 4180)."""
    lines = _Lines(path, problems)
    records = _records(lines, separator)
    header = _header(records, path, separator, problems)
    for where, cells in records:
        if len(cells) == len(header):
            yield where, _named(header, cells)
        else:
            problems.add(where, _miscounted(cells, header, separator))


def _by_lines(path: Path, problems: Problems) -> Iterator[tuple[str, dict[str, str]]]:
    """Yields the rows of a tab-separated file in which each line is one."""
    lines = _whole_lines(path, problems)
    header = _header(((where, _cells(text)) for where, text in lines), path, _TAB, problems)
    for where, text in lines:
        cells = _cells(text, len(header))
        if len(cells) == len(header):
            yield where, _named(header, cells)
        else:
            problems.add(where, _miscounted(cells, header, _TAB))


def _whole_lines(path: Path, problems: Problems) -> Iterator[tuple[str, str]]:
    for where, text in read_lines(path, problems):
        if "\r" in text:
            problems.add(where, _explained("new-line", 0))
        else:
            yield where, text


def _cells(line: str, n_expected: int = 0) -> list[str]:
    """Returns the cells between the tabs of a line; where that is another number, tabs in quotes belong to their cell.

    A cell in quotes throughout, in which each quote is doubled, loses them; any other keeps its marks.
    """
    cells = line.split(_TAB)
    if len(cells) != n_expected and '"' in line:
        cells = [match[1] for match in _CELL_WITH_TABS.finditer(line)][: None if line.endswith(_TAB) else -1]
    return [quoted[1].replace('""', '"') if (quoted := _QUOTED_CELL.fullmatch(cell)) else cell for cell in cells]


def _named(header: list[str], cells: list[str]) -> dict[str, str]:
    return {name: cell for name, cell in zip(header, cells, strict=True) if name}


def _miscounted(cells: list[str], header: list[str], separator: str) -> str:
    expected = f"expected {len(header)} as in the header"
    return f"{len(cells)} cells, {expected}; put cells that hold {_NAMES[separator]} or line ends in quotes"


def _records(lines: _Lines, separator: str) -> Iterator[tuple[str, list[str]]]:
    csv.field_size_limit(_MAX_RECORD)  # process-wide; our own limit of a record is reached first
    reader = csv.reader(lines, delimiter=separator, strict=True)
    while True:
        lines.start_record()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            line = lines.opened if "end of data" in str(error) else lines.closed
            lines.problems.add(f"{lines.path}:{line}", _explained(str(error), lines.number))
            continue
        if cells:
            yield f"{lines.path}:{lines.start}", cells


def _explained(error: str, number: int) -> str:
    """Translates an error of the csv module."""
    if "end of data" in error:
        return 'the quote that opens here is never closed; close it, or double it ("") if it belongs to the text'
    if "expected after" in error:
        doubled = 'double each quote ("") that belongs to the text'
        return f"the quote that opens here is followed by text after it closes on line {number}; {doubled}"
    if "new-line" in error:
        return "a carriage return outside quotes; save the file with line ends of Unix or Windows"
    return f"not readable ({error}); correct or remove the row"


def _header(records: Iterator[tuple[str, list[str]]], path: Path, separator: str, problems: Problems) -> list[str]:
    n_problems = problems.n
    where, cells = next(records, (f"{path}:1", []))
    if problems.n > n_problems:
        problems.check()
    header = [cell.strip() for cell in cells]
    if not any(header):
        problems.stop(where, "no header; write the names of the columns on the first line")
    if where == f"{path}:1" and header[0].startswith("sep="):
        problems.stop(where, f"got {shown(header[0])}, a line for Excel, expected the header; remove it")
    repeated = [name for name, n in Counter(header).items() if name and n > 1]
    if repeated:
        problems.stop(where, f"the header has {shown(repeated[0])} twice; give each column its own name")
    other = next((_NAMES[mark] for mark in _NAMES if mark != separator and mark in header[0]), "")
    if len(header) == 1 and other:
        expected = f"{_NAMES[separator]} between the columns of a {'tsv' if separator == chr(9) else 'csv'} file"
        problems.stop(where, f"header is {shown(header[0])} with {other}, expected {expected}; save it so")
    return header
