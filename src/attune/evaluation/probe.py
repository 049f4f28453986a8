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


Vectors = NDArray[np.float32]
Scores = dict[str, float]


def retrieval(queries: Vectors, documents: Vectors, judgments: NDArray[np.int64], threads: int) -> Scores:
    """nDCG@10 and recall@10 of ranking all documents by cosine for each query.

    Args:
        queries: (n queries, dim), of length 1.
        documents: (n documents, dim), of length 1.
        judgments: (n, 3) query row, document row, relevance.
        threads: CPU threads of FAISS; the ranking does not depend on it.
    """
    _, rows = top_k(queries, documents, 10, threads)
    values = measure(rows, judgments)
    return {name: float(values[name].mean()) for name in ("ndcg@10", "recall@10")}


def similarity(first: Vectors, second: Vectors, scores: NDArray[np.float64]) -> Scores:
    """Spearman's rank correlation of the pairs' cosines with their grades; 0 where all cosines are equal.

    Args:
        first: (n pairs, dim), of length 1.
        second: the other text of each pair.
        scores: (n pairs,) grades.
    """
    # 6 digits, as in retrieval: what is equal but for rounding ties
    cosines = np.einsum("ij,ij->i", first, second, dtype=np.float64).round(6)
    return {"spearman": float(spearmanr(cosines, scores).statistic) if np.ptp(cosines) else 0.0}


def classification(
    vectors: Vectors, labels: Sequence[str], n_neighbours: int, n_folds: int, n_repeats: int, seed: int
) -> Scores:
    """Accuracy of two probes in stratified cross-validation: each text is classified by probes that never saw it.

    kNN asks the space as it is, by a vote of the nearest by cosine that counts the nearer ones more; the logistic probe
    asks what a linear layer could still get out of it.

    Args:
        vectors: (n texts, dim), of length 1.
        labels: of the texts.
        n_neighbours: that vote in kNN (all texts of the other folds where those are fewer).
        n_folds: of the cross-validation; each label needs as many texts.
        n_repeats: of the cross-validation with other folds; their mean does not hang on the luck of one draw.
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


def clustering(vectors: Vectors, labels: Sequence[str], n_runs: int, seed: int) -> Scores:
    """V-measure (Rosenberg and Hirschberg, 2007) of k-means with as many clusters as labels, the mean of several runs.

    The mean, because a single run, and the best of many too, jumps from one solution to another at the least change of
    the space.

    Args:
        vectors: (n texts, dim).
        labels: of the texts.
        n_runs: of k-means, each from other starting points.
        seed: of the first; the next have the next.
    """
    exact = vectors.astype(np.float64)
    with threadpool_limits(1):
        runs = [KMeans(len(set(labels)), n_init=1, random_state=seed + run).fit(exact).labels_ for run in range(n_runs)]
    return {"v_measure": float(np.mean([v_measure_score(labels, found) for found in runs]))}
