"""Search of documents by their best passage: exact against brute force, with ties, cut-offs and indexes."""

import numpy as np
import pytest

from attune.retrieval.approximate_documents import approximate_document_top_k
from attune.retrieval.exact import top_k
from attune.retrieval.grouped import document_top_k, first_of_documents
from attune.runtime.arrays import Float32, Int64


def inputs(seed: int) -> tuple[Float32, Float32, Int64]:
    """Returns queries, passages and the document of each; few distinct passages, so many scores tie."""
    random = np.random.default_rng(seed)
    n_passages = random.integers(1, 40 if seed % 2 else 4, size=30)
    distinct = random.normal(size=(12, 6))
    passages = (
        distinct[random.integers(12, size=n_passages.sum())] if seed % 3 else random.normal(size=(n_passages.sum(), 6))
    )
    passages /= np.linalg.norm(passages, axis=1, keepdims=True)
    queries = random.normal(size=(9, 6))
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    return queries.astype(np.float32), passages.astype(np.float32), np.repeat(np.arange(30), n_passages)


def brute_force(
    queries: Float32, passages: Float32, document_rows: Int64, k: int, among: list[int]
) -> tuple[list[list[float]], list[list[int]]]:
    """Returns the best scores and documents by a loop over all documents."""
    scores, rows = [], []
    for query in queries.astype(float):
        best = {
            row: max(round(float(query @ passage), 6) for passage in passages[document_rows == row].astype(float))
            for row in among
        }
        order = sorted(best, key=lambda row: (-best[row], row))[:k]
        rows.append(order)
        scores.append([best[row] for row in order])
    return scores, rows


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("k", [1, 5, 30, 50])
def test_documents_rank_by_their_best_passage(seed: int, k: int) -> None:
    """Exactly k documents, or all, as a loop ranks them: ties by document, among all or part of them."""
    queries, passages, document_rows = inputs(seed)
    for among in (None, np.arange(0, 30, 2)):
        scores, rows = document_top_k(queries, passages, document_rows, k, 1, among)
        expected = brute_force(queries, passages, document_rows, k, list(range(30) if among is None else among))
        assert rows.tolist() == expected[1]
        np.testing.assert_allclose(scores, expected[0], atol=2e-6)


def test_one_document_may_hold_the_nearest_passages() -> None:
    """A document of 500 passages, all nearer than the others, takes one place."""
    passages = np.repeat(np.eye(3, dtype=np.float32), [500, 1, 1], axis=0)
    query = np.array([[0.9, 0.4, 0.1]], np.float32)
    scores, rows = document_top_k(query, passages, np.array([0] * 500 + [1, 2]), 2, 1)
    assert rows.tolist() == [[0, 1]]
    np.testing.assert_allclose(scores, [[0.9, 0.4]], atol=1e-6)


def test_one_passage_per_document_is_plain_search() -> None:
    """Without cut documents the ranking is that of `top_k`, bit for bit."""
    queries, passages, _ = inputs(3)
    plain = top_k(queries, passages, 7, 1)
    for got, expected in zip(document_top_k(queries, passages, np.arange(len(passages)), 7, 1), plain, strict=True):
        assert np.array_equal(got, expected)


def test_first_passages_of_a_ranking_count() -> None:
    """Each document once, at its first place; places without a document are -1 with score 0."""
    scores = np.array([[0.9, 0.8, 0.7, 0.6], [0.5, 0.4, 0.0, 0.0]], np.float32)
    documents = np.array([[2, 0, 2, 1], [3, 3, -1, -1]])
    kept, rows = first_of_documents(scores, documents, 3)
    assert rows.tolist() == [[2, 0, 1], [3, -1, -1]]
    np.testing.assert_allclose(kept, [[0.9, 0.8, 0.6], [0.5, 0, 0]])


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_an_index_of_passages_finds_documents(kind: str) -> None:
    """All k documents are found, scored by their best passage; flat is exact."""
    queries, passages, document_rows = inputs(1)
    among = np.arange(0, 30, 2)
    got = approximate_document_top_k(queries, passages, document_rows, 6, among, kind, seed=0, threads=1)
    expected = document_top_k(queries, passages, document_rows, 6, 1, among)
    assert (got.rows >= 0).all()
    assert np.isin(got.rows, among).all()
    if kind == "flat":
        assert np.array_equal(got.rows, expected[1])
        assert np.array_equal(got.scores, expected[0])
