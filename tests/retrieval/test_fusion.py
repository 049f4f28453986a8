"""Fused rankings are those of the definitions, written as loops over dictionaries."""

import numpy as np
import pytest

from attune.retrieval.fusion import fused, reciprocal_ranks, scaled
from attune.runtime.arrays import Float64, Int64

N, DEPTH = 30, 12


def rankings(seed: int) -> tuple[Float64, Int64]:
    """Returns rankings of 20 documents by random scores; some are short, one is empty."""
    random = np.random.default_rng(seed)
    rows = np.stack([random.permutation(20)[:DEPTH] for _ in range(N)])
    scores = -np.sort(-random.random((N, DEPTH)), axis=1)
    lacks = np.arange(DEPTH) >= random.integers(3, 2 * DEPTH, N)[:, None]
    lacks[0] = True
    return np.where(lacks, 0.0, scores), np.where(lacks, -1, rows)


def by_hand(values: list[dict[int, float]], weights: tuple[float, float]) -> list[tuple[int, float]]:
    """Returns documents with the weighted sums of their values, best first, of equal ones the lower row."""
    documents = {row for one in values for row in one}
    sums = {row: sum(w * one.get(row, 0.0) for w, one in zip(weights, values, strict=True)) for row in documents}
    return sorted(((row, round(value, 6)) for row, value in sums.items()), key=lambda pair: (-pair[1], pair[0]))


@pytest.mark.parametrize("kind", ["ranks", "scores"])
def test_fusion_equals_its_definition(kind: str) -> None:
    """For each query: 1 / (60 + rank) in both, or scores scaled by hand, weighted and added."""
    parts = [rankings(1), rankings(2)]
    weights = (1.0, 1.0) if kind == "ranks" else (0.3, 0.7)
    made = [reciprocal_ranks(part) for part in parts] if kind == "ranks" else [scaled(parts[0], 0.0), scaled(parts[1])]
    scores, rows = fused(made, weights)
    for query in range(N):
        values: list[dict[int, float]] = []
        for place, (own_scores, own_rows) in enumerate(parts):
            listed = [(int(r), float(s)) for r, s in zip(own_rows[query], own_scores[query], strict=True) if r >= 0]
            low = 0.0 if place == 0 or not listed else listed[-1][1]
            values.append(
                {row: 1 / (60 + rank) for rank, (row, _) in enumerate(listed, 1)}
                if kind == "ranks"
                else {row: (s - low) / (listed[0][1] - low) if listed[0][1] > low else 1.0 for row, s in listed}
            )
        expected = by_hand(values, weights)
        assert rows[query][: len(expected)].tolist() == [row for row, _ in expected]
        assert scores[query][: len(expected)].tolist() == pytest.approx([score for _, score in expected], abs=2e-6)
        assert (rows[query][len(expected) :] == -1).all() and not scores[query][len(expected) :].any()


def test_a_weight_of_1_keeps_the_order_of_that_ranking() -> None:
    """Documents that only the other ranking holds come last, with score 0."""
    first, second = rankings(3), rankings(4)
    _, rows = fused([scaled(first), scaled(second)], (1.0, 0.0))
    for query in range(1, N):
        own = [row for row in first[1][query] if row >= 0]
        assert rows[query][: len(own) - 1].tolist() == own[:-1]  # the last one is scaled to 0
