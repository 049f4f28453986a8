"""Cells of a row, read as text, id, label, split or relevance; a cell of another kind gives None and a problem."""

import re
from typing import Annotated, Any, NamedTuple
from unicodedata import normalize

from pydantic import BaseModel, ConfigDict, Field

from attune.data.sources.files.lines import id_of, is_whole, shown, text_of
from attune.errors import Problems

SPLIT_NAMES = {"train": "train", "dev": "dev", "test": "test", "validation": "dev", "valid": "dev", "val": "dev"}
_RELEVANCE = re.compile(r"(-?[0-9]{1,9})(\.0*)?")


class Cells(NamedTuple):
    """The cells of a row by column; a column "" means that the table has none. Cells are stripped of white space."""

    where: str
    record: dict[str, Any]
    problems: Problems

    def text(self, column: str, *, optional: bool = False) -> str | None:
        """Returns a string; "" where the cell is blank or null, or an optional one is missing."""
        if self.record.get(column, "") is None or (optional and column not in self.record):
            return ""
        text = text_of(self.where, self.record, column, self.problems)
        return None if text is None else text.strip()

    def label(self, column: str) -> str | None:
        """Returns a string, its letters composed, or a whole number as its digits; "" where there is none."""
        label = str(int(self.record[column])) if self.is_whole(column) else self.text(column, optional=True)
        return label and normalize("NFC", label)

    def identity(self, column: str) -> str | None:
        """Returns an id."""
        id_ = id_of(self.where, self.record, column, self.problems)
        return None if id_ is None else id_.strip()

    def is_whole(self, column: str) -> bool:
        """Returns True for a whole number such as 12 or 12.0; False for the string "12"."""
        return is_whole(self.record.get(column))

    def split(self, column: str) -> str | None:
        """Returns train, dev, test or ""."""
        label = self.label(column)
        if label and label.lower() not in SPLIT_NAMES:
            expected = "expected train, dev (or validation, valid, val) or test"
            self.problems.add(self.where, f"column {shown(column)} is {shown(label)}, {expected}; mend it")
            return None
        return label and SPLIT_NAMES[label.lower()]

    def relevance(self, column: str) -> int | None:
        """Returns the relevance as an integer: accepts 2.0; negatives become 0; 1 without the column."""
        if not column:
            return 1
        value = self.record.get(column)
        match = _RELEVANCE.fullmatch(str(value).strip()) if isinstance(value, str | int | float) else None
        if match is None:
            expected = "expected a whole number, 0 where it does not answer; mend it"
            self.problems.add(self.where, f"column {shown(column)} is {shown(value)}, {expected}")
        return max(0, int(match[1])) if match else None

    def texts(self, columns: list[str]) -> list[str | None]:
        """Returns all texts of columns whose cells hold none, one or a list of them; "" for a blank one in a list."""
        texts: list[str | None] = []
        for column in columns:
            value = self.record.get(column)
            if isinstance(value, list):
                texts += (Cells(self.where, {column: item}, self.problems).text(column) for item in value)
            elif value is not None and value != "":
                texts.append(self.text(column))
        return texts


class ColumnNames(BaseModel):
    """Names of the columns of a user's table, parameters collect.columns.*; "" where the table has none of the kind."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    query: str
    document: str
    title: str
    negatives: list[Annotated[str, Field(min_length=1)]]  # documents that do not answer the row's query
    relevance: str
    query_id: str
    document_id: str
    group: str  # a customer, a thread, a page: its queries go to the same split
    stratum: str  # each split gets the same share of each of its values
    split: str  # train, dev or test
