"""User tables of pairs (query, relevant document) and triplets (query, relevant document, negatives).

A query may occur in several rows, and so may a document. Without an id column, ids are hashes of the texts: equal texts
are one query or document, whatever rows are added.
"""

from collections import Counter
from collections.abc import Iterator
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from tqdm import tqdm

from attune.data.sources.files.cells import Cells, ColumnNames
from attune.data.sources.files.lines import shown
from attune.data.sources.files.tabular import columns_of, read_table, single_file
from attune.data.sources.raw import Document, Qrel, Query, RawData
from attune.errors import Problems


class PairRow(NamedTuple):
    """A judged pair of a query and a document; `negatives` are texts of documents that do not answer the query."""

    where: str
    query_id: str
    document_id: str
    relevance: int
    negatives: tuple[str, ...]


RowT = TypeVar("RowT", bound=Query | Document)


class FirstSeen(NamedTuple, Generic[RowT]):
    """A query or a document and its first place; `split` is "" for documents and where none is given."""

    row: RowT
    split: str
    id_kind: str  # "a number" or "text": 1 and "1" are different ids
    where: str


class PairRows:
    """The valid rows in order, with their queries and documents by id; adds problems for the others."""

    def __init__(self, columns: ColumnNames, problems: Problems) -> None:
        self.rows: list[PairRow] = []
        self.queries: dict[str, FirstSeen[Query]] = {}
        self.documents: dict[str, FirstSeen[Document]] = {}
        self.dropped: Counter[str] = Counter()
        self._columns = columns
        self._problems = problems
        self._first_split: tuple[str, str] | None = None

    def add(self, where: str, record: dict[str, Any]) -> None:
        """Adds a row; a cell with a list of documents gives one row for each."""
        answers = record.get(self._columns.document)
        if isinstance(answers, list) and self._columns.document_id:
            what = f"column {shown(self._columns.document)} is a list, expected one text with its id"
            self._problems.add(where, f"{what}; write a row for each, or leave collect.columns.document_id empty")
            return
        rows = [{self._columns.document: answer} for answer in answers or [None]] if isinstance(answers, list) else [{}]
        for row in rows:
            self._add(where, record | row)

    def _add(self, where: str, record: dict[str, Any]) -> None:
        """Adds a row, or its problems; counts it as dropped where its query or document is blank."""
        cells = Cells(where, record, self._problems)
        query_text, document_text = cells.text(self._columns.query), cells.text(self._columns.document)
        if query_text == "" or document_text == "":
            self.dropped["query_blank" if query_text == "" else "document_blank"] += 1
            return
        if query_text is None or document_text is None:
            return
        query, document = self._query(cells, query_text), self._document(cells, document_text)
        relevance, negatives = cells.relevance(self._columns.relevance), cells.texts(self._columns.negatives)
        texts = tuple(text for text in negatives if text)
        if query is None or document is None or relevance is None or None in negatives:
            return
        self.dropped["negative_blank"] += len(negatives) - len(texts)
        if self._agrees("query", self.queries, query) and self._agrees("document", self.documents, document):
            self.rows.append(PairRow(where, query.row[0], document.row[0], relevance, texts))

    def _query(self, cells: Cells, text: str) -> FirstSeen[Query] | None:
        names = self._columns
        id_ = cells.identity(names.query_id) if names.query_id else "q" + _digest(text)
        group, stratum, split = cells.label(names.group), cells.label(names.stratum), cells.split(names.split)
        if id_ is None or group is None or stratum is None or split is None or not self._is_consistent(cells, split):
            return None
        return FirstSeen(Query(id_, text, group, stratum), split, _kind(cells, names.query_id), cells.where)

    def _document(self, cells: Cells, text: str) -> FirstSeen[Document] | None:
        names = self._columns
        title = cells.text(names.title, optional=True)
        if title is None:
            return None
        id_ = cells.identity(names.document_id) if names.document_id else content_id(title, text)
        if id_ is None:
            return None
        return FirstSeen(Document(id_, title, text), "", _kind(cells, names.document_id), cells.where)

    def _is_consistent(self, cells: Cells, split: str) -> bool:
        """Returns True if this row and the first one both have a split, or both have none; else adds a problem."""
        self._first_split = self._first_split or (cells.where, split)
        where, first = self._first_split
        if bool(first) == bool(split):
            return True
        what = f"column {shown(self._columns.split)} is {shown(split)}, but {shown(first)} in {where}"
        self._problems.add(cells.where, f"{what}; fill it in all rows or in none")
        return False

    def _agrees(self, what: str, seen: dict[str, FirstSeen[RowT]], new: FirstSeen[RowT]) -> bool:
        """Returns True if this query or document equals the first one with its id; else adds a problem."""
        first = seen.setdefault(new.row[0], new)
        if first[:3] == new[:3]:
            return True
        names = (*new.row._fields[1:], "split", "an id that is")
        values = zip(names, (*new.row[1:], *new[1:3]), (*first.row[1:], *first[1:3]), strict=True)
        name, got, had = next(value for value in values if value[1] != value[2])
        which = shown(new.row[0] if getattr(self._columns, f"{what}_id") else new.row.text)
        problem = f"{what} {which} has {name} {shown(got)}, but {shown(had)} in {first.where}"
        self._problems.add(new.where, f"{problem}; make them the same or give another id")
        return False


def content_id(title: str, text: str) -> str:
    """Returns an id for a document without one: a hash of its title and text."""
    return "d" + _digest(f"{title}\n{text}")


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]


def _kind(cells: Cells, column: str) -> str:
    return "a number" if cells.is_whole(column) else "text"


Pair = tuple[str, str]  # query_id, document_id
_SPLITS = ("train", "dev", "test", "")


def data_set(pairs: PairRows, problems: Problems) -> RawData:
    """Returns the data set of these rows; a negative is the document of the same text, whatever its id and title.

    Adds a problem for a pair with two relevances, and for a document that is a negative of a query in one row and its
    answer in another. Drops and counts repetitions and queries without a relevant document.
    """
    judgments = _PairJudgments(pairs, problems)
    documents: dict[str, Document] = {}
    qrels: dict[Pair, Qrel] = {}
    for row in pairs.rows:
        for document, relevance in judgments.of(row):
            documents.setdefault(document.document_id, document)
            qrel = Qrel(row.query_id, document.document_id, relevance)
            qrels.setdefault(qrel[:2], qrel)
    answered = {qrel.query_id for qrel in qrels.values() if qrel.relevance}
    queries = [first.row for id_, first in pairs.queries.items() if id_ in answered]
    dropped = pairs.dropped
    dropped["query_without_relevant"] = len(pairs.queries) - len(queries)
    return RawData(list(documents.values()), queries, _by_split(pairs, qrels, answered), dropped=dropped)


def _by_split(pairs: PairRows, qrels: dict[Pair, Qrel], answered: set[str]) -> dict[str, list[Qrel]]:
    """Returns the judgments of the answered queries in the order train, dev, test, or all of them under "all"."""
    by_split: dict[str, list[Qrel]] = {split: [] for split in _SPLITS}
    for qrel in qrels.values():
        if qrel.query_id in answered:
            by_split[pairs.queries[qrel.query_id].split].append(qrel)
    return {split or "all": judgments for split, judgments in by_split.items() if judgments}


class _PairJudgments:
    """Judgments of pairs and negatives; reads all pairs before any negative, so that later contradictions are found."""

    def __init__(self, pairs: PairRows, problems: Problems) -> None:
        self._pairs = pairs
        self._problems = problems
        self._labels: dict[Pair, tuple[int, str]] = {}
        self._by_text: dict[str, list[Document]] = {}
        for row in pairs.rows:
            self._add_pair(row)
        if any(row.negatives for row in pairs.rows):
            for first in pairs.documents.values():
                self._by_text.setdefault(first.row.text, []).append(first.row)

    def _add_pair(self, row: PairRow) -> None:
        pair = row.query_id, row.document_id
        relevance, where = self._labels.setdefault(pair, (row.relevance, row.where))
        if relevance != row.relevance:
            what = (
                f"label conflict: relevance {row.relevance}, but {relevance} in {where} for the same query and document"
            )
            self._problems.add(row.where, f"{what}; remove one")
        elif where != row.where:
            self._pairs.dropped["pair_repeated"] += 1

    def of(self, row: PairRow) -> Iterator[tuple[Document, int]]:
        """Yields the row's document with its relevance, and its negatives with 0."""
        yield self._pairs.documents[row.document_id].row, row.relevance
        for text in row.negatives:
            same = self._by_text.setdefault(text, [Document(content_id("", text), "", text)])
            if self._is_new(row, same):
                yield same[0], 0

    def _is_new(self, row: PairRow, same: list[Document]) -> bool:
        """Returns True if the negative is not judged yet; adds a problem if a document of its text is an answer."""
        for document in same:
            relevance, where = self._labels.get((row.query_id, document.document_id), (0, ""))
            if relevance:
                what = f"label conflict: a negative is {shown(document.text)}, which answers the query in {where}"
                self._problems.add(row.where, f"{what}; remove one")
                return False
        pair = row.query_id, same[0].document_id
        if pair in self._labels:
            self._pairs.dropped["negative_repeated"] += 1
            return False
        self._labels[pair] = 0, row.where
        return True


def read_pairs(path: Path, columns: ColumnNames) -> RawData:
    """Reads a table, or the only one in a folder; queries and documents are in the order of their first rows.

    Drops and counts rows without a query or a document, repeated pairs and negatives, and queries without a relevant
    document.

    Raises:
        BadInput: the file is missing, malformed or contradicts itself; all problems at once.
    """
    problems = Problems()
    file = single_file(path, problems)
    wanted = _wanted(file, columns, problems)
    rows = PairRows(columns, problems)
    for where, record in tqdm(read_table(file, problems, wanted), desc=file.name, unit=" rows", disable=None):
        rows.add(where, record)
    raw = data_set(rows, problems)
    problems.check()
    if raw.qrels and "all" not in raw.qrels and not any(qrel.relevance for qrel in raw.qrels.get("train", [])):
        what = "no document answers a query of train; add rows or leave collect.columns.split empty"
        problems.stop(str(file), f"column {shown(columns.split)}: {what}")
    return raw


def _wanted(file: Path, columns: ColumnNames, problems: Problems) -> list[str]:
    """Returns the columns to read; stops at a missing one, which would otherwise be a problem of each row."""
    named = {key: name for key, name in columns.model_dump(exclude={"negatives"}).items() if name}
    if not columns.query or not columns.document or columns.query == columns.document:
        what = f"collect.columns.query is {shown(columns.query)} and collect.columns.document {shown(columns.document)}"
        problems.stop(str(file), f"{what}, expected two different columns; name them in params.yaml")
    wanted = [*named.items(), *(("negatives", name) for name in columns.negatives)]
    there = columns_of(file, Problems())  # problems of rows are added when they are read
    missing = [
        f"{shown(name)} (collect.columns.{key}{_like(name, there)})" for key, name in wanted if name not in there
    ]
    if missing and there:
        names = ", ".join(map(shown, there[:20])) + (" ..." if len(there) > 20 else "")
        what = f"no column {', no column '.join(missing)}; the columns are {names}; set collect.columns"
        problems.stop(str(file), what)
    return [name for _, name in wanted]


def _like(name: str, columns: list[str]) -> str:
    by_lower = {other.lower(): other for other in columns}
    close = get_close_matches(name.lower(), by_lower, n=1)
    return f", did you mean {shown(by_lower[close[0]])}?" if close else ""
