"""Rows that have an id of their own: the corpus and the queries of a BEIR folder, one JSON object a line."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from attune.data.sources.files.lines import id_of, read_jsonl, shown
from attune.data.sources.raw import Document, Query
from attune.errors import BadInput
from attune.problems import Problems

Row = TypeVar("Row", Document, Query)
MakeRow = Callable[[str, str, dict[str, Any]], Row | None]  # from `path:line`, the id and the object


@dataclass
class Rows(Generic[Row]):
    """What a file holds; rows keep its order."""

    path: Path
    by_id: dict[str, Row] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)  # where each id is first, also one of a malformed row
    is_whole: bool = True  # whether every line gave its id, so that an id that is not here is nowhere
    n_repeated: int = 0

    def add(self, where: str, id_: str, row: Row, problems: Problems) -> None:
        """Adds a row; the same row again is counted, another one with its id is a problem."""
        first, number = self.lines[id_], _number(where)
        if self.by_id.setdefault(id_, row) != row:
            what = f'"_id" {shown(id_)} is already on line {first} with other content; give each row its own id'
            problems.add(where, what)
        elif first != number:
            self.n_repeated += 1


def read_rows(path: Path, make: MakeRow[Row], problems: Problems) -> Rows[Row]:
    """Reads a file of rows; what `make` gives for a row with a problem, None, is passed over.

    Where the file cannot be read to its end, the rows before are given; the caller asks the problems.
    """
    rows: Rows[Row] = Rows(path)
    n_before = n_known = problems.n
    with suppress(BadInput):
        for where, record in tqdm(read_jsonl(path, problems), desc=path.name, unit=" rows", disable=None):
            id_ = id_of(where, record, "_id", problems)
            if problems.n > n_known:
                rows.is_whole = False
            row = make(where, id_ or "", record)
            n_known = problems.n
            if id_ is not None:
                rows.lines.setdefault(id_, _number(where))
            if id_ is not None and row is not None:
                rows.add(where, id_, row, problems)
                n_known = problems.n
    rows.is_whole &= problems.n == n_known
    if problems.n == n_before and not rows.by_id:
        problems.add(str(path), "no rows; write one JSON object a line")
        rows.is_whole = False
    return rows


def _number(where: str) -> int:
    return int(where.rpartition(":")[2])
