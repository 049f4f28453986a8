"""Intervals and p-values are the textbook's: exact where all cases can be listed, normal where queries are many."""

from dataclasses import astuple
from itertools import product
from math import erfc, sqrt

import numpy as np
import pytest
from numpy.typing import NDArray

from attune.errors import BadInput
from attune.significance import Comparison, compare


def compare_one(deltas: NDArray[np.float64] | list[float], n_resamples: int = 10_000, seed: int = 0) -> Comparison:
    values = np.asarray(deltas, dtype=np.float64)
    found = compare({"m": np.zeros_like(values)}, {"m": values}, n_resamples=n_resamples, confidence=0.95, seed=seed)
    return found["m"]


def test_delta_wins_ties_and_losses_are_counted_per_query() -> None:
    found = compare({"m": np.array([0.2, 0.5, 0.5, 1.0])}, {"m": np.array([0.7, 0.5, 0.0, 1.0])}, 1000, 0.95, 0)["m"]
    assert (found.wins, found.ties, found.losses) == (1, 2, 1)
    assert found.delta == pytest.approx((0.5 + 0 - 0.5 + 0) / 4)


def test_p_value_equals_the_enumeration_of_all_sign_flips() -> None:
    deltas = np.array([0.5, 0.25, -0.125, 1.0, 0.375, 0.0, 0.75, -0.0625])
    flipped = [abs(np.dot(signs, deltas)) for signs in product([1, -1], repeat=len(deltas))]
    exact = np.mean([value >= abs(deltas.sum()) for value in flipped])
    assert compare_one(deltas).p_value == pytest.approx(exact)


def test_p_value_is_that_of_the_z_test_when_queries_are_many() -> None:
    deltas = np.random.default_rng(5).normal(0, 0.4, size=1000)
    deltas += 0.02 - deltas.mean()
    z = deltas.sum() / sqrt((deltas**2).sum())  # under sign flips the sum has mean 0 and this variance
    expected = erfc(abs(z) / sqrt(2))
    assert 0.05 < expected < 0.5  # neither end, where a wrong test could agree
    assert compare_one(deltas).p_value == pytest.approx(expected, abs=0.015)


def test_interval_is_the_normal_one_when_queries_are_many() -> None:
    deltas = np.random.default_rng(6).normal(0.1, 0.4, size=2000)
    found, margin = compare_one(deltas), 1.96 * deltas.std() / sqrt(2000)
    assert found.ci_low == pytest.approx(deltas.mean() - margin, abs=margin / 20)
    assert found.ci_high == pytest.approx(deltas.mean() + margin, abs=margin / 20)


def test_interval_equals_the_enumeration_of_all_resamples() -> None:
    """Three queries have 27 equally likely resamples, whose means end at 0 and 1 (once in 27 each)."""
    means = sorted(np.mean(sample) for sample in product([0.0, 0.125, 1.0], repeat=3))
    found = compare_one([0.0, 0.125, 1.0])
    assert found.ci_low == pytest.approx(np.percentile(np.repeat(means, 400), 2.5))
    assert found.ci_high == pytest.approx(np.percentile(np.repeat(means, 400), 97.5))


def test_between_equal_systems_p_values_are_spread_evenly_and_intervals_hold_zero_as_often_as_they_say() -> None:
    """200 comparisons of two systems that differ by noise alone."""
    rng = np.random.default_rng(7)
    noise = {str(i): rng.normal(0, 0.3, size=80) for i in range(200)}
    found = compare({name: np.zeros(80) for name in noise}, noise, n_resamples=1000, confidence=0.95, seed=0)
    p_values = np.array([comparison.p_value for comparison in found.values()])
    covers = np.mean([comparison.ci_low <= 0 <= comparison.ci_high for comparison in found.values()])
    # 99.9% ranges of 200 draws
    assert 0.90 <= covers <= 0.99
    assert 0.01 <= np.mean(p_values < 0.05) <= 0.11
    assert 0.38 <= np.mean(p_values < 0.5) <= 0.62


def test_a_system_compared_with_itself_shows_no_change_at_all() -> None:
    values = {"m": np.random.default_rng(8).random(50)}
    found = compare(values, values, n_resamples=1000, confidence=0.95, seed=0)["m"]
    assert found == Comparison(delta=0, ci_low=0, ci_high=0, p_value=1, wins=0, ties=50, losses=0)


def test_swapping_the_systems_mirrors_the_result() -> None:
    rng = np.random.default_rng(9)
    a, b = {"m": rng.random(300)}, {"m": rng.random(300)}
    there, back = (compare(x, y, 2000, 0.95, 0)["m"] for x, y in ((a, b), (b, a)))
    assert back.delta == pytest.approx(-there.delta)
    assert (back.ci_low, back.ci_high) == pytest.approx((-there.ci_high, -there.ci_low))
    assert (back.wins, back.losses) == (there.losses, there.wins)
    assert back.p_value == pytest.approx(there.p_value, abs=0.05)


def test_the_seed_decides_and_measures_do_not_disturb_each_other() -> None:
    rng = np.random.default_rng(10)
    zero, one, two = np.zeros(60), rng.normal(0.1, 1, 60), rng.normal(0.3, 1, 60)
    alone = compare({"one": zero}, {"one": one}, 1000, 0.95, 3)["one"]
    together = compare({"one": zero, "two": zero}, {"one": one, "two": two}, 1000, 0.95, 3)["one"]
    other_seed = compare({"one": zero}, {"one": one}, 1000, 0.95, 4)["one"]
    assert astuple(together) == pytest.approx(astuple(alone))
    assert astuple(other_seed) != pytest.approx(astuple(alone))


def test_a_single_query_cannot_be_compared() -> None:
    with pytest.raises(BadInput, match="1 test queries, at least 2 are needed"):
        compare_one([0.5])
