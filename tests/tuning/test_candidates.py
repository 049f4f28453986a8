"""Two rankings become one list without repetition, and queries of the same meaning lend each other their answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attune.tuning.mining import candidates
from attune.tuning.mining.candidates import NOT_RANKED, Pairs, Pool, answers_same_query, cosines, nearest_other_asker

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


def judged_so(vectors: np.ndarray, positives: Pairs, same_query: float) -> list[tuple[int, int]]:
    """Of all queries with documents 0 to 9, the pairs of which it is said."""
    pairs = Pairs(*(part.ravel() for part in np.indices((len(vectors), 10))))
    answers = answers_same_query(vectors, positives, same_query)(pairs)
    return list(zip(pairs.queries[answers].tolist(), pairs.rows[answers].tolist(), strict=True))


def test_queries_of_the_same_meaning_lend_each_other_their_answers() -> None:
    """Queries at 0, 10 and 25 degrees: cos 10 is .985, cos 15 is .966, cos 25 is .906."""
    positives = Pairs(np.array([0, 1, 1, 2]), np.array([4, 5, 6, 7]))
    cases = {1.01: [], 1.0: [], 0.98: [(0, 5), (0, 6), (1, 4)], 0.95: [(0, 5), (0, 6), (1, 4), (1, 7), (2, 5), (2, 6)]}
    for same_query, expected in cases.items():
        assert judged_so(angles(0, 10, 25), positives, same_query) == expected


def test_identical_queries_are_the_same_at_one_and_at_no_setting_above() -> None:
    """1 is the highest cosine, so 1.01 switches the rule off; a shared answer is listed all the same."""
    positives = Pairs(np.array([0, 1]), np.array([4, 4]))
    for same_query, expected in ((1.0, [(0, 4), (1, 4)]), (1.01, [])):
        assert judged_so(angles(30, 30), positives, same_query) == expected


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_the_likest_other_query_that_a_document_answers_is_found(seed: int, looked_up: int) -> None:
    """By looking at all queries, however few pairs are looked up at a time; -1 where nobody else has asked."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(12, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    positives = Pairs(np.sort(random.integers(12, size=20)), random.integers(15, size=20))
    pairs = Pairs(random.integers(12, size=30), random.integers(15, size=30))
    known = list(zip(*positives, strict=True))
    expected = [
        max(
            [round(float(vectors[q].astype(float) @ vectors[a]), 6) for a, r in known if r == row and a != q],
            default=-1,
        )
        for q, row in zip(*pairs, strict=True)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "LOOKED_UP", looked_up)
        found = nearest_other_asker(pairs, positives, cosines(vectors, vectors))
    assert found.tolist() == pytest.approx(expected, abs=2e-6)
