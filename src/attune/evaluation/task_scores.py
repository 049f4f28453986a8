"""Scores of an encoder on probe tasks, each with its values per item (query, pair, text).

From the values of base and tuned, item by item, stage drift computes the interval of a change.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import v_measure_score
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_limits

from attune.evaluation.scoring.measures import measure
from attune.retrieval.ties import exact_search, through_ties
from attune.runtime.arrays import Float32, Float64, Int64


@dataclass(frozen=True)
class TaskScores:
    """Scores of an encoder on one task.

    Attributes:
        measures: by name; the first is the main one, whose loss stage drift may count.
        values: (n items,) of the main measure, in the task's order: nDCG@10 of a query, share of the repeats in which
            kNN is right about a text (their means are the measure), cosine of a pair (whose rank correlation with the
            grades is). None where no item has a value of its own, as in clustering.
    """

    measures: dict[str, float]
    values: Float64 | None


def score_retrieval(queries: Float32, documents: Float32, judgments: Int64, threads: int) -> TaskScores:
    """nDCG@10 and recall@10 of ranking all documents by cosine for each query.

    Args:
        queries: (n queries, dim), of length 1.
        documents: (n documents, dim), of length 1.
        judgments: (n_judgments, 3) query row, document row, relevance.
        threads: CPU threads of FAISS; the ranking does not depend on it.
    """
    scores, rows = through_ties(exact_search(queries, documents, threads), len(queries), 10)
    values = measure(rows, judgments, scores)
    return TaskScores({name: float(values[name].mean()) for name in ("ndcg@10", "recall@10")}, values["ndcg@10"])


def score_similarity(first: Float32, second: Float32, scores: Float64) -> TaskScores:
    """Spearman's rank correlation of the pairs' cosines with their grades; 0 where all cosines are equal.

    Args:
        first: (n pairs, dim), of length 1.
        second: (n pairs, dim), the other text of each pair.
        scores: (n pairs,) grades.
    """
    # 6 digits, as in retrieval: cosines that differ only by float32 error tie
    cosines = np.einsum("ij,ij->i", first, second, dtype=np.float64).round(6)
    return TaskScores({"spearman": float(spearmanr(cosines, scores).statistic) if np.ptp(cosines) else 0.0}, cosines)


def score_classification(
    vectors: Float32, labels: Sequence[str], n_neighbours: int, n_folds: int, n_repeats: int, seed: int
) -> TaskScores:
    """Accuracy of kNN and of logistic regression in repeated stratified cross-validation, over all texts and repeats.

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
    right = {name: np.zeros(len(labels)) for name in probes}  # in how many of the repeats
    with threadpool_limits(1):
        for known, held_out in folds.split(exact, truth):
            for name, probe in probes.items():
                guesses = probe.fit(exact[known], truth[known]).predict(exact[held_out])
                right[name][held_out] += guesses == truth[held_out]
    values = {name: counts / n_repeats for name, counts in right.items()}
    return TaskScores({name: float(shares.mean()) for name, shares in values.items()}, values["knn_accuracy"])


def score_clustering(vectors: Float32, labels: Sequence[str], n_runs: int, seed: int) -> TaskScores:
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
    return TaskScores({"v_measure": float(np.mean([v_measure_score(labels, clusters) for clusters in runs]))}, None)
