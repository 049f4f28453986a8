"""How well embeddings do a task: the field's usual measure for each type, as the MTEB uses them (arXiv 2210.07316).

Every score is repeatable: folds and starting points come from a seed, and all runs in one thread, because sums that
threads share come out differently each time.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import v_measure_score
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_limits

from attune.evaluation.scoring.measures import measure
from attune.retrieval.exact import top_k

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
