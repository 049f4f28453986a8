"""One row's cells, each read as what it should hold; what it does not hold is a problem and None."""

import re
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from attune.data.sources.files.lines import id_of, is_whole, shown, text_of
from attune.errors import Problems

_SPLITS = {"": "", "train": "train", "dev": "dev", "test": "test", "validation": "dev", "valid": "dev", "val": "dev"}
_RELEVANCE = re.compile(r"(-?[0-9]{1,9})(\.0*)?")


class Cells(NamedTuple):
    """The cells by column; a column "" is one that the table does not have. Space around a cell does not count."""

    where: str
    record: dict[str, Any]
    problems: Problems

    def text(self, column: str, *, optional: bool = False) -> str | None:
        """A string; "" where the cell is blank or null, or where an optional one is not there."""
        if self.record.get(column, "") is None or (optional and column not in self.record):
            return ""
        text = text_of(self.where, self.record, column, self.problems)
        return None if text is None else text.strip()

    def label(self, column: str) -> str | None:
        """A string or a whole number, "" where there is none."""
        return str(int(self.record[column])) if self.is_whole(column) else self.text(column, optional=True)

    def identity(self, column: str) -> str | None:
        """An id."""
        id_ = id_of(self.where, self.record, column, self.problems)
        return None if id_ is None else id_.strip()

    def is_whole(self, column: str) -> bool:
        """Whether the cell holds a number without a fraction (12 or 12.0), and not its digits as a string."""
        return is_whole(self.record.get(column))

    def split(self, column: str) -> str | None:
        """One of train, dev and test, or ""."""
        label = self.label(column)
        if label is not None and label.lower() not in _SPLITS:
            expected = "expected train, dev (or validation, valid, val) or test"
            self.problems.add(self.where, f"column {shown(column)} is {shown(label)}, {expected}; mend it")
            return None
        return None if label is None else _SPLITS[label.lower()]

    def relevance(self, column: str) -> int | None:
        """A whole number, also written as 2.0, below 0 the same as 0; 1 where the table has no such column."""
        if not column:
            return 1
        value = self.record.get(column)
        match = _RELEVANCE.fullmatch(str(value).strip()) if isinstance(value, str | int | float) else None
        if match is None:
            expected = "expected a whole number, 0 where it does not answer; mend it"
            self.problems.add(self.where, f"column {shown(column)} is {shown(value)}, {expected}")
        return max(0, int(match[1])) if match else None

    def texts(self, columns: list[str]) -> list[str | None]:
        """All texts of some columns whose cells hold none, one or a list of them; "" for a blank one in a list."""
        found: list[str | None] = []
        for column in columns:
            value = self.record.get(column)
            if isinstance(value, list):
                found += (Cells(self.where, {column: item}, self.problems).text(column) for item in value)
            elif value is not None and value != "":
                found.append(self.text(column))
        return found


class Columns(BaseModel):
    """Names of columns; "" where the table has none of the kind. No field has a default: params.yaml shows them all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    query: str
    document: str
    title: str
    negatives: list[Annotated[str, Field(min_length=1)]]  # documents that do not answer the row's query
    relevance: str
    query_id: str
    document_id: str
    group: str  # a customer, a thread, a page: its queries are never split
    stratum: str  # of each of its values the splits get the same share
    split: str  # train, dev or test
