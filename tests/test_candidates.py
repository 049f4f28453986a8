"""Two rankings become one list without repetition, and queries of the same meaning lend each other their answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attune.candidates import NOT_RANKED, Pairs, Pool, answers_of_same_queries, cosines

X = NOT_RANKED


def test_each_document_is_there_once_with_its_place_in_both_lists() -> None:
    pool = Pool.of(np.array([[7, 3, 5]]), np.array([[5, 9, -1]]))
    assert pool.rows.tolist() == [[7, 3, 5, -1, 9, -1]]
    assert pool.dense_rank.tolist() == [[0, 1, 2, X, X, X]]
    assert pool.lexical_rank.tolist() == [[X, X, 0, X, 1, X]]


lists = st.lists(st.integers(0, 20), min_size=6, max_size=6, unique=True)


@given(st.lists(st.tuples(lists, lists, st.integers(0, 6)), min_size=1, max_size=5))
def test_joining_loses_and_invents_nothing(queries: list[tuple[list[int], list[int], int]]) -> None:
    """Reading the pool by either rank gives back the list that went in."""
    dense = np.array([first for first, _, _ in queries])
    lexical = np.array([[*second[:n], *[-1] * (6 - n)] for _, second, n in queries])
    pool = Pool.of(dense, lexical)
    for query in range(len(queries)):
        rows = pool.rows[query]
        assert len(set(rows[rows >= 0])) == (rows >= 0).sum()
        for ranks, list_ in ((pool.dense_rank, dense), (pool.lexical_rank, lexical)):
            ranked = sorted((rank, row) for rank, row in zip(ranks[query], rows, strict=True) if rank != X)
            assert [row for _, row in ranked] == [row for row in list_[query] if row >= 0]


def test_pairs_are_found_in_the_pool() -> None:
    """Of the right query only, and never where there is nothing."""
    pool = Pool.of(np.array([[7, 3], [7, 5]]), np.array([[-1], [3]]))
    pairs = Pairs(np.array([0, 1]), np.array([3, 7]))
    assert pool.holds(pairs).tolist() == [[False, True, False], [True, False, False]]


def test_cosines_are_rounded_to_six_digits() -> None:
    """However many pairs there are at a time."""
    random = np.random.default_rng(0)
    queries, corpus = (random.normal(size=(n, 5)).astype(np.float32) for n in (30, 400))
    pairs = Pairs(random.integers(30, size=20_000), random.integers(400, size=20_000))
    expected = [
        round(float(np.dot(queries[q].astype(float), corpus[r].astype(float))), 6) for q, r in zip(*pairs, strict=True)
    ]
    assert cosines(queries, corpus)(pairs).tolist() == pytest.approx(expected, abs=1e-6)


def angles(*degrees: float) -> np.ndarray:
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def test_queries_of_the_same_meaning_lend_each_other_their_answers() -> None:
    """Queries at 0, 10 and 25 degrees: cos 10 is .985, cos 15 is .966, cos 25 is .906."""
    positives = Pairs(np.array([0, 1, 1, 2]), np.array([4, 5, 6, 7]))
    cases = {1.01: [], 1.0: [], 0.98: [(0, 5), (0, 6), (1, 4)], 0.95: [(0, 5), (0, 6), (1, 4), (1, 7), (2, 5), (2, 6)]}
    for same_query, expected in cases.items():
        found = answers_of_same_queries(angles(0, 10, 25), positives, same_query, threads=1)
        assert list(zip(*(part.tolist() for part in found), strict=True)) == expected


def test_identical_queries_are_the_same_at_one_and_at_no_setting_above() -> None:
    """1 is the highest cosine, so 1.01 switches the rule off; a shared answer is listed all the same."""
    positives = Pairs(np.array([0, 1]), np.array([4, 4]))
    for same_query, expected in ((1.0, [[0, 1], [4, 4]]), (1.01, [[], []])):
        found = answers_of_same_queries(angles(30, 30), positives, same_query, threads=1)
        assert [part.tolist() for part in found] == expected
