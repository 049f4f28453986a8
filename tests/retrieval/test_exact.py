"""Exact search equals sorting all scores, has one order everywhere, and refuses broken embeddings."""

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from attune.errors import BadInput
from attune.retrieval import exact as retrieval
from attune.retrieval import vectors
from attune.retrieval.exact import top_k
from attune.retrieval.vectors import load_embeddings


def unit(rng: np.random.Generator, n: int, dim: int) -> NDArray[np.float32]:
    vectors = rng.normal(size=(n, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def by_sorting(
    queries: NDArray[np.float32], corpus: NDArray[np.float32], k: int
) -> tuple[list[list[float]], list[list[int]]]:
    """Returns the expected scores and rows, by Python's own sort."""
    scores, rows = [], []
    for query in queries.astype(float):
        ranked = sorted((-round(float(query @ document), 6), row) for row, document in enumerate(corpus.astype(float)))
        scores.append([-score for score, _ in ranked[:k]])
        rows.append([row for _, row in ranked[:k]])
    return scores, rows


def test_hand_computed_neighbours() -> None:
    """Scores and rows of two queries over three documents, in float32 and int64."""
    corpus = np.array([[1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32)
    scores, rows = top_k(np.array([[1, 0], [0, 1]], dtype=np.float32), corpus, k=2, threads=1)
    assert rows.tolist() == [[0, 2], [1, 2]]
    assert scores.tolist() == [[1, pytest.approx(0.6)], [1, pytest.approx(0.8)]]
    assert (scores.dtype, rows.dtype) == (np.float32, np.int64)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_distinct=st.integers(1, 40),
    copies=st.integers(1, 5),
    k=st.integers(1, 60),
)
def test_equals_sorting_all_scores_even_with_duplicates_in_the_corpus(
    seed: int, n_distinct: int, copies: int, k: int
) -> None:
    """Any k and any number of copies: the ranking is that of a full sort."""
    rng = np.random.default_rng(seed)
    corpus = rng.permutation(np.repeat(unit(rng, n_distinct, 8), copies, axis=0))
    queries = unit(rng, 3, 8)
    scores, rows = top_k(queries, corpus, k, threads=1)
    expected_scores, expected_rows = by_sorting(queries, corpus, k)
    assert rows.tolist() == expected_rows
    np.testing.assert_allclose(scores, expected_scores, atol=1e-6)


def test_a_tie_far_wider_than_the_over_fetch_still_goes_to_the_first_rows() -> None:
    """499 equal documents: the first five are returned, though FAISS proposes any of them."""
    corpus = np.tile(np.array([[1, 0, 0]], dtype=np.float32), (500, 1))
    corpus[123] = [0, 1, 0]
    _, rows = top_k(corpus[:2], corpus, k=5, threads=1)
    assert rows.tolist() == [[0, 1, 2, 3, 4]] * 2


def test_scores_that_are_equal_after_rounding_go_to_the_first_rows() -> None:
    """Later rows are nearer by 1e-8 each, equal to six digits: FAISS alone proposes the last rows."""
    cosines = 0.5 + 1e-8 * np.arange(40)
    corpus = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1).astype(np.float32)
    scores, rows = top_k(np.array([[1, 0]], dtype=np.float32), corpus, k=3, threads=1)
    assert rows.tolist() == [[0, 1, 2]]
    assert scores.tolist() == [[0.5] * 3]


def test_scores_that_round_up_to_the_last_place_tie_with_it() -> None:
    """All are .5 to six digits although FAISS computes less than .5 for each, and most for the last rows."""
    cosines = np.linspace(0.49999955, 0.4999998, 40)
    corpus = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1).astype(np.float32)
    scores, rows = top_k(np.array([[1, 0]], dtype=np.float32), corpus, k=3, threads=1)
    assert rows.tolist() == [[0, 1, 2]]
    assert scores.tolist() == [[0.5] * 3]


def test_order_does_not_depend_on_threads_or_on_the_other_queries() -> None:
    """A query alone on one thread gets the bits that it gets in a batch on two."""
    rng = np.random.default_rng(0)
    corpus, queries = unit(rng, 3000, 64), unit(rng, 1100, 64)
    scores, rows = top_k(queries, corpus, 10, threads=2)
    alone = [top_k(queries[i : i + 1], corpus, 10, threads=1) for i in (0, 700, 1099)]
    np.testing.assert_array_equal(rows[[0, 700, 1099]], np.concatenate([r for _, r in alone]))
    np.testing.assert_array_equal(scores[[0, 700, 1099]], np.concatenate([s for s, _ in alone]))


def test_agrees_with_plain_faiss_where_nothing_ties() -> None:
    """Scores equal those of IndexFlatIP to float32's precision."""
    rng = np.random.default_rng(1)
    corpus, queries = unit(rng, 2000, 32), unit(rng, 50, 32)
    index = faiss.IndexFlatIP(32)
    index.add(corpus)
    expected, _ = index.search(queries, 20)
    scores, _ = top_k(queries, corpus, 20, threads=2)
    np.testing.assert_allclose(scores, expected, atol=2e-6)


def test_a_corpus_smaller_than_k_is_returned_whole() -> None:
    """Three documents for k = 10, ordered like any ranking."""
    corpus = np.eye(3, dtype=np.float32)
    scores, rows = top_k(corpus[:1], corpus, k=10, threads=1)
    assert rows.tolist() == [[0, 1, 2]]
    assert scores.tolist() == [[1, 0, 0]]


def test_no_queries_give_an_empty_result() -> None:
    """Scores and rows have the shape (0, k)."""
    scores, rows = top_k(np.empty((0, 3), dtype=np.float32), np.eye(3, dtype=np.float32), k=2, threads=1)
    assert scores.shape == rows.shape == (0, 2)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["query", "corpus"])
def test_values_that_are_not_finite_are_refused_with_their_row(value: float, where: str) -> None:
    """NaN and infinity, in queries and in the corpus."""
    arrays = {"query": np.eye(3, dtype=np.float32), "corpus": np.eye(3, dtype=np.float32)}
    arrays[where][2, 1] = value
    with pytest.raises(BadInput, match=rf"1 {where} embeddings hold NaN or infinity \(first: row 2\)"):
        top_k(arrays["query"], arrays["corpus"], k=1, threads=1)


def test_different_dimensions_are_refused_with_both_numbers() -> None:
    """Embeddings of two encoders are never compared."""
    with pytest.raises(BadInput, match="queries have 3 dimensions, the corpus 4"):
        top_k(np.eye(3, dtype=np.float32), np.eye(4, dtype=np.float32), k=1, threads=1)


def test_an_empty_corpus_is_refused() -> None:
    """At least one document is needed."""
    with pytest.raises(BadInput, match="no embeddings"):
        top_k(np.eye(3, dtype=np.float32), np.empty((0, 3), dtype=np.float32), k=1, threads=1)


@pytest.mark.parametrize("block_rows", [1, 7, 64])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), copies=st.integers(1, 40), k=st.integers(1, 40))
def test_blocks_of_a_memory_mapped_corpus_give_the_full_ranking(
    tmp_path_factory: pytest.TempPathFactory, block_rows: int, seed: int, copies: int, k: int
) -> None:
    """A few rows and queries at a time, ties across blocks, all or some rows: the ranking is that of sorting."""
    rng = np.random.default_rng(seed)
    corpus, queries = rng.permutation(np.repeat(unit(rng, 6, 8), copies, axis=0)), unit(rng, 5, 8)
    among = np.flatnonzero(rng.random(len(corpus)) < 0.7)
    path = tmp_path_factory.mktemp("blocks") / "corpus.npy"
    np.save(path, corpus)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vectors, "BLOCK_BYTES", 4 * 8 * block_rows)
        for name, value in (("BATCH", 2), ("UNSURE_BATCH", 1)):
            patch.setattr(retrieval, name, value)
        mapped = load_embeddings(path, len(corpus), "the corpus")
        whole, some = (top_k(queries, mapped, k, 2, rows) for rows in (None, among))
    assert whole[1].tolist() == by_sorting(queries, corpus, k)[1]
    assert some[1].tolist() == [among[rows].tolist() for rows in by_sorting(queries, corpus[among], k)[1]]


def test_a_corpus_of_equal_documents_returns_the_first_rows() -> None:
    """All rows tie; no list of all ties is kept in memory."""
    corpus = np.tile(unit(np.random.default_rng(0), 1, 16), (30_000, 1))
    _, rows = top_k(corpus[:3], corpus, k=5, threads=2)
    assert rows.tolist() == [[0, 1, 2, 3, 4]] * 3


def test_large_finite_values_are_not_taken_for_infinite_ones() -> None:
    """Their sum overflows float32, but each value is finite."""
    corpus = np.full((3, 4), 2e38, dtype=np.float32)
    corpus[1, 2] = np.inf
    with pytest.raises(BadInput, match=r"1 corpus embeddings hold NaN or infinity \(first: row 1\)"):
        top_k(np.zeros((1, 4), dtype=np.float32), corpus, k=1, threads=1)


def test_faiss_gpu_proposes_the_candidates_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is the same: a stand-in for faiss-gpu, whose sums are in float32 as well."""
    asked = []

    def knn_gpu(resources: object, queries: object, corpus: object, n: int, metric: int) -> object:
        asked.append((resources, n))
        return faiss.knn(queries, corpus, n, metric=metric)

    rng = np.random.default_rng(7)
    queries, corpus = unit(rng, 5, 8), unit(rng, 4000, 8)
    expected = top_k(queries, corpus, 10, threads=1)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1, raising=False)
    monkeypatch.setattr(faiss, "StandardGpuResources", lambda: "gpu", raising=False)
    monkeypatch.setattr(faiss, "knn_gpu", knn_gpu, raising=False)
    retrieval._gpu.cache_clear()
    try:
        found = top_k(queries, corpus, 10, threads=1)
        top_k(queries[:1], corpus, 3000, threads=1)  # more than faiss-gpu can find
    finally:
        retrieval._gpu.cache_clear()
    assert asked == [("gpu", 10 + retrieval.EXTRA)]
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
