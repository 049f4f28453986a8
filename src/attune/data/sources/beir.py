"""A user's own data, in the layout of BEIR (Thakur et al. 2021, arXiv 2104.08663).

`corpus.jsonl` ({"_id", "title", "text"}), `queries.jsonl` ({"_id", "text"}) and `qrels/*.tsv` (query-id, corpus-id,
score): train and, as far as they are given, dev and test; or one file, whatever its name, whose split is still to be
made. Each may be .gz or .zst.
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

from attune.data.sources.files.cells import Cells
from attune.data.sources.files.lines import id_of, read_jsonl, read_lines, shown, text_of
from attune.data.sources.raw import Document, Qrel, Query, RawData
from attune.errors import BadInput, Problems

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


_SPLITS = ("train", "dev", "test", "all")
_COLUMNS = ("query-id", "corpus-id", "score")
_EXPECTED = "all.tsv, or any of train.tsv, dev.tsv and test.tsv"
_NAME = re.compile(r"([^.].*)\.tsv(\.gz|\.zst)?")
_SCORE = re.compile(r"(-?[0-9]{1,9})(\.0*)?")


def qrels_files(folder: Path, problems: Problems) -> dict[str, Path]:
    """The files of judgments by split, in the order train, dev, test, or the one of "all"."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    named = [(match[1], match[0]) for match in map(_NAME.fullmatch, names) if match]
    if not named:
        problems.add(str(folder), f"no judgments; expected {_EXPECTED}, plain, .gz or .zst")
    splits = Counter(split for split, _ in named)
    if set(splits) - set(_SPLITS) or ("all" in splits and len(splits) > 1) or max(splits.values(), default=1) > 1:
        found = ", ".join(shown(name)[1:-1] for _, name in named[:9])
        problems.add(str(folder), f"got {found}, expected {_EXPECTED}, each once; rename or remove the others")
        return {}  # which one is meant is not known
    return {split: folder / name for split in _SPLITS for found, name in named if found == split}


class Judgments:
    """The judgments of all files, checked against the queries and documents and against each other."""

    def __init__(self, queries: Rows[Query], documents: Rows[Document], problems: Problems) -> None:
        self.n_repeated = 0
        self._queries = queries
        self._documents = documents
        self._problems = problems
        self._judged: dict[str, dict[tuple[str, str], tuple[int, int]]] = {}  # by split and pair: relevance, line
        self._files: dict[str, Path] = {}
        self._split_of: dict[str, str] = {}
        self._in_two_splits: set[str] = set()

    def read(self, split: str, file: Path) -> None:
        """Adds the judgments of one file, none where its header is wrong; the caller asks the problems."""
        self._files[split] = file
        self._judged[split] = {}
        n_before = self._problems.n
        with suppress(BadInput):  # what ends the reading of this file is among the problems
            lines = read_lines(file, self._problems)
            where, header = next(lines, (f"{file}:1", ""))
            if self._problems.n > n_before:
                return  # the first line was passed over
            order = self._order(where, header)
            for where, line in lines:
                qrel = self._parse(where, line, order)
                if qrel is not None:
                    self._add(where, qrel, split)

    def between(self, query_ids: set[str], document_ids: set[str], dropped: Counter[str]) -> dict[str, list[Qrel]]:
        """The judgments, by split, of these documents and of those of these queries that one of them answers."""
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
        """At which place of a line the query, the document and the score are."""
        names = [name.strip() for name in header.split("\t")]
        if sorted(names) == sorted(_COLUMNS):
            return [names.index(name) for name in _COLUMNS]
        looks_judged = re.search(r"\S\s+-?[0-9.]+\s*$", header)
        found = "empty" if not header else f"{'no header but ' if looks_judged else ''}{shown(header)}"
        expected = f"expected the header {shown(chr(9).join(_COLUMNS))} (two tabs; any order)"
        self._problems.stop(where, f"the first line is {found}, {expected}; {'add' if looks_judged else 'mend'} it")

    def _parse(self, where: str, line: str, order: list[int]) -> Qrel | None:
        """The judgment of a line; None where it has a problem. A judgment below 0 means what 0 means."""
        n_before = self._problems.n
        cells = line.split("\t")
        if len(cells) != len(order):
            expected = f"expected {len(order)} with tabs between: query-id, corpus-id, score"
            self._problems.add(where, f"{len(cells)} columns, {expected}; mend the line")
            return None
        query_id, document_id, score = (cells[place] for place in order)
        self._check_known(where, "query-id", query_id, self._queries)
        self._check_known(where, "corpus-id", document_id, self._documents)
        match = _SCORE.fullmatch(score.strip())
        if match is None:
            self._problems.add(where, f"score is {shown(score)}, expected a whole number such as 1; mend it")
        return Qrel(query_id, document_id, max(0, int(match[1]))) if match and self._problems.n == n_before else None

    def _check_known(self, where: str, column: str, id_: str, rows: Rows[Query] | Rows[Document]) -> None:
        if rows.is_whole and id_ not in rows.lines:
            what = f"{column} {shown(id_)} is not in {rows.path.name}; add its row there or remove this line"
            self._problems.add(where, what)

    def _add(self, where: str, qrel: Qrel, split: str) -> None:
        """Keeps a judgment; the same one again is counted, another one of the pair is a problem."""
        query_id, document_id, relevance = qrel
        of_query = self._split_of.setdefault(query_id, split)
        if of_query != split:
            if query_id not in self._in_two_splits:
                what = (
                    f"query-id {shown(query_id)} is also in {self._files[of_query].name}; a query belongs to one split"
                )
                self._problems.add(where, f"{what}: remove it from the other")
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

    Group and stratum of a query are under the keys of these names, in its object or in its "metadata". Left out and
    counted: documents and queries without any text, judgments of those, what is repeated, and queries that are left
    without a relevant document, with their judgments.

    Raises:
        BadInput: a file is missing or malformed, an id has two contents or is unknown, a pair is judged in two ways, a
            query is in two splits, or nothing is left of a split; all that is wrong, one problem a line.
    """
    problems = Problems()
    if not folder.is_dir():
        problems.stop(str(folder), f"{'a file' if folder.exists() else 'not found'}, expected a folder; {_LAYOUT}")
    documents = _rows(folder / "corpus.jsonl", partial(_document, problems), problems)
    queries = _rows(folder / "queries.jsonl", partial(_query, problems, group, stratum), problems)
    _check_ties(queries, group, stratum, problems)
    judgments = Judgments(queries, documents, problems)
    for split, file in qrels_files(folder / "qrels", problems).items():
        judgments.read(split, file)
    problems.check()
    raw = _without_blank(documents, queries, judgments)
    if len(raw.qrels) == 1:
        raw = replace(raw, qrels={"all": next(iter(raw.qrels.values()))})
    elif "train" not in raw.qrels:
        problems.add(str(folder / "qrels"), "got dev.tsv and test.tsv, expected train.tsv as well; add it")
    problems.check()
    return raw


def _rows(path: Path, make: MakeRow[Row], problems: Problems) -> Rows[Row]:
    """The rows of a file, also where it has .gz or .zst after its name; none where it is missing."""
    found = [file for suffix in ("", ".gz", ".zst") if (file := path.with_name(f"{path.name}{suffix}")).exists()]
    if len(found) > 1:
        names = " and ".join(file.name for file in found)
        problems.add(str(path.parent), f"got {names}, expected one of them; remove the others")
    elif not found:
        problems.add(str(path), f"not found; {_LAYOUT}")
    return read_rows(found[0], make, problems) if found else Rows(path, is_whole=False)


def _document(problems: Problems, where: str, id_: str, record: dict[str, Any]) -> Document | None:
    title = "" if record.get("title") is None else text_of(where, record, "title", problems)
    text = text_of(where, record, "text", problems)
    return None if title is None or text is None else Document(id_, title, text)


def _query(problems: Problems, group: str, stratum: str, where: str, id_: str, record: dict[str, Any]) -> Query | None:
    text = text_of(where, record, "text", problems)
    metadata = record.get("metadata")
    cells = Cells(where, {**(metadata if isinstance(metadata, dict) else {}), **record}, problems)
    ties = [cells.label(key) if key else "" for key in (group, stratum)]
    return None if text is None or None in ties else Query(id_, text, *(tie or "" for tie in ties))


def _check_ties(queries: Rows[Query], group: str, stratum: str, problems: Problems) -> None:
    """A key that no query has is a slip, and without its groups the split would leak."""
    for parameter, key, place in (("group", group, 2), ("stratum", stratum, 3)):
        if key and queries.by_id and not any(query[place] for query in queries.by_id.values()):
            what = f"no query has {shown(key)}; set collect.columns.{parameter} to a key of the queries, or to ''"
            problems.add(str(queries.path), what)


def _without_blank(documents: Rows[Document], queries: Rows[Query], judgments: Judgments) -> RawData:
    """What is left when documents and queries without text are, and then queries without a relevant document."""
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
