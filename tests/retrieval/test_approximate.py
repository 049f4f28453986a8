"""Approximate search scores candidates exactly, measures its recall, and is reproducible."""

import numpy as np
import pytest
from numpy.typing import NDArray

from attune.errors import BadInput
from attune.retrieval.approximate import approximate_top_k
from attune.retrieval.exact import top_k
from attune.runtime.indexes import factory, recall

KINDS = ("ivf", "hnsw", "sq8", "pq")


def clustered(n: int, dim: int) -> NDArray[np.float32]:
    random = np.random.default_rng(3)
    vectors = np.repeat(random.standard_normal((n // 20, dim)), 20, axis=0) + 0.3 * random.standard_normal((n, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


CORPUS = clustered(2400, 32)
AMONG = np.arange(0, 2400, 2)
QUERIES = CORPUS[1::40]


@pytest.mark.parametrize("kind", KINDS)
def test_neighbours_are_scored_as_in_exact_search(kind: str) -> None:
    """Only rows of `among`, none twice, descending; most of the exact neighbours are among them."""
    got = approximate_top_k(QUERIES, CORPUS, 10, AMONG, kind, 1, 2)
    assert got.index != "Flat" and np.isin(got.rows, AMONG).all()
    assert all(len(set(rows)) == 10 for rows in got.rows.tolist())
    expected = np.round(np.einsum("qd,qkd->qk", QUERIES.astype(float), CORPUS[got.rows].astype(float)), 6)
    np.testing.assert_allclose(got.scores, expected, atol=1e-6)
    assert (np.diff(got.scores, axis=1) <= 0).all()
    sorted_all = AMONG[np.argsort(-(QUERIES.astype(float) @ CORPUS[AMONG].astype(float).T), axis=1)[:, :10]]
    shared = np.mean([len(set(a) & set(b)) for a, b in zip(got.rows.tolist(), sorted_all.tolist(), strict=True)]) / 10
    assert got.recall == pytest.approx(shared, abs=0.01) and got.recall > 0.8


@pytest.mark.parametrize("kind", KINDS)
def test_neighbours_do_not_depend_on_threads(kind: str) -> None:
    """HNSW too, whose links would otherwise depend on which thread comes first."""
    one, two = (approximate_top_k(QUERIES, CORPUS, 10, AMONG, kind, 1, threads) for threads in (1, 2))
    assert np.array_equal(one.rows, two.rows) and np.array_equal(one.scores, two.scores) and one.recall == two.recall


@pytest.mark.parametrize("kind", ["ivf", "pq"])
def test_too_few_documents_for_an_index_are_searched_exactly(kind: str) -> None:
    """ivf and pq cannot be trained on a hundred rows; the index is Flat."""
    got = approximate_top_k(QUERIES, CORPUS, 10, AMONG[:100], kind, 1, 1)
    assert (got.index, got.recall) == ("Flat", 1.0)
    assert np.array_equal(got.rows, top_k(QUERIES, CORPUS[AMONG[:100]], 10, 1)[1] * 2)


def test_a_query_with_too_few_proposals_is_searched_exactly() -> None:
    """One cell of two is read, which holds fewer rows than k."""
    corpus = np.repeat(np.eye(4, dtype=np.float32), [300, 300, 300, 10], axis=0)
    got = approximate_top_k(corpus[-1:], corpus, 500, np.arange(910), "ivf", 1, 1)
    assert got.index.startswith("IVF") and np.array_equal(got.rows, top_k(corpus[-1:], corpus, 500, 1)[1])


def test_recall_is_the_share_of_the_exact_neighbours() -> None:
    """Two of three and one of one; -1 is no neighbour."""
    assert recall(np.array([[5, 6, 9], [7, 5, -1]]), np.array([[6, 5, 7], [7, -1, -1]])) == 0.75


def test_cells_and_subquantizers_fit_rows_and_dimension() -> None:
    """4 sqrt(n) cells with 39 training rows each; subquantizers of two numbers, or a divisor of an odd length."""
    assert factory("ivf", 1_000_000, 384) == "IVF4000,Flat"
    assert factory("ivf", 10_000, 384) == "IVF256,Flat"
    assert factory("ivf", 600, 384) == factory("pq", 600, 384) == "Flat"
    assert (factory("pq", 10_000, 384), factory("pq", 10_000, 15)) == ("PQ192x4fs", "PQ5x4fs")
    assert factory("IVF7,SQ8", 10, 8) == "IVF7,SQ8"


def test_broken_embeddings_are_refused_by_every_index() -> None:
    """NaN is refused before an index is built."""
    broken = CORPUS.copy()
    broken[4, 1] = np.nan
    with pytest.raises(BadInput, match=r"1 corpus embeddings hold NaN or infinity \(first: row 4\)"):
        approximate_top_k(QUERIES, broken, 10, AMONG, "hnsw", 1, 1)
