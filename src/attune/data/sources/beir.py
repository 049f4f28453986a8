"""User data in the layout of BEIR (Thakur et al. 2021, arXiv 2104.08663).

`corpus.jsonl` ({"_id", "title", "text"}), `queries.jsonl` ({"_id", "text"}) and `qrels/*.tsv` (query-id, corpus-id,
score): train.tsv and, if given, dev.tsv (also validation.tsv, valid.tsv, val.tsv) and test.tsv; or a single file with
one of these names, or all.tsv, which stage split then divides. Each may be .gz or .zst.
"""

import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from attune.data.sources.files.cells import SPLIT_NAMES, Cells
from attune.data.sources.files.lines import id_of, read_jsonl, read_lines, shown, text_of
from attune.data.sources.raw import Document, Qrel, Query, RawData
from attune.errors import BadInput, Problems

RowT = TypeVar("RowT", Document, Query)
MakeRow = Callable[[str, str, dict[str, Any]], RowT | None]  # from `path:line`, the id and the object


@dataclass
class FileRows(Generic[RowT]):
    """The rows of a file by id, in its order."""

    path: Path
    by_id: dict[str, RowT] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)  # first line of each id, malformed rows included
    is_whole: bool = True  # every line had a readable id, so an id that is not here is missing from the file
    n_repeated: int = 0

    def add(self, where: str, id_: str, row: RowT, problems: Problems) -> None:
        """Adds a row; counts an equal row with the same id, reports a different one as a problem."""
        first, number = self.lines[id_], _number(where)
        if self.by_id.setdefault(id_, row) != row:
            what = f'"_id" {shown(id_)} is already on line {first} with other content; give each row its own id'
            problems.add(where, what)
        elif first != number:
            self.n_repeated += 1


def read_rows(path: Path, make: MakeRow[RowT], problems: Problems) -> FileRows[RowT]:
    """Reads a file of rows; skips those for which `make` returns None after adding a problem.

    Returns the rows before the point where a damaged file cannot be read further; the caller checks the problems.
    """
    rows: FileRows[RowT] = FileRows(path)
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


_SPLITS = {**SPLIT_NAMES, "all": "all"}  # by the name of the file
_COLUMNS = ("query-id", "corpus-id", "score")
_EXPECTED = "all.tsv, or any of train.tsv, dev.tsv (also validation.tsv, valid.tsv, val.tsv) and test.tsv"
_NAME = re.compile(r"([^.].*)\.tsv(\.gz|\.zst)?")
_SCORE = re.compile(r"(-?[0-9]{1,9})(\.0*)?")


def qrels_files(folder: Path, problems: Problems) -> dict[str, Path]:
    """Returns the files of judgments by split, in the order train, dev, test, or the single file of "all"."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    named = [(match[1], match[0]) for match in map(_NAME.fullmatch, names) if match]
    if not named:
        problems.add(str(folder), f"no judgments; expected {_EXPECTED}, plain, .gz or .zst")
    splits = Counter(_SPLITS.get(stem, "") for stem, _ in named)
    if "" in splits or ("all" in splits and len(splits) > 1) or max(splits.values(), default=1) > 1:
        got = ", ".join(shown(name)[1:-1] for _, name in named[:9])
        problems.add(str(folder), f"got {got}, expected {_EXPECTED}, each once; rename or remove the others")
        return {}
    by_split = {_SPLITS[stem]: folder / name for stem, name in named}
    return {split: by_split[split] for split in dict.fromkeys(_SPLITS.values()) if split in by_split}


class Judgments:
    """The judgments of all files, checked against the queries, the documents and each other."""

    def __init__(self, queries: FileRows[Query], documents: FileRows[Document], problems: Problems) -> None:
        self.n_repeated = 0
        self._queries = queries
        self._documents = documents
        self._problems = problems
        self._judged: dict[str, dict[tuple[str, str], tuple[int, int]]] = {}  # by split and pair: relevance, line
        self._files: dict[str, Path] = {}
        self._split_of: dict[str, str] = {}
        self._in_two_splits: set[str] = set()

    def read(self, split: str, file: Path) -> None:
        """Adds the judgments of one file, none where its header is wrong; the caller checks the problems."""
        self._files[split] = file
        self._judged[split] = {}
        n_before = self._problems.n
        with suppress(BadInput):  # the problem that ends the reading of this file has been added
            lines = read_lines(file, self._problems)
            where, header = next(lines, (f"{file}:1", ""))
            if self._problems.n > n_before:
                return  # the first line could not be read
            order = self._order(where, header)
            for where, line in lines:
                qrel = self._parse(where, line, order)
                if qrel is not None:
                    self._add(where, qrel, split)

    def between(self, query_ids: set[str], document_ids: set[str], dropped: Counter[str]) -> dict[str, list[Qrel]]:
        """Returns the judgments of these queries and documents by split, only for queries with a relevant document."""
        kept = {}
        for split, judged in self._judged.items():
            known = [
                Qrel(query_id, document_id, relevance)
                for (query_id, document_id), (relevance, _) in judged.items()
                if query_id in query_ids and document_id in document_ids
            ]
            answered = {qrel.query_id for qrel in known if qrel.relevance}
            kept[split] = [qrel for qrel in known if qrel.query_id in answered]
            dropped["qrel_of_blank"] += len(judged) - len(known)
            if not answered:
                what = "no judgment of 1 or more of a query and a document with text; add some or remove the file"
                self._problems.add(str(self._files[split]), what)
        return kept

    def _order(self, where: str, header: str) -> list[int]:
        """Returns the positions of query, document and score in a line, from the header."""
        names = [name.strip() for name in header.split("\t")]
        if sorted(names) == sorted(_COLUMNS):
            return [names.index(name) for name in _COLUMNS]
        looks_judged = re.search(r"\S\s+-?[0-9.]+\s*$", header)
        got = "empty" if not header else f"{'no header but ' if looks_judged else ''}{shown(header)}"
        expected = f"expected the header {shown(chr(9).join(_COLUMNS))} (two tabs; any order)"
        self._problems.stop(where, f"the first line is {got}, {expected}; {'add' if looks_judged else 'correct'} it")

    def _parse(self, where: str, line: str, order: list[int]) -> Qrel | None:
        """Returns the judgment of a line, or None after adding a problem; scores below 0 count as 0."""
        n_before = self._problems.n
        cells = line.split("\t")
        if len(cells) != len(order):
            expected = f"expected {len(order)} with tabs between: query-id, corpus-id, score"
            self._problems.add(where, f"{len(cells)} columns, {expected}; correct the line")
            return None
        query_id, document_id, score = (cells[place] for place in order)
        self._check_known(where, "query-id", query_id, self._queries)
        self._check_known(where, "corpus-id", document_id, self._documents)
        match = _SCORE.fullmatch(score.strip())
        if match is None:
            self._problems.add(where, f"score is {shown(score)}, expected a whole number such as 1; correct it")
        return Qrel(query_id, document_id, max(0, int(match[1]))) if match and self._problems.n == n_before else None

    def _check_known(self, where: str, column: str, id_: str, rows: FileRows[Query] | FileRows[Document]) -> None:
        if rows.is_whole and id_ not in rows.lines:
            what = f"{column} {shown(id_)} is not in {rows.path.name}; add its row there or remove this line"
            self._problems.add(where, what)

    def _add(self, where: str, qrel: Qrel, split: str) -> None:
        """Keeps a judgment; counts an equal one of the same pair, reports a different one as a problem."""
        query_id, document_id, relevance = qrel
        of_query = self._split_of.setdefault(query_id, split)
        if of_query != split:
            if query_id not in self._in_two_splits:
                what = (
                    f"query-id {shown(query_id)} is also in {self._files[of_query].name}; a query belongs to one split"
                )
                self._problems.add(where, f"{what}; remove it from the other")
            self._in_two_splits.add(query_id)
            return
        number = int(where.rpartition(":")[2])
        known, line = self._judged[split].setdefault((query_id, document_id), (relevance, number))
        if known != relevance:
            self._problems.add(where, f"score is {relevance}, but {known} on line {line} for the same pair; remove one")
        self.n_repeated += line != number and known == relevance


_LAYOUT = "a BEIR folder holds corpus.jsonl, queries.jsonl and qrels/*.tsv, each plain, .gz or .zst"


def read_beir(folder: Path, group: str = "", stratum: str = "") -> RawData:
    """Reads a BEIR folder; rows keep the order of the files, and a judgment of 0 or less is one of 0.

    Group and stratum of a query are under the keys of these names, in its object or in its "metadata". Drops and
    counts documents and queries without text, their judgments, repeated rows and judgments, and queries that remain
    without a relevant document, with their judgments.

    Raises:
        BadInput: a file is missing or malformed, an id has two contents or is unknown, a pair is judged in two ways, a
            query is in two splits, or a split remains empty; one line a problem.
    """
    problems = Problems()
    if not folder.is_dir():
        problems.stop(str(folder), f"{'a file' if folder.exists() else 'not found'}, expected a folder; {_LAYOUT}")
    documents = _rows(folder / "corpus.jsonl", partial(_document, problems), problems)
    queries = _rows(folder / "queries.jsonl", partial(_query, problems, group, stratum), problems)
    _check_keys(queries, group, stratum, problems)
    judgments = Judgments(queries, documents, problems)
    files = qrels_files(folder / "qrels", problems)
    for split, file in files.items():
        judgments.read(split, file)
    problems.check()
    raw = _without_blank(documents, queries, judgments)
    if len(raw.qrels) == 1:
        raw = replace(raw, qrels={"all": next(iter(raw.qrels.values()))})
    elif "train" not in raw.qrels:
        got = " and ".join(file.name for file in files.values())
        problems.add(str(folder / "qrels"), f"got {got}, expected train.tsv as well; add it")
    problems.check()
    return raw


def _rows(path: Path, make: MakeRow[RowT], problems: Problems) -> FileRows[RowT]:
    """Returns the rows of a file, plain, .gz or .zst; none where it is missing."""
    files = [file for suffix in ("", ".gz", ".zst") if (file := path.with_name(f"{path.name}{suffix}")).exists()]
    if len(files) > 1:
        names = " and ".join(file.name for file in files)
        problems.add(str(path.parent), f"got {names}, expected one of them; remove the others")
    elif not files:
        problems.add(str(path), f"not found; {_LAYOUT}")
    return read_rows(files[0], make, problems) if files else FileRows(path, is_whole=False)


def _document(problems: Problems, where: str, id_: str, record: dict[str, Any]) -> Document | None:
    title = "" if record.get("title") is None else text_of(where, record, "title", problems)
    text = text_of(where, record, "text", problems)
    return None if title is None or text is None else Document(id_, title, text)


def _query(problems: Problems, group: str, stratum: str, where: str, id_: str, record: dict[str, Any]) -> Query | None:
    text = text_of(where, record, "text", problems)
    metadata = record.get("metadata")
    cells = Cells(where, {**(metadata if isinstance(metadata, dict) else {}), **record}, problems)
    labels = [cells.label(key) if key else "" for key in (group, stratum)]
    return None if text is None or None in labels else Query(id_, text, *(label or "" for label in labels))


def _check_keys(queries: FileRows[Query], group: str, stratum: str, problems: Problems) -> None:
    """Reports a key that no query has: probably misspelled, and without its groups the split would leak."""
    for parameter, key, place in (("group", group, 2), ("stratum", stratum, 3)):
        if key and queries.by_id and not any(query[place] for query in queries.by_id.values()):
            what = f"no query has {shown(key)}; set collect.columns.{parameter} to a key of the queries, or to ''"
            problems.add(str(queries.path), what)


def _without_blank(documents: FileRows[Document], queries: FileRows[Query], judgments: Judgments) -> RawData:
    """Drops documents and queries without text, then queries without a relevant document."""
    kept_documents = [row for row in documents.by_id.values() if (row.title + row.text).strip()]
    kept_queries = [row for row in queries.by_id.values() if row.text.strip()]
    dropped = Counter(
        document_blank=len(documents.by_id) - len(kept_documents),
        document_repeated=documents.n_repeated,
        qrel_repeated=judgments.n_repeated,
        query_blank=len(queries.by_id) - len(kept_queries),
        query_repeated=queries.n_repeated,
    )
    ids = {row.query_id for row in kept_queries}, {row.document_id for row in kept_documents}
    qrels = judgments.between(*ids, dropped)
    answered = {qrel.query_id for split in qrels.values() for qrel in split}
    dropped["query_without_relevant"] = sum(row.query_id not in answered for row in kept_queries)
    return RawData(kept_documents, [row for row in kept_queries if row.query_id in answered], qrels, dropped=dropped)
