"""Probe scores equal hand computations and other code, repeat exactly, and are invariant to rotation."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import ortho_group
from sklearn.cluster import KMeans
from sklearn.metrics import completeness_score, homogeneity_score
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from attune.evaluation.task_scores import score_classification, score_clustering, score_retrieval, score_similarity
from attune.runtime.arrays import Float32


def unit(vectors: NDArray[np.float64]) -> Float32:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def blobs(n: int, spread: float, seed: int = 0) -> tuple[Float32, list[str]]:
    """n texts each of four labels, around four centres."""
    random = np.random.default_rng(seed)
    centres = np.eye(8)[:4]
    vectors = np.repeat(centres, n, axis=0) + spread * random.normal(size=(4 * n, 8))
    return unit(vectors), [label for label in "abcd" for _ in range(n)]


def test_retrieval_by_hand() -> None:
    """The right document first, then second, then not within ten: nDCG 1, 1/log2(3), 0."""
    documents = unit(np.eye(16))
    queries = unit(np.stack([np.eye(16)[0], np.eye(16)[1] + 2 * np.eye(16)[2], np.arange(16, 0, -1.0)]))
    judgments = np.array([[0, 0, 1], [1, 1, 1], [2, 12, 1]])
    scores = score_retrieval(queries, documents, judgments, 1)
    assert scores.measures == {"ndcg@10": pytest.approx((1 + 1 / np.log2(3)) / 3), "recall@10": pytest.approx(2 / 3)}
    assert scores.values == pytest.approx([1, 1 / np.log2(3), 0])


def test_similarity_by_hand() -> None:
    """Cosines 1, .5, 0 and the grades 5, 1, 3: ranks 3, 2, 1 against 3, 1, 2, so 1 - 6 * 2 / (3 * 8)."""
    first = unit(np.array([[1.0, 0], [1, 0], [1, 0]]))
    second = unit(np.array([[1.0, 0], [1, np.sqrt(3)], [0, 1]]))
    scores = score_similarity(first, second, np.array([5, 1, 3.0]))
    assert scores.measures == {"spearman": pytest.approx(0.5)}
    assert scores.values == pytest.approx([1, 0.5, 0])


def test_equal_cosines_have_no_correlation() -> None:
    """0 instead of NaN, which a receipt cannot hold; equal up to float32 error is equal."""
    same = unit(np.ones((4, 3)))
    nearly = same + np.float32(1e-7) * np.arange(4, dtype=np.float32)[:, None]
    assert score_similarity(same, nearly, np.array([1, 2, 3, 4.0])).measures == {"spearman": 0.0}


def test_probes_find_labels_that_are_there_and_none_that_are_not() -> None:
    """Four far groups: all right; labels at random: about a quarter."""
    vectors, labels = blobs(20, 0.05)
    scores = score_classification(vectors, labels, 5, 4, 2, 0)
    assert scores.measures == {"knn_accuracy": 1.0, "logistic_accuracy": 1.0}
    shuffled = np.random.default_rng(1).permutation(labels).tolist()
    chance = score_classification(vectors, shuffled, 5, 4, 5, 0)
    assert all(0.1 < value < 0.4 for value in chance.measures.values())


def test_accuracies_are_those_of_sklearn_and_the_mean_of_the_texts_values() -> None:
    """With equal folds the mean over folds is that over texts; a text's value is its share of right repeats."""
    vectors, labels = blobs(20, 0.7)
    scores = score_classification(vectors, labels, 5, 4, 3, 0)
    folds = RepeatedStratifiedKFold(n_splits=4, n_repeats=3, random_state=0)
    knn = KNeighborsClassifier(5, weights="distance", metric="cosine")
    expected = cross_val_score(knn, vectors.astype(np.float64), labels, cv=folds).mean()
    assert 0.3 < expected < 0.95
    assert scores.measures["knn_accuracy"] == pytest.approx(expected)
    assert scores.values is not None and scores.values.shape == (80,)
    assert scores.values.mean() == pytest.approx(expected)
    assert set((3 * scores.values).round(9)) == {0, 1, 2, 3}


def test_no_text_votes_for_itself() -> None:
    """Each text's nearest is of the other label: with one neighbour kNN is wrong, as it would not be with itself."""
    angles = np.repeat(np.linspace(0, np.pi, 12, endpoint=False), 2) + np.tile([0, 0.01], 12)
    vectors = unit(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    scores = score_classification(vectors, ["a", "b"] * 12, 1, 12, 20, 0)
    assert scores.measures["knn_accuracy"] < 0.15


def test_more_neighbours_than_texts_are_all_of_them() -> None:
    """n_neighbours above the number of training texts is cut to it."""
    vectors, labels = blobs(3, 0.05)
    assert score_classification(vectors, labels, 1000, 3, 1, 0).measures["knn_accuracy"] == 1.0


def test_clustering_is_the_mean_of_the_runs_v_measures() -> None:
    """By homogeneity and completeness, whose harmonic mean it is, run by run; no text has a value of its own."""
    vectors, labels = blobs(15, 0.4)
    expected = []
    for seed in (7, 8, 9):
        found = KMeans(4, n_init=1, random_state=seed).fit(vectors.astype(np.float64)).labels_
        h, c = homogeneity_score(labels, found), completeness_score(labels, found)
        expected.append(2 * h * c / (h + c))
    assert len(set(expected)) > 1
    scores = score_clustering(vectors, labels, 3, 7)
    assert scores.measures == {"v_measure": pytest.approx(np.mean(expected))} and scores.values is None


@pytest.mark.parametrize("measure", ["similarity", "classification", "clustering", "retrieval"])
def test_scores_are_invariant_to_rotation(measure: str) -> None:
    """A rotated space scores the same to .01, and a repeated score is identical."""
    vectors, labels = blobs(15, 0.4)
    turned = (vectors @ ortho_group.rvs(8, random_state=0)).astype(np.float32)
    pairs = np.array([[i, i + 30, 1] for i in range(30)])
    scores = {
        "similarity": lambda v: score_similarity(v[:30], v[30:], np.arange(30.0)),
        "classification": lambda v: score_classification(v, labels, 5, 3, 2, 0),
        "clustering": lambda v: score_clustering(v, labels, 3, 0),
        "retrieval": lambda v: score_retrieval(v[:30], v, pairs, 1),
    }[measure]
    assert scores(turned).measures == pytest.approx(scores(vectors).measures, abs=0.01)
    assert scores(vectors).measures == scores(vectors).measures
