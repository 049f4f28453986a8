"""A user's own data, in the layout of BEIR (Thakur et al. 2021, arXiv 2104.08663).

`corpus.jsonl` ({"_id", "title", "text"}), `queries.jsonl` ({"_id", "text"}) and `qrels/*.tsv` (query-id, corpus-id,
score): any of train, dev and test, or one `all.tsv` whose split is still to be made. Errors name file and line.
"""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from attune.errors import BadInput
from attune.sources.lines import read_jsonl, read_lines, shown, text_of
from attune.sources.raw import Document, Qrel, Query, RawData

_SPLITS = ("train", "dev", "test")
_HEADER = "query-id\tcorpus-id\tscore"

Row = TypeVar("Row", Document, Query)


def read_beir(folder: Path) -> RawData:
    """Reads a BEIR folder; rows keep the order of the files.

    Left out and counted: documents and queries without any text, judgments of those, judgments of 0 or less, repeated
    judgments, and queries that are left without a relevant document.

    Raises:
        BadInput: a file is missing or malformed, an id is repeated or unknown, a query is in two splits, or nothing is
            left of a split.
    """
    documents = _read_rows(folder / "corpus.jsonl", _document)
    queries = _read_rows(folder / "queries.jsonl", _query)
    dropped: Counter[str] = Counter()
    kept_documents = [d for d in documents if (d.title + d.text).strip()]
    kept_queries = [q for q in queries if q.text.strip()]
    dropped["document_blank"] = len(documents) - len(kept_documents)
    dropped["query_blank"] = len(queries) - len(kept_queries)
    judgments = Judgments({q.query_id for q in queries}, {d.document_id for d in documents}, dropped)
    for file in _qrels_files(folder / "qrels"):
        judgments.read(file)
    qrels = judgments.between({q.query_id for q in kept_queries}, {d.document_id for d in kept_documents})
    judged = {qrel.query_id for split in qrels.values() for qrel in split}
    dropped["query_without_relevant"] = sum(q.query_id not in judged for q in kept_queries)
    return RawData(kept_documents, [q for q in kept_queries if q.query_id in judged], qrels, dropped)


def _document(where: str, record: dict[str, Any]) -> Document:
    return Document(_id(where, record), text_of(where, record, "title", default=""), text_of(where, record, "text"))


def _query(where: str, record: dict[str, Any]) -> Query:
    return Query(_id(where, record), text_of(where, record, "text"))


def _id(where: str, record: dict[str, Any]) -> str:
    id_ = text_of(where, record, "_id")
    if not id_.strip() or re.search(r"[\t\r\n]", id_):
        raise BadInput(f'{where}: "_id" is {shown(id_)}, expected text without tabs and line breaks; rename it')
    return id_


def _read_rows(path: Path, make: Callable[[str, dict[str, Any]], Row]) -> list[Row]:
    rows: dict[str, tuple[str, Row]] = {}
    for where, record in tqdm(read_jsonl(path), desc=path.name, unit=" rows", disable=None):
        row = make(where, record)
        if row[0] in rows:
            first = rows[row[0]][0].rpartition(":")[2]
            raise BadInput(f'{where}: "_id" {shown(row[0])} is already on line {first}; make ids unique')
        rows[row[0]] = where, row
    if not rows:
        raise BadInput(f"{path}: no rows; write one JSON object a line")
    return [row for _, row in rows.values()]


def _qrels_files(folder: Path) -> list[Path]:
    """The files of judgments, in the order train, dev, test."""
    names = sorted(file.name for file in folder.glob("*.tsv") if not file.name.startswith("."))
    expected = "all.tsv, or any of train.tsv, dev.tsv and test.tsv"
    unknown = [name for name in names if name.removesuffix(".tsv") not in (*_SPLITS, "all")]
    if not names:
        raise BadInput(f"{folder}: no judgments; expected {expected}")
    if unknown or ("all.tsv" in names and len(names) > 1):
        raise BadInput(f"{folder}: got {', '.join(names)}, expected {expected}; rename or remove the others")
    return [folder / f"{split}.tsv" for split in (*_SPLITS, "all") if f"{split}.tsv" in names]


class Judgments:
    """The judgments of all files, checked against the queries and documents and against each other."""

    def __init__(self, query_ids: set[str], document_ids: set[str], dropped: Counter[str]) -> None:
        self._query_ids = query_ids
        self._document_ids = document_ids
        self._dropped = dropped
        self._files: list[Path] = []
        self._lines: dict[tuple[str, str], tuple[str, int]] = {}
        self._first: dict[str, str] = {}
        self._qrels: dict[str, list[Qrel]] = {}

    def read(self, file: Path) -> None:
        """Adds the judgments of one file; its name is the split's."""
        lines = read_lines(file)
        where, header = next(lines, (f"{file}:1", ""))
        if header != _HEADER:
            raise BadInput(
                f"{where}: header is {shown(header)}, expected {shown(_HEADER)} (two tabs); mend the first line"
            )
        self._files.append(file)
        self._qrels[file.stem] = []
        for where, line in lines:
            qrel = self._parse(where, line)
            if self._is_new(where, qrel):
                self._qrels[file.stem].append(qrel)

    def between(self, query_ids: set[str], document_ids: set[str]) -> dict[str, list[Qrel]]:
        """The positive judgments of these queries and documents, by split."""
        kept = {}
        for file in self._files:
            known = [q for q in self._qrels[file.stem] if q.query_id in query_ids and q.document_id in document_ids]
            kept[file.stem] = [qrel for qrel in known if qrel.relevance > 0]
            self._dropped["qrel_of_blank"] += len(self._qrels[file.stem]) - len(known)
            self._dropped["qrel_not_relevant"] += len(known) - len(kept[file.stem])
            if not kept[file.stem]:
                raise BadInput(
                    f"{file}: no judgment of 1 or more of a query and a document with text; add some or remove the file"
                )
        return kept

    def _parse(self, where: str, line: str) -> Qrel:
        fields = line.split("\t")
        if len(fields) != 3:
            raise BadInput(f"{where}: {len(fields)} columns, expected 3 with tabs between: query-id, corpus-id, score")
        query_id, document_id, score = fields
        if query_id not in self._query_ids:
            raise BadInput(
                f"{where}: query-id {shown(query_id)} is not in queries.jsonl; add the query or remove the line"
            )
        if document_id not in self._document_ids:
            raise BadInput(
                f"{where}: corpus-id {shown(document_id)} is not in corpus.jsonl; add the document or remove the line"
            )
        if not re.fullmatch(r"-?[0-9]{1,9}", score):
            raise BadInput(f"{where}: score is {shown(score)}, expected a whole number such as 1; mend it")
        return Qrel(query_id, document_id, int(score))

    def _is_new(self, where: str, qrel: Qrel) -> bool:
        """Whether the pair was not judged before; the same judgment again is dropped, another one is an error."""
        split = where.rpartition(":")[0]
        first = self._first.setdefault(qrel.query_id, where)
        if first.rpartition(":")[0] != split:
            raise BadInput(f"{where}: query-id {shown(qrel.query_id)} is also in {first}; a query belongs to one split")
        known, relevance = self._lines.setdefault((qrel.query_id, qrel.document_id), (where, qrel.relevance))
        if relevance != qrel.relevance:
            raise BadInput(
                f"{where}: score is {qrel.relevance}, but {relevance} in {known} for the same pair; remove one"
            )
        self._dropped["qrel_repeated"] += known != where
        return known == where
