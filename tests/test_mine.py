"""The rules of mining, one by one: what excludes a candidate, and what tops up a list that stays short."""

import numpy as np
import pytest

from attune.errors import BadInput
from attune.negatives import REASONS, Found, Verdicts, fill, judge


def found(
    scores: list[float], positives: list[int], own: list[int], lowest: float, refused: tuple[int, ...] = ()
) -> Found:
    places = np.arange(len(scores))
    return Found(
        scores=np.array([scores], dtype=np.float32),
        rows=places[None],
        is_positive=np.isin(places, positives)[None],
        is_own_negative=np.isin(places, refused)[None],
        in_own_cluster=np.isin(places, own)[None],
        lowest_positive=np.array([lowest], dtype=np.float32),
    )


TWO = np.array([2])


def named(verdicts: Verdicts) -> list[str]:
    return [REASONS[code] for code in verdicts.reasons[0]]


def test_each_candidate_gets_the_first_verdict_that_applies() -> None:
    """Positive .80, so the ceiling is .72; two are kept and the last is not needed."""
    candidates = found([0.9, 0.8, 0.75, 0.73, 0.72, 0.6, 0.5], positives=[1], own=[1, 2], lowest=0.8)
    expected = ["too_close", "positive", "positive_cluster", "too_close", "kept", "kept", "not_needed"]
    assert named(judge(candidates, TWO, 0.9, 0)) == expected


def test_the_nearest_can_be_passed_over() -> None:
    """first_rank skips eligible candidates, not rejected ones."""
    candidates = found([0.9, 0.5, 0.4, 0.3, 0.2], positives=[0], own=[0], lowest=0.9)
    assert named(judge(candidates, TWO, 0.9, 1)) == ["positive", "not_needed", "kept", "kept", "not_needed"]


def test_a_positive_with_a_negative_score_still_has_its_candidates_below_it() -> None:
    """90% of -.5 would be -.45, above the positive; the ceiling is -.55."""
    candidates = found([0.1, -0.5, -0.52, -0.56], positives=[1], own=[1], lowest=-0.5)
    assert named(judge(candidates, TWO, 0.9, 0)) == ["too_close", "positive", "too_close", "kept"]


def test_the_users_own_negatives_are_not_mined_a_second_time() -> None:
    """The best candidate is one that the user gave; the next two are mined."""
    candidates = found([0.9, 0.5, 0.4, 0.3], positives=[0], own=[0], lowest=0.9, refused=(1,))
    assert named(judge(candidates, TWO, 0.9, 0)) == ["positive", "own_negative", "kept", "kept"]


def test_short_lists_are_filled_from_other_clusters_and_counted() -> None:
    """Seeded, without repetition, never from the query's own cluster."""
    clusters = np.array(["a", "a", "b", "c"])
    two = np.array([2, 2])
    filled, n_filled = fill([[2], []], [[], []], ["a", "b"], clusters, two, 1)
    assert (filled[0], n_filled) == ([2, 3], 3)
    assert set(filled[1]) < {0, 1, 3} and len(set(filled[1])) == 2
    assert fill([[2], []], [[], []], ["a", "b"], clusters, two, 1)[0] == filled
    # a rejected candidate comes back only when nothing else is left
    assert fill([[]], [[1, 2]], ["c"], clusters, np.array([1]), 1)[0] == [[0]]
    for seed in range(30):
        assert 0 in fill([[]], [[1, 2]], ["c"], clusters, TWO, seed)[0][0]
    with pytest.raises(BadInput, match="2 train documents outside .* 3 needed"):
        fill([[]], [[]], ["a"], clusters, np.array([3]), 1)
