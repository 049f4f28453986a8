"""The judgments of a BEIR folder: which document answers which query, a file with a header for each split."""

import re
from collections import Counter
from contextlib import suppress
from pathlib import Path

from attune.data.sources.files.lines import read_lines, shown
from attune.data.sources.raw import Document, Qrel, Query
from attune.data.sources.rows import Rows
from attune.errors import BadInput
from attune.problems import Problems

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
