"""Tasks that an encoder is probed with: retrieval, graded sentence pairs, labelled texts.

JSON Lines, one object a line: {"query", "passage"}, {"first", "second", "score"} or {"text", "label"}; retrieval may be
a folder in BEIR's layout instead. Every problem of a file is named with its line, as in all other data.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from attune.data.sources.beir import read_beir
from attune.data.sources.files.lines import id_of, read_jsonl, shown, text_of
from attune.problems import Problems

Type = Literal["retrieval", "similarity", "classification", "clustering"]
TYPES: tuple[Type, ...] = get_args(Type)


@dataclass(frozen=True)
class Retrieval:
    """Queries, documents, and judgments (n, 3): query row, document row, relevance."""

    queries: list[str]
    documents: list[str]
    judgments: NDArray[np.int64]

    def positives(self) -> list[tuple[str, str]]:
        """Each query with each document that answers it."""
        return [(self.queries[query], self.documents[row]) for query, row, grade in self.judgments if grade > 0]


@dataclass(frozen=True)
class Similarity:
    """Pairs of texts, and how alike people find them, (n pairs,): the higher the more alike, on any scale."""

    first: list[str]
    second: list[str]
    scores: NDArray[np.float64]

    @property
    def queries(self) -> list[str]:
        """What is encoded with the query prompt: both sides, as the makers of encoders with prompts advise (E5)."""
        return self.first + self.second

    @property
    def documents(self) -> list[str]:
        """What is encoded with the document prompt: nothing."""
        return []


@dataclass(frozen=True)
class Labelled:
    """Texts with one label each, for classification and clustering."""

    texts: list[str]
    labels: list[str]

    @property
    def queries(self) -> list[str]:
        """What is encoded with the query prompt: all texts, as the makers of encoders with prompts advise (E5)."""
        return self.texts

    @property
    def documents(self) -> list[str]:
        """What is encoded with the document prompt: nothing."""
        return []


Task = Retrieval | Similarity | Labelled


def read_task(kind: Type, path: Path, min_per_label: int) -> Task:
    """Reads the data of a task.

    Args:
        kind: what is done with it.
        path: a file in JSON Lines, plain, .gz or .zst; for retrieval also a BEIR folder.
        min_per_label: classification: how many texts each label needs, so that each fold has one.

    Raises:
        BadInput: the file is missing, malformed, says something twice, or holds too little; one problem a line.
    """
    if kind == "retrieval":
        return _beir(path) if path.is_dir() else _retrieval(path)
    if kind == "similarity":
        return _similarity(path)
    return _labelled(path, min_per_label if kind == "classification" else 1)


def _retrieval(path: Path) -> Retrieval:
    """Texts that are written twice are one query, or one passage."""
    pairs = [(query, passage) for query, passage, *_ in _rows(path, ("query", "passage"))]
    queries, passages = (
        {text: row for row, text in enumerate(dict.fromkeys(side))} for side in zip(*pairs, strict=True)
    )
    judgments = [(queries[query], passages[passage], 1) for query, passage in pairs]
    return Retrieval(list(queries), list(passages), np.array(judgments, dtype=np.int64))


def _beir(folder: Path) -> Retrieval:
    """The test split of a BEIR folder; dev, or what is not split, where there is no test."""
    raw = read_beir(folder)
    qrels = next(raw.qrels[split] for split in ("test", "dev", "all", "train") if split in raw.qrels)
    judged = {qrel.query_id for qrel in qrels}
    queries = [query for query in raw.queries if query.query_id in judged]
    query_rows = {query.query_id: row for row, query in enumerate(queries)}
    document_rows = {document.document_id: row for row, document in enumerate(raw.documents)}
    return Retrieval(
        [query.text for query in queries],
        [f"{document.title} {document.text}".strip() for document in raw.documents],
        np.array([(query_rows[q], document_rows[d], grade) for q, d, grade in qrels], dtype=np.int64),
    )


def _similarity(path: Path) -> Similarity:
    first, second, scores = zip(*_rows(path, ("first", "second"), "score"), strict=True)
    if len(set(scores)) < 2:
        Problems().stop(str(path), f"every score is {scores[0]}, expected several; grade the pairs")
    return Similarity(list(first), list(second), np.array(scores, dtype=np.float64))


def _labelled(path: Path, min_per_label: int) -> Labelled:
    texts, labels = zip(*_rows(path, ("text",), "label"), strict=True)
    if len(set(labels)) < 2:
        Problems().stop(str(path), f"every label is {shown(labels[0])}, expected several; label the texts")
    problems = Problems()
    for label in sorted(set(labels)):
        n = labels.count(label)
        if n < min_per_label:
            what = f"label {shown(label)} has {n} texts, expected at least {min_per_label} (probe.n_folds)"
            problems.add(str(path), f"{what}; add texts or drop the label")
    problems.check()
    return Labelled(list(texts), list(labels))


def _rows(path: Path, keys: Sequence[str], value: str = "") -> list[tuple[Any, ...]]:
    """The texts under the keys, and the value, of each line; what is blank or said before is a problem.

    Raises:
        BadInput: there are problems, or no lines.
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
        problems.add(str(path), f"no lines, expected objects with {', '.join([*keys, value] if value else keys)}")
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
