"""Storages of an index: what each keeps of the vectors equals an independent computation, and its bytes are true."""

from pathlib import Path

import numpy as np
import pytest

from attune.runtime.arrays import Float32, Float64
from attune.runtime.indexes import build
from attune.runtime.search import Search
from attune.runtime.storage import QUERY_BITS, STORAGES, bytes_per_vector

N, DIM = 300, 32
IDS = [f"d{row}" for row in range(N)]


def unit(n: int, seed: int) -> Float32:
    vectors = np.random.default_rng(seed).normal(size=(n, DIM)) + 0.2
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


VECTORS, QUERIES = unit(N, 0), unit(7, 1)


def float16(vectors: Float64) -> Float64:
    return vectors.astype(np.float16).astype(np.float64)


def int8(vectors: Float64) -> Float64:
    """The middle of one of 255 steps between the least and the greatest number of a dimension."""
    low, span = vectors.min(axis=0), np.ptp(vectors, axis=0)
    return low + (np.floor((vectors - low) / span * 255) + 0.5) / 255 * span


def products(storage: str, queries: Float64, vectors: Float64) -> Float64:
    """Scores of queries by what a storage keeps: (n queries, n vectors)."""
    if storage != "binary":
        return np.asarray(queries @ KEPT[storage](vectors).T)
    # RaBitQ (Gao and Long 2024): of the product of two distances to the mean, signs of the vector's stand for it, as
    # long as makes their product with itself exact; the products with the mean are kept
    mean = vectors.mean(axis=0)
    distance = vectors - mean
    signs = np.where(distance > 0, 1.0, -1.0)
    scale = (distance**2).sum(axis=1) / np.abs(distance).sum(axis=1)
    return np.asarray((queries - mean) @ signs.T * scale + (queries @ mean)[:, None] + distance @ mean)


def exactness(storage: str, queries: Float64, vectors: Float64) -> float:
    """How far a score may be from `products`: against bits, each number of a query is rounded, by half a step at most.

    Four standard deviations of DIM independent errors, equally likely between minus and plus half a step.
    """
    if storage != "binary":
        return 2e-5
    distance = vectors - vectors.mean(axis=0)
    scale = (distance**2).sum(axis=1) / np.abs(distance).sum(axis=1)
    step = np.ptp(queries - vectors.mean(axis=0), axis=1).max() / (2**QUERY_BITS - 1)
    return float(4 * np.sqrt(DIM / 12) * step * scale.max())


KEPT = {"float32": np.asarray, "float16": float16, "int8": int8}


@pytest.mark.parametrize("storage", [*KEPT, "binary"])
def test_scores_are_those_of_the_vectors_that_are_kept(storage: str) -> None:
    """numpy rounds the vectors by the storage's definition; the index ranks and scores as products with these do."""
    numbers = QUERIES.astype(np.float64), VECTORS.astype(np.float64)
    expected, atol = products(storage, *numbers), exactness(storage, *numbers)
    assert atol < 0.01
    got = Search.build(VECTORS, IDS, storage=storage).top(QUERIES, 5)
    for hits, scores in zip(got, expected, strict=True):
        np.testing.assert_allclose([score for _, score in hits], np.sort(scores)[::-1][:5], atol=atol)
        np.testing.assert_allclose([scores[IDS.index(id_)] for id_, _ in hits], [score for _, score in hits], atol=atol)


def test_binary_rescored_orders_what_binary_finds_by_int8() -> None:
    """Of 3 neighbours 30 candidates are looked at again; the best of them by int8's scores come first."""
    candidates = Search.build(VECTORS, IDS, storage="binary").top(QUERIES, 30)
    scores = QUERIES.astype(np.float64) @ int8(VECTORS.astype(np.float64)).T
    for query, (hits, found) in enumerate(
        zip(Search.build(VECTORS, IDS, storage="binary_rescored").top(QUERIES, 3), candidates, strict=True)
    ):
        best = sorted((id_ for id_, _ in found), key=lambda id_: -scores[query, IDS.index(id_)])[:3]
        assert [id_ for id_, _ in hits] == best


@pytest.mark.parametrize(
    ("storage", "n_bytes"),
    [("float32", 128), ("float16", 64), ("int8", 32), ("binary", 12), ("binary_rescored", 44)],
)
def test_bytes_per_vector_are_those_of_the_table(storage: str, n_bytes: int) -> None:
    """4, 2 and 1 bytes for each of 32 numbers; 32 bits and two factors; and both of the last two."""
    index = build(STORAGES[storage], VECTORS, np.arange(N), seed=0, threads=1)
    assert bytes_per_vector(index) == n_bytes


@pytest.mark.parametrize("storage", STORAGES)
def test_a_saved_index_keeps_its_storage(tmp_path: Path, storage: str) -> None:
    """The same hits, and the number of candidates that binary_rescored looks at again."""
    made = Search.build(VECTORS, IDS, "abc", storage=storage)
    made.save(tmp_path / "index")
    found = Search.load(tmp_path / "index", "abc")
    assert found.description == STORAGES[storage]
    assert found.top(QUERIES, 4) == made.top(QUERIES, 4)


def test_recall_of_a_storage_is_measured() -> None:
    """All of float32; of 300 alike vectors binary misses more than int8."""
    recalls = {name: Search.build(VECTORS, IDS, queries=QUERIES, storage=name).recall for name in STORAGES}
    assert recalls["float32"] == 1.0
    assert None not in recalls.values() and recalls["binary"] < recalls["int8"] <= 1.0


@pytest.mark.parametrize(
    ("storage", "factory", "words"),
    [
        ("int4", "flat", "storage is 'int4', expected one of float32, float16, int8, binary, binary_rescored"),
        ("int8", "hnsw", "storage is int8 and factory 'hnsw', expected flat with it"),
    ],
)
def test_a_storage_that_does_not_fit_is_refused(storage: str, factory: str, words: str) -> None:
    """The message names what would."""
    with pytest.raises(ValueError, match=words):
        Search.build(VECTORS, IDS, factory=factory, storage=storage)
