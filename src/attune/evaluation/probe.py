"""Data of probe tasks: retrieval, semantic similarity, classification and clustering.

Data is JSON Lines with one object per line: {"query", "passage"}, {"first", "second", "score"} or {"text", "label"};
retrieval also takes a folder in BEIR's layout, with its queries' groups or without. Every problem of a file is reported
with its line.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import numpy as np

from attune.data.query_groups import read_groups
from attune.data.sources.beir import read_beir
from attune.data.sources.files.lines import id_of, read_jsonl, shown, text_of
from attune.errors import Problems
from attune.runtime.arrays import Float64, Int64

TaskType = Literal["retrieval", "similarity", "classification", "clustering"]


@dataclass(frozen=True)
class RetrievalData:
    """Queries, documents, judgments (n_judgments, 3: query row, document row, relevance), and the queries' ids.

    The queries' groups are those of the task's groups.tsv, None where it has none.
    """

    queries: list[str]
    documents: list[str]
    judgments: Int64
    query_ids: list[str]
    groups: list[str] | None = None

    def items(self) -> list[tuple[str, str]]:
        """Returns each query's id and its cluster: its group, or else the first query with the same relevant documents.

        Such queries ask for the same thing in other words, so they succeed or fail together.
        """
        if self.groups is not None:
            return list(zip(self.query_ids, self.groups, strict=True))
        relevant: list[set[int]] = [set() for _ in self.queries]
        for query, row, grade in self.judgments:
            if grade > 0:
                relevant[query].add(int(row))
        first: dict[frozenset[int], str] = {}
        pairs = zip(self.query_ids, map(frozenset, relevant), strict=True)
        return [(query_id, first.setdefault(rows, query_id)) for query_id, rows in pairs]

    def positives(self) -> list[tuple[str, str]]:
        """Returns the pairs of a query and a relevant document."""
        return [(self.queries[query], self.documents[row]) for query, row, grade in self.judgments if grade > 0]


@dataclass(frozen=True)
class SimilarityData:
    """Pairs of texts and their graded similarity (n pairs,), higher is more similar, on any scale."""

    first: list[str]
    second: list[str]
    scores: Float64

    def items(self) -> list[tuple[str, str]]:
        """Returns each pair's number, from 1, and its cluster: itself."""
        return _numbers(len(self.first))

    @property
    def queries(self) -> list[str]:
        """Texts encoded with the query prompt: both sides, as the authors of E5 advise for symmetric tasks."""
        return self.first + self.second

    @property
    def documents(self) -> list[str]:
        """Texts encoded with the document prompt: none."""
        return []


@dataclass(frozen=True)
class LabelledData:
    """Texts with one label each, for classification and clustering."""

    texts: list[str]
    labels: list[str]

    def items(self) -> list[tuple[str, str]]:
        """Returns each text's number, from 1, and its cluster: itself."""
        return _numbers(len(self.texts))

    @property
    def queries(self) -> list[str]:
        """Texts encoded with the query prompt: all, as the authors of E5 advise for symmetric tasks."""
        return self.texts

    @property
    def documents(self) -> list[str]:
        """Texts encoded with the document prompt: none."""
        return []


TaskData = RetrievalData | SimilarityData | LabelledData


def _numbers(n: int) -> list[tuple[str, str]]:
    return [(str(number), str(number)) for number in range(1, n + 1)]


def read_task(kind: TaskType, path: Path, min_per_label: int) -> TaskData:
    """Reads the data of a task.

    Args:
        kind: type of the task.
        path: a file in JSON Lines, plain, .gz or .zst; for retrieval also a BEIR folder.
        min_per_label: texts that each label needs in classification, one per fold of the cross-validation.

    Raises:
        BadInput: the file is missing, malformed, repeats an item, or holds too little; one problem a line.
    """
    if kind == "retrieval":
        return _beir(path) if path.is_dir() else _retrieval(path)
    if kind == "similarity":
        return _similarity(path)
    return _labelled(path, min_per_label if kind == "classification" else 1)


def _retrieval(path: Path) -> RetrievalData:
    """Reads pairs of query and passage; equal texts are one query, or one passage."""
    pairs = [(query, passage) for query, passage, *_ in _rows(path, ("query", "passage"))]
    queries, passages = (
        {text: row for row, text in enumerate(dict.fromkeys(side))} for side in zip(*pairs, strict=True)
    )
    judgments = [(queries[query], passages[passage], 1) for query, passage in pairs]
    ids = [str(row + 1) for row in queries.values()]
    return RetrievalData(list(queries), list(passages), np.array(judgments, dtype=np.int64), ids)


def _beir(folder: Path) -> RetrievalData:
    """Reads the test split of a BEIR folder; without one, dev, all judgments or train, in this order."""
    raw = read_beir(folder)
    qrels = next(raw.qrels[split] for split in ("test", "dev", "all", "train") if split in raw.qrels)
    judged = {qrel.query_id for qrel in qrels}
    queries = [query for query in raw.queries if query.query_id in judged]
    query_rows = {query.query_id: row for row, query in enumerate(queries)}
    document_rows = {document.document_id: row for row, document in enumerate(raw.documents)}
    return RetrievalData(
        [query.text for query in queries],
        [f"{document.title} {document.text}".strip() for document in raw.documents],
        np.array([(query_rows[q], document_rows[d], grade) for q, d, grade in qrels], dtype=np.int64),
        list(query_rows),
        read_groups(folder, list(query_rows)),
    )


def _similarity(path: Path) -> SimilarityData:
    first, second, scores = zip(*_rows(path, ("first", "second"), "score"), strict=True)
    if len(set(scores)) < 2:
        Problems().stop(str(path), f"every score is {scores[0]}, expected several; grade the pairs")
    return SimilarityData(list(first), list(second), np.array(scores, dtype=np.float64))


def _labelled(path: Path, min_per_label: int) -> LabelledData:
    texts, labels = zip(*_rows(path, ("text",), "label"), strict=True)
    if len(set(labels)) < 2:
        Problems().stop(str(path), f"every label is {shown(labels[0])}, expected several; label the texts")
    problems = Problems()
    for label in sorted(set(labels)):
        n = labels.count(label)
        if n < min_per_label:
            message = f"label {shown(label)} has {n} texts, expected at least {min_per_label} (probe.n_folds)"
            problems.add(str(path), f"{message}; add texts or drop the label")
    problems.check()
    return LabelledData(list(texts), list(labels))


def _rows(path: Path, keys: Sequence[str], value: str = "") -> list[tuple[Any, ...]]:
    """Reads the texts under the keys, and the score or label, of each line.

    Raises:
        BadInput: a text is empty or repeated, a score or label is missing or malformed, or there are no lines.
    """
    problems = Problems()
    rows: list[tuple[Any, ...]] = []
    first: dict[tuple[str | None, ...], str] = {}
    for where, record in read_jsonl(path, problems):
        texts = tuple(_text(where, record, key, problems) for key in keys)
        last = () if not value else (_score if value == "score" else _label)(where, record, problems)
        before = first.setdefault(texts, where)
        if before != where and None not in texts:
            problems.add(where, f"the same {' and '.join(keys)} as on line {before.rpartition(':')[2]}; remove one")
        rows.append((*texts, *last))
    if not rows and not problems.n:
        names = ", ".join([*keys, value] if value else keys)
        problems.add(
            str(path), f"no lines, expected objects with {names}; add some, or take the task out of probe.tasks"
        )
    problems.check()
    return rows


def _text(where: str, record: dict[str, Any], key: str, problems: Problems) -> str | None:
    text = text_of(where, record, key, problems)
    if text is not None and not text.strip():
        problems.add(where, f'"{key}" is empty; fill it in or remove the line')
    return text


def _score(where: str, record: dict[str, Any], problems: Problems) -> tuple[float, ...]:
    value = record.get("score")
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        problems.add(where, f'"score" is {shown(value)}, expected a number; grade the pair')
        return (0.0,)
    return (float(value),)


def _label(where: str, record: dict[str, Any], problems: Problems) -> tuple[str | None]:
    return (id_of(where, record, "label", problems),)
