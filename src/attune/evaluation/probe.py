"""Probe tasks: retrieval, semantic similarity, classification and clustering; reading their data and scoring them.

Data is JSON Lines with one object per line: {"query", "passage"}, {"first", "second", "score"} or {"text", "label"};
retrieval also takes a folder in BEIR's layout. Every problem of a file is reported with its line.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.stats import spearmanr
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import v_measure_score
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_limits

from attune.data.sources.beir import read_beir
from attune.data.sources.files.lines import id_of, read_jsonl, shown, text_of
from attune.errors import Problems
from attune.evaluation.scoring.measures import measure
from attune.retrieval.exact import top_k
from attune.runtime.arrays import Float32, Float64, Int64

TaskType = Literal["retrieval", "similarity", "classification", "clustering"]


@dataclass(frozen=True)
class RetrievalData:
    """Queries, documents, and judgments (n_judgments, 3): query row, document row, relevance."""

    queries: list[str]
    documents: list[str]
    judgments: Int64

    def positives(self) -> list[tuple[str, str]]:
        """Returns the pairs of a query and a relevant document."""
        return [(self.queries[query], self.documents[row]) for query, row, grade in self.judgments if grade > 0]


@dataclass(frozen=True)
class SimilarityData:
    """Pairs of texts and their graded similarity (n pairs,), higher is more similar, on any scale."""

    first: list[str]
    second: list[str]
    scores: Float64

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

    @property
    def queries(self) -> list[str]:
        """Texts encoded with the query prompt: all, as the authors of E5 advise for symmetric tasks."""
        return self.texts

    @property
    def documents(self) -> list[str]:
        """Texts encoded with the document prompt: none."""
        return []


TaskData = RetrievalData | SimilarityData | LabelledData


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
    return RetrievalData(list(queries), list(passages), np.array(judgments, dtype=np.int64))


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


def score_retrieval(queries: Float32, documents: Float32, judgments: Int64, threads: int) -> dict[str, float]:
    """nDCG@10 and recall@10 of ranking all documents by cosine for each query.

    Args:
        queries: (n queries, dim), of length 1.
        documents: (n documents, dim), of length 1.
        judgments: (n_judgments, 3) query row, document row, relevance.
        threads: CPU threads of FAISS; the ranking does not depend on it.
    """
    _, rows = top_k(queries, documents, 10, threads)
    values = measure(rows, judgments)
    return {name: float(values[name].mean()) for name in ("ndcg@10", "recall@10")}


def score_similarity(first: Float32, second: Float32, scores: Float64) -> dict[str, float]:
    """Spearman's rank correlation of the pairs' cosines with their grades; 0 where all cosines are equal.

    Args:
        first: (n pairs, dim), of length 1.
        second: (n pairs, dim), the other text of each pair.
        scores: (n pairs,) grades.
    """
    # 6 digits, as in retrieval: cosines that differ only by float32 error tie
    cosines = np.einsum("ij,ij->i", first, second, dtype=np.float64).round(6)
    return {"spearman": float(spearmanr(cosines, scores).statistic) if np.ptp(cosines) else 0.0}


def score_classification(
    vectors: Float32, labels: Sequence[str], n_neighbours: int, n_folds: int, n_repeats: int, seed: int
) -> dict[str, float]:
    """Accuracy of kNN and of logistic regression in repeated stratified cross-validation.

    kNN tests the space as it is, by a vote of the nearest by cosine weighted by inverse distance; logistic regression
    tests how well a linear layer separates the labels.

    Args:
        vectors: (n texts, dim), of length 1.
        labels: (n texts) of the texts.
        n_neighbours: votes in kNN; all texts of the other folds where those are fewer.
        n_folds: of the cross-validation; each label needs at least as many texts.
        n_repeats: repetitions with other folds, averaged, so that the result depends less on one draw.
        seed: of the folds.
    """
    folds = RepeatedStratifiedKFold(n_splits=n_folds, n_repeats=n_repeats, random_state=seed)
    smallest = len(labels) - -(-len(labels) // n_folds)
    probes = {
        "knn_accuracy": KNeighborsClassifier(min(n_neighbours, smallest), weights="distance", metric="cosine"),
        "logistic_accuracy": LogisticRegression(C=10.0, max_iter=2000),
    }
    exact, truth = vectors.astype(np.float64), np.asarray(labels)
    with threadpool_limits(1):
        return {
            name: float(cross_val_score(probe, exact, truth, cv=folds, scoring="accuracy").mean())
            for name, probe in probes.items()
        }


def score_clustering(vectors: Float32, labels: Sequence[str], n_runs: int, seed: int) -> dict[str, float]:
    """V-measure (Rosenberg and Hirschberg, 2007) of k-means with as many clusters as labels, averaged over runs.

    The mean is reported because a single run, or the best of many, jumps between solutions at the smallest change of
    the space.

    Args:
        vectors: (n texts, dim).
        labels: (n texts) of the texts.
        n_runs: of k-means, each from other starting points.
        seed: of the first run; each further run adds 1.
    """
    exact = vectors.astype(np.float64)
    with threadpool_limits(1):
        runs = [KMeans(len(set(labels)), n_init=1, random_state=seed + run).fit(exact).labels_ for run in range(n_runs)]
    return {"v_measure": float(np.mean([v_measure_score(labels, clusters) for clusters in runs]))}
