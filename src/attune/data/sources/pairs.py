"""A user's table of queries and the documents that answer them, and, as in triplets, of documents that do not.

One row is a query and a document; a query may have several rows and so may a document. What has no id column is known
by its text: the same text is the same query or document, whatever rows are added.
"""

from collections import Counter
from collections.abc import Iterator
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from tqdm import tqdm

from attune.data.sources.files.cells import Cells, Columns
from attune.data.sources.files.lines import shown
from attune.data.sources.files.tabular import columns_of, read_table, single_file
from attune.data.sources.raw import Document, Qrel, Query, RawData
from attune.errors import Problems


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


Pair = tuple[str, str]  # query_id, document_id
_SPLITS = ("train", "dev", "test", "")


def judged(pairs: PairRows, problems: Problems) -> RawData:
    """The data set of these rows; a negative is the document with its text, whatever id and title that has.

    A pair with two relevances, and a document that a row gives as a negative of a query and another as its answer, are
    problems. What is repeated is dropped and counted, and so are queries that no document answers.
    """
    judgments = _Judgments(pairs, problems)
    documents: dict[str, Document] = {}
    qrels: dict[Pair, Qrel] = {}
    for row in pairs.rows:
        for document, relevance in judgments.of(row):
            documents.setdefault(document.document_id, document)
            qrel = Qrel(row.query_id, document.document_id, relevance)
            qrels.setdefault(qrel[:2], qrel)
    answered = {qrel.query_id for qrel in qrels.values() if qrel.relevance}
    queries = [known.row for id_, known in pairs.queries.items() if id_ in answered]
    dropped = pairs.dropped
    dropped["query_without_relevant"] = len(pairs.queries) - len(queries)
    return RawData(list(documents.values()), queries, _by_split(pairs, qrels, answered), dropped=dropped)


def _by_split(pairs: PairRows, qrels: dict[Pair, Qrel], answered: set[str]) -> dict[str, list[Qrel]]:
    """The judgments of the answered queries in the order train, dev, test, or all of them under "all"."""
    found: dict[str, list[Qrel]] = {split: [] for split in _SPLITS}
    for qrel in qrels.values():
        if qrel.query_id in answered:
            found[pairs.queries[qrel.query_id].split].append(qrel)
    return {split or "all": judgments for split, judgments in found.items() if judgments}


class _Judgments:
    """Pairs are known before any negative is looked at, for the row that contradicts a negative may come after it."""

    def __init__(self, pairs: PairRows, problems: Problems) -> None:
        self._pairs = pairs
        self._problems = problems
        self._labels: dict[Pair, tuple[int, str]] = {}
        self._by_text: dict[str, list[Document]] = {}
        for row in pairs.rows:
            self._add_pair(row)
        if any(row.negatives for row in pairs.rows):
            for known in pairs.documents.values():
                self._by_text.setdefault(known.row.text, []).append(known.row)

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
        """The row's document with its relevance, and its negatives with 0."""
        yield self._pairs.documents[row.document_id].row, row.relevance
        for text in row.negatives:
            same = self._by_text.setdefault(text, [Document(made_id("", text), "", text)])
            if self._is_new(row, same):
                yield same[0], 0

    def _is_new(self, row: PairRow, same: list[Document]) -> bool:
        """Whether the negative is not judged yet; that one with its text is an answer to the query is a problem."""
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


def read_pairs(path: Path, columns: Columns) -> RawData:
    """Reads a table, or the only one in a folder; queries and documents keep the order they are first met in.

    Left out and counted: rows without a query or a document, the same pair or negative again, and queries without a
    document that answers them.

    Raises:
        BadInput: the file is missing, malformed or contradicts itself; all problems at once.
    """
    problems = Problems()
    file = single_file(path, problems)
    wanted = _wanted(file, columns, problems)
    rows = PairRows(columns, problems)
    for where, record in tqdm(read_table(file, problems, wanted), desc=file.name, unit=" rows", disable=None):
        rows.add(where, record)
    raw = judged(rows, problems)
    problems.check()
    if raw.qrels and "all" not in raw.qrels and not any(qrel.relevance for qrel in raw.qrels.get("train", [])):
        what = "no document answers a query of train; add rows or leave collect.columns.split empty"
        problems.stop(str(file), f"column {shown(columns.split)}: {what}")
    return raw


def _wanted(file: Path, columns: Columns, problems: Problems) -> list[str]:
    """The columns to read; stops where one is not there, which would otherwise be a problem of each row."""
    named = {key: name for key, name in columns.model_dump(exclude={"negatives"}).items() if name}
    if not columns.query or not columns.document or columns.query == columns.document:
        what = f"collect.columns.query is {shown(columns.query)} and collect.columns.document {shown(columns.document)}"
        problems.stop(str(file), f"{what}, expected two columns; name them in params.yaml")
    wanted = [*named.items(), *(("negatives", name) for name in columns.negatives)]
    found = columns_of(file, Problems())  # what is wrong with rows is noted when they are read
    missing = [
        f"{shown(name)} (collect.columns.{key}{_like(name, found)})" for key, name in wanted if name not in found
    ]
    if missing and found:
        names = ", ".join(map(shown, found[:20])) + (" ..." if len(found) > 20 else "")
        what = f"no column {', no column '.join(missing)}; the columns are {names}; mend collect.columns in params.yaml"
        problems.stop(str(file), what)
    return [name for _, name in wanted]


def _like(name: str, found: list[str]) -> str:
    by_lower = {other.lower(): other for other in found}
    close = get_close_matches(name.lower(), by_lower, n=1)
    return f", did you mean {shown(by_lower[close[0]])}?" if close else ""
