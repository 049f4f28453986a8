"""The rows of a table of pairs, each checked by itself and against what earlier rows say of its query and document."""

from collections import Counter
from hashlib import sha256
from typing import Any, Generic, NamedTuple, TypeVar

from attune.data.sources.files.cells import Cells
from attune.data.sources.files.columns import Columns
from attune.data.sources.files.lines import shown
from attune.data.sources.raw import Document, Query
from attune.problems import Problems


class PairRow(NamedTuple):
    """What a row says of a query and a document; `negatives` are texts of documents that do not answer it."""

    where: str
    query_id: str
    document_id: str
    relevance: int
    negatives: tuple[str, ...]


RowT = TypeVar("RowT", bound=Query | Document)


class Known(NamedTuple, Generic[RowT]):
    """A query or a document and where it was met first; `split` is "" for documents and where none is given."""

    row: RowT
    split: str
    id_kind: str  # 1 and "1" are not taken for the same id
    where: str


class PairRows:
    """The good rows in order, with their queries and documents by id; what is wrong with the others is noted."""

    def __init__(self, columns: Columns, problems: Problems) -> None:
        self.rows: list[PairRow] = []
        self.queries: dict[str, Known[Query]] = {}
        self.documents: dict[str, Known[Document]] = {}
        self.dropped: Counter[str] = Counter()
        self._columns = columns
        self._problems = problems
        self._first_split: tuple[str, str] | None = None

    def add(self, where: str, record: dict[str, Any]) -> None:
        """Adds a row, or one for each document where the cell holds a list of them."""
        answers = record.get(self._columns.document)
        if isinstance(answers, list) and self._columns.document_id:
            what = f"column {shown(self._columns.document)} is a list, expected one text with its id"
            self._problems.add(where, f"{what}; write a row for each, or leave collect.columns.document_id empty")
            return
        rows = [{self._columns.document: answer} for answer in answers or [None]] if isinstance(answers, list) else [{}]
        for row in rows:
            self._add(where, record | row)

    def _add(self, where: str, record: dict[str, Any]) -> None:
        """Adds a row, notes what is wrong with it, or counts it as dropped where its query or document is blank."""
        cells = Cells(where, record, self._problems)
        query, document = cells.text(self._columns.query), cells.text(self._columns.document)
        if query == "" or document == "":
            self.dropped["query_blank" if query == "" else "document_blank"] += 1
            return
        if query is None or document is None:
            return
        asked, answer = self._query(cells, query), self._document(cells, document)
        relevance, negatives = cells.relevance(self._columns.relevance), cells.texts(self._columns.negatives)
        texts = tuple(text for text in negatives if text)
        if asked is None or answer is None or relevance is None or None in negatives:
            return
        self.dropped["negative_blank"] += len(negatives) - len(texts)
        if self._agrees("query", self.queries, asked) and self._agrees("document", self.documents, answer):
            self.rows.append(PairRow(where, asked.row[0], answer.row[0], relevance, texts))

    def _query(self, cells: Cells, text: str) -> Known[Query] | None:
        names = self._columns
        id_ = cells.identity(names.query_id) if names.query_id else "q" + _digest(text)
        group, stratum, split = cells.label(names.group), cells.label(names.stratum), cells.split(names.split)
        if id_ is None or group is None or stratum is None or split is None or not self._is_everywhere(cells, split):
            return None
        return Known(Query(id_, text, group, stratum), split, _kind(cells, names.query_id), cells.where)

    def _document(self, cells: Cells, text: str) -> Known[Document] | None:
        names = self._columns
        title = cells.text(names.title, optional=True)
        if title is None:
            return None
        id_ = cells.identity(names.document_id) if names.document_id else made_id(title, text)
        if id_ is None:
            return None
        return Known(Document(id_, title, text), "", _kind(cells, names.document_id), cells.where)

    def _is_everywhere(self, cells: Cells, split: str) -> bool:
        """Whether the row has a split as the first row has one, or none as that has none."""
        self._first_split = self._first_split or (cells.where, split)
        where, first = self._first_split
        if bool(first) == bool(split):
            return True
        what = f"column {shown(self._columns.split)} is {shown(split)}, but {shown(first)} in {where}"
        self._problems.add(cells.where, f"{what}; fill it in all rows or in none")
        return False

    def _agrees(self, what: str, known: dict[str, Known[RowT]], new: Known[RowT]) -> bool:
        """Whether the row says the same as the first one of this query or document; notes the difference if not."""
        first = known.setdefault(new.row[0], new)
        if first[:3] == new[:3]:
            return True
        names = (*new.row._fields[1:], "split", "an id that is")
        values = zip(names, (*new.row[1:], *new[1:3]), (*first.row[1:], *first[1:3]), strict=True)
        name, got, had = next(value for value in values if value[1] != value[2])
        which = shown(new.row[0] if getattr(self._columns, f"{what}_id") else new.row.text)
        problem = f"{what} {which} has {name} {shown(got)}, but {shown(had)} in {first.where}"
        self._problems.add(new.where, f"{problem}; make them the same or give another id")
        return False


def made_id(title: str, text: str) -> str:
    """The id of a document without one: the same for the same content, whatever else is in the table."""
    return "d" + _digest(f"{title}\n{text}")


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]


def _kind(cells: Cells, column: str) -> str:
    return "a number" if cells.is_whole(column) else "text"
