"""Runs of other search engines in TREC's format: `query Q0 document rank score tag`, a line per ranked document.

Read as trec_eval reads them: scores order the documents and ranks are not looked at; a document that the project does
not know keeps its place and is not relevant; a query without lines scores 0. Unlike there, equal scores have no order,
as everywhere in attune (`evaluation.scoring.measures`).
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from attune.errors import BadInput, Problems
from attune.evaluation.scoring.judgments import Split
from attune.runtime.arrays import Float32, Int64

FIELDS = ("query", "Q0", "document", "rank", "score", "tag")


class Hit(NamedTuple):
    """A line of a run: document, rank and score, as they stand there."""

    document_id: str
    rank: int
    score: float


@dataclass(frozen=True)
class TrecRun:
    """A run, and what does not fit the project.

    Attributes:
        hits: by query id, in the order of the file.
        n_unknown_documents: lines whose document is not in the corpus.
        n_unordered: queries whose ranks order the documents otherwise than their scores.
    """

    hits: Mapping[str, list[Hit]]
    n_unknown_documents: int
    n_unordered: int

    def ranked(self, split: Split, corpus: pl.DataFrame) -> tuple[Float32, Int64]:
        """Returns the rankings of a split's queries.

        Args:
            split: the queries; those without lines have an empty ranking.
            corpus: documents; one that it lacks gets a row behind all of them.

        Returns:
            (n_queries, depth) numbers that descend where scores do and are equal where scores are, and document rows,
            -1 where nothing is ranked; without documents of the query's own text.
        """
        row_of = {id_: row for row, id_ in enumerate(corpus["document_id"])}
        lists = [sorted(self.hits.get(id_, ()), key=lambda hit: -hit.score) for id_ in split.query_ids]
        shape = len(lists), max(1, *map(len, lists))
        scores, rows = np.zeros(shape, np.float32), np.full(shape, -1, np.int64)
        for query, hits in enumerate(lists):
            values = np.array([hit.score for hit in hits], dtype=np.float64)
            rows[query, : len(hits)] = [row_of.setdefault(hit.document_id, len(row_of)) for hit in hits]
            scores[query, : len(hits)] = -np.cumsum(np.diff(values, prepend=values[:1]) != 0)
        return split.without_own_texts(scores, rows)

    def lacking(self, split: Split) -> int:
        """Returns the number of the split's queries that have no line."""
        return sum(id_ not in self.hits for id_ in split.query_ids)


def read_run(file: Path, corpus: pl.DataFrame, query_ids: set[str]) -> TrecRun:
    """Reads the lines of known queries.

    Args:
        file: the run.
        corpus: documents.
        query_ids: of dev and test; lines of other queries are passed over.

    Raises:
        BadInput: a line has not six fields, a rank or score that is no finite number, or a document that the query has
            already; no line is of a known query; the file is not text in UTF-8.
    """
    problems, hits, lines = Problems(), dict[str, list[Hit]](), dict[tuple[str, str], int]()
    for number, line in _lines(file):
        fields = line.split()
        if not fields:
            continue
        where = f"{file}:{number}"
        if len(fields) != len(FIELDS):
            problems.add(where, f"got {len(fields)} fields, expected {len(FIELDS)}: {' '.join(FIELDS)}; mend the run")
            continue
        query_id, _, document_id, rank, score, _ = fields
        if query_id not in query_ids:
            continue
        hit = _hit(document_id, rank, score)
        if hit is None:
            problems.add(where, f"rank {rank} and score {score}, expected a whole and a finite number; mend the run")
        elif (query_id, document_id) in lines:
            first = lines[query_id, document_id]
            problems.add(where, f"document {document_id} of query {query_id} stands in line {first} already; keep one")
        else:
            lines[query_id, document_id] = number
            hits.setdefault(query_id, []).append(hit)
    problems.check()
    if not hits:
        raise BadInput(
            f"{file}: no line is of a query of dev or test; take their ids from data/splits/*/queries.parquet"
        )
    known = set(corpus["document_id"])
    return TrecRun(
        hits,
        n_unknown_documents=sum(hit.document_id not in known for of_query in hits.values() for hit in of_query),
        n_unordered=sum(map(_is_unordered, hits.values())),
    )


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    try:
        with file.open(encoding="utf-8-sig") as stream:
            yield from enumerate(stream, start=1)
    except UnicodeDecodeError as error:
        raise BadInput(f"{file}: not text in UTF-8 ({error}); expected a TREC run: {' '.join(FIELDS)}") from None


def _hit(document_id: str, rank: str, score: str) -> Hit | None:
    """Returns the hit; None where a number is none, or is not finite."""
    try:
        hit = Hit(document_id, int(rank), float(score))
    except ValueError:
        return None
    return hit if math.isfinite(hit.score) else None


def _is_unordered(hits: list[Hit]) -> bool:
    """Tells whether a document of a lower score has a better rank."""
    ordered = sorted(hits, key=lambda hit: (hit.rank, -hit.score))
    return any(after.score > before.score for before, after in pairwise(ordered))
