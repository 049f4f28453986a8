"""Candidate pools join two rankings without repetition; queries of the same meaning share their answers."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attune.tuning.mining import candidates
from attune.tuning.mining.candidates import (
    NOT_RANKED,
    NearestQuery,
    Pairs,
    Pool,
    among,
    answers_like_query,
    answers_same_query,
    cosines,
)

X = NOT_RANKED


def test_a_pool_has_each_document_once_with_both_ranks() -> None:
    """A document of both lists stands where the dense list has it, with its lexical rank beside."""
    pool = Pool.join(np.array([[7, 3, 5]]), np.array([[5, 9, -1]]))
    assert pool.rows.tolist() == [[7, 3, 5, -1, 9, -1]]
    assert pool.dense_rank.tolist() == [[0, 1, 2, X, X, X]]
    assert pool.lexical_rank.tolist() == [[X, X, 0, X, 1, X]]


lists = st.lists(st.integers(0, 20), min_size=6, max_size=6, unique=True)


@given(st.lists(st.tuples(lists, lists, st.integers(0, 6)), min_size=1, max_size=5))
def test_joining_loses_and_invents_nothing(queries: list[tuple[list[int], list[int], int]]) -> None:
    """Reading the pool by either rank gives back the list that went in."""
    dense = np.array([first for first, _, _ in queries])
    lexical = np.array([[*second[:n], *[-1] * (6 - n)] for _, second, n in queries])
    pool = Pool.join(dense, lexical)
    for query in range(len(queries)):
        rows = pool.rows[query]
        assert len(set(rows[rows >= 0])) == (rows >= 0).sum()
        for ranks, list_ in ((pool.dense_rank, dense), (pool.lexical_rank, lexical)):
            ranked = sorted((rank, row) for rank, row in zip(ranks[query], rows, strict=True) if rank != X)
            assert [row for _, row in ranked] == [row for row in list_[query] if row >= 0]


def test_pairs_are_marked_in_the_pool() -> None:
    """Only for the pair's own query, and never where there is no candidate."""
    pool = Pool.join(np.array([[7, 3], [7, 5]]), np.array([[-1], [3]]))
    pairs = Pairs(np.array([0, 1]), np.array([3, 7]))
    assert pool.satisfying(among(pairs)).tolist() == [[False, True, False], [True, False, False]]


def test_answers_of_queries_that_read_the_same_are_found_by_group() -> None:
    """Queries 0, 1, 2 are one group: each one's answers are answers of the others, its own only if shared."""
    positives = Pairs(np.array([0, 0, 1, 2, 3]), np.array([4, 5, 5, 6, 7]))
    is_like = answers_like_query(np.array([0, 0, 0, 3]), positives)
    tested = Pairs(*(part.ravel() for part in np.indices((4, 9))))
    found = [
        (int(q), int(row)) for q, row in zip(*tested, strict=True) if is_like(Pairs(np.array([q]), np.array([row])))[0]
    ]
    assert found == [(0, 5), (0, 6), (1, 4), (1, 5), (1, 6), (2, 4), (2, 5)]
    assert is_like(tested).sum() == len(found)


def test_a_large_group_of_like_queries_takes_memory_by_its_judgments() -> None:
    """20,000 near-identical queries with an answer each: 4 * 10^8 pairs of query and answer are never written down."""
    n = 20_000
    is_like = answers_like_query(np.zeros(n, np.int64), Pairs(np.arange(n), np.arange(n)))
    tracemalloc.start()
    mask = is_like(Pairs(np.arange(n), (np.arange(n) + 1) % (n + 1)))
    assert tracemalloc.get_traced_memory()[1] < 100 * n
    tracemalloc.stop()
    assert mask.tolist() == [True] * (n - 1) + [False]


def test_cosines_are_rounded_to_six_digits() -> None:
    """Equal to numpy's dot product in float64, in more pairs than one batch."""
    random = np.random.default_rng(0)
    queries, corpus = (random.normal(size=(n, 5)).astype(np.float32) for n in (30, 400))
    pairs = Pairs(random.integers(30, size=20_000), random.integers(400, size=20_000))
    expected = [
        round(float(np.dot(queries[q].astype(float), corpus[r].astype(float))), 6) for q, r in zip(*pairs, strict=True)
    ]
    assert cosines(queries, corpus)(pairs).tolist() == pytest.approx(expected, abs=1e-6)


def unit_vectors(*degrees: float) -> np.ndarray:
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def true_pairs(vectors: np.ndarray, positives: Pairs, same_query: float) -> list[tuple[int, int]]:
    """Returns the pairs of all queries with documents 0 to 9 that satisfy answers_same_query."""
    pairs = Pairs(*(part.ravel() for part in np.indices((len(vectors), 10))))
    mask = answers_same_query(vectors, positives, same_query)(pairs)
    return list(zip(pairs.queries[mask].tolist(), pairs.rows[mask].tolist(), strict=True))


def test_queries_of_the_same_meaning_share_their_answers() -> None:
    """Queries at 0, 10 and 25 degrees: cos 10 is .985, cos 15 is .966, cos 25 is .906."""
    positives = Pairs(np.array([0, 1, 1, 2]), np.array([4, 5, 6, 7]))
    cases = {1.01: [], 1.0: [], 0.98: [(0, 5), (0, 6), (1, 4)], 0.95: [(0, 5), (0, 6), (1, 4), (1, 7), (2, 5), (2, 6)]}
    for same_query, expected in cases.items():
        assert true_pairs(unit_vectors(0, 10, 25), positives, same_query) == expected


def test_same_query_above_1_turns_the_rule_off() -> None:
    """At 1, the highest cosine, identical queries still share their answers; at 1.01 none do."""
    positives = Pairs(np.array([0, 1]), np.array([4, 4]))
    for same_query, expected in ((1.0, [(0, 4), (1, 4)]), (1.01, [])):
        assert true_pairs(unit_vectors(30, 30), positives, same_query) == expected


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.sampled_from([1, 3, 64]))
@settings(max_examples=30, deadline=None)
def test_the_nearest_other_query_equals_a_search_through_all(seed: int, batch: int, many: int) -> None:
    """At any batch size, by single and by matrix products; -1 where the document answers no other query."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(12, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    positives = Pairs(np.sort(random.integers(12, size=20)), random.integers(15, size=20))
    pairs = Pairs(random.integers(12, size=30), random.integers(15, size=30))
    judged = list(zip(*positives, strict=True))
    expected = [
        max(
            [round(float(vectors[q].astype(float) @ vectors[a]), 6) for a, r in judged if r == row and a != q],
            default=-1,
        )
        for q, row in zip(*pairs, strict=True)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "LOOKUP_BATCH", batch)
        patch.setattr(candidates, "MANY", many)
        patch.setattr(candidates, "LARGE", 6)
        highest = NearestQuery.of(positives, vectors).cosine(pairs)
    assert highest.tolist() == pytest.approx(expected, abs=2e-6)
