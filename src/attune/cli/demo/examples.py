"""Test queries that tuning improved or made worse, by their scores: example queries for the search page."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from attune.cli.demo.systems import names
from attune.errors import BadInput
from attune.evaluation.scoring.measures import MEASURES
from attune.tables import QRELS, SPLIT_QUERIES, read, scores_columns

MEASURE = "ndcg@10"


@dataclass(frozen=True)
class QueryChange:
    """A test query with its nDCG@10 by base and by the shipped model."""

    text: str
    base: float
    tuned: float


@dataclass(frozen=True)
class QueryChanges:
    """All test queries, grouped by the effect of tuning; largest change first, equal changes in hash order."""

    improved: list[QueryChange]
    worse: list[QueryChange]
    unchanged: list[QueryChange]

    @property
    def n_queries(self) -> int:
        """Number of test queries."""
        return len(self.improved) + len(self.worse) + len(self.unchanged)

    def find(self, text: str) -> QueryChange | None:
        """Returns the test query with this text, if there is one."""
        return next((each for each in (*self.improved, *self.worse, *self.unchanged) if each.text == text), None)


def query_changes(queries: Mapping[str, str], base: Mapping[str, float], tuned: Mapping[str, float]) -> QueryChanges:
    """Groups queries (id to text) by their change of score (id to value).

    Equal changes are ordered by the hash of the id: in the order of the ids they would all come from one corner of the
    corpus.

    Raises:
        BadInput: the two systems were not scored on the same queries.
    """
    if base.keys() != tuned.keys() or not base.keys() <= queries.keys():
        raise BadInput("data/runs: base and tuned were not scored on the same test queries; run `dvc repro`")
    ids = sorted(base, key=lambda id_: (-abs(tuned[id_] - base[id_]), hashlib.sha256(id_.encode()).digest()))
    by_sign: dict[int, list[QueryChange]] = {1: [], -1: [], 0: []}
    for id_ in ids:
        sign = (tuned[id_] > base[id_]) - (tuned[id_] < base[id_])
        by_sign[sign].append(QueryChange(queries[id_], base[id_], tuned[id_]))
    return QueryChanges(by_sign[1], by_sign[-1], by_sign[0])


def read_query_changes(root: Path) -> QueryChanges:
    """Reads the test queries of a finished pipeline with their changes of score, from base to the other system.

    Raises:
        BadInput: the pipeline has not run yet, or its outputs do not belong together.
    """
    base, tuned = (_scores(root / f"data/runs/{system}/scores.parquet") for system in names(root))
    return query_changes(_texts(root), base, tuned)


def read_answers(root: Path) -> dict[str, set[str]]:
    """Returns the ids of the relevant documents of each test query, by the query's text.

    Raises:
        BadInput: the pipeline has not run yet.
    """
    texts = _texts(root)
    answers: dict[str, set[str]] = {}
    for query_id, document_id, relevance in read(root / "data/splits/test/qrels.parquet", QRELS).iter_rows():
        if relevance > 0:
            answers.setdefault(texts[query_id], set()).add(document_id)
    return answers


def _texts(root: Path) -> dict[str, str]:
    queries = read(root / "data/splits/test/queries.parquet", SPLIT_QUERIES)
    return dict(queries.select("query_id", "text").iter_rows())


def _scores(path: Path) -> dict[str, float]:
    rows = read(path, scores_columns(MEASURES)).select("query_id", "split", MEASURE).iter_rows()
    return {query_id: value for query_id, split, value in rows if split == "test"}
