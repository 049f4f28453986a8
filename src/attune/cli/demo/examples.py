"""The test queries that tuning helped and hurt, from the scores per query: examples for a search box."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from attune.errors import BadInput
from attune.evaluation.scoring.measures import MEASURES
from attune.tables import CLUSTERED_QUERIES, QRELS, read, scores_columns

MEASURE = "ndcg@10"


@dataclass(frozen=True)
class Changed:
    """A test query and its nDCG@10 by base and by the shipped model."""

    text: str
    base: float
    tuned: float


@dataclass(frozen=True)
class ChangedQueries:
    """All test queries, parted by what tuning did to them: largest change first, equal changes by chance."""

    improved: list[Changed]
    worse: list[Changed]
    unchanged: list[Changed]

    @property
    def n_queries(self) -> int:
        """How many test queries there are."""
        return len(self.improved) + len(self.worse) + len(self.unchanged)

    def find(self, text: str) -> Changed | None:
        """The test query of this text, if it is one."""
        return next((each for each in (*self.improved, *self.worse, *self.unchanged) if each.text == text), None)


def changed_queries(
    queries: Mapping[str, str], base: Mapping[str, float], tuned: Mapping[str, float]
) -> ChangedQueries:
    """Parts queries (id to text) by their scores (id to value).

    By id, equal changes would all come from one corner of the corpus, so they are in the order of the ids' hashes.

    Raises:
        BadInput: the two systems were not scored on the same queries.
    """
    if base.keys() != tuned.keys() or not base.keys() <= queries.keys():
        raise BadInput("data/runs: base and onnx were not scored on the same test queries; run `dvc repro`")
    ids = sorted(base, key=lambda id_: (-abs(tuned[id_] - base[id_]), hashlib.sha256(id_.encode()).digest()))
    parts: dict[int, list[Changed]] = {1: [], -1: [], 0: []}
    for id_ in ids:
        sign = (tuned[id_] > base[id_]) - (tuned[id_] < base[id_])
        parts[sign].append(Changed(queries[id_], base[id_], tuned[id_]))
    return ChangedQueries(parts[1], parts[-1], parts[0])


def read_changed_queries(root: Path) -> ChangedQueries:
    """Those of a finished pipeline.

    Raises:
        BadInput: the pipeline has not run yet, or its outputs do not belong together.
    """
    base, tuned = (_scores(root / f"data/runs/{system}/scores.parquet") for system in ("base", "onnx"))
    return changed_queries(_texts(root), base, tuned)


def read_answers(root: Path) -> dict[str, set[str]]:
    """The text of each test query, and the ids of the documents that were judged to answer it.

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
    queries = read(root / "data/splits/test/queries.parquet", CLUSTERED_QUERIES)
    return dict(queries.select("query_id", "text").iter_rows())


def _scores(path: Path) -> dict[str, float]:
    rows = read(path, scores_columns(MEASURES)).select("query_id", "split", MEASURE).iter_rows()
    return {query_id: value for query_id, split, value in rows if split == "test"}
