"""The exact randomization test counts all sign flips, and the correction only the tests that can be significant."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from attune.evaluation.statistics.sign_flips import MOST_CLUSTERS, countable, exact_p, smallest_exact_p


def enumerated(sums: list[float]) -> float:
    """Twice the share of sign flips with a sum at least as far on the observed side."""
    flipped = np.array([np.dot(signs, np.abs(sums)) for signs in product((-1, 1), repeat=len(sums))])
    return float(min(1.0, 2 * (flipped >= abs(sum(sums)) - 1e-9).mean()))


@given(st.lists(st.sampled_from([-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=11))
def test_p_is_the_share_of_sign_flips(sums: list[float]) -> None:
    """With all flips listed, the same figure."""
    assert exact_p(np.array(sums)) == pytest.approx(enumerated(sums))


@pytest.mark.parametrize("n", [12, 14])
def test_p_of_any_sums_is_that_of_all_flips(n: int) -> None:
    """Sums without ties: the grid changes p by a twentieth at most, upwards."""
    rng = np.random.default_rng(n)
    for _ in range(5):
        sums = rng.normal(0.3, 0.5, n)
        exact = enumerated(sums.tolist())
        assert exact * 0.999 <= exact_p(sums) <= exact * 1.05


def test_p_has_no_floor() -> None:
    """25 that all fall: 2 of 2^25 flips; ties change nothing; without any difference p is 1."""
    assert exact_p(np.full(25, -1.0)) == pytest.approx(2**-24)
    assert exact_p(np.append(np.full(25, -1.0), np.zeros(40))) == smallest_exact_p(np.full(25, -1.0))
    assert exact_p(np.zeros(3)) == smallest_exact_p(np.zeros(3)) == 1


def test_the_normal_distribution_takes_over_without_a_jump() -> None:
    """One cluster more than are counted exactly: the same p, within a twentieth."""
    sums = np.random.default_rng(0).normal(0.08, 1, MOST_CLUSTERS + 1)
    assert exact_p(sums[1:]) == pytest.approx(exact_p(np.append(sums[1:], 1e-9)), rel=0.05)


@pytest.mark.parametrize("won", [1250, 1300])
def test_few_large_differences_among_thousands_of_small_ones_are_counted(won: int) -> None:
    """Five clusters gain 1, and 2,500 gain or lose .01: by two binomial distributions, not by one normal one.

    A normal distribution of all together is off, the second time by a factor of six.
    """
    sums = np.concatenate([np.ones(5), np.full(won, 0.01), np.full(2500 - won, -0.01)])
    beyond = [stats.binom.sf(won - 1 + 100 * lost, 2500, 0.5) for lost in range(6)]
    exact = 2 * float(stats.binom.pmf(range(6), 5, 0.5) @ beyond)
    assert exact <= exact_p(sums) <= 1.05 * exact
    normal = 2 * stats.norm.sf(sums.sum() / np.sqrt((sums**2).sum()))
    assert normal != pytest.approx(exact, rel=0.05)


def test_hypotheses_that_cannot_be_rejected_are_not_counted() -> None:
    """Three of five clusters' worth cannot reach .05; of the others all can, corrected for each other."""
    smallest = 2 * 0.5 ** np.array([10, 12, 3, 3, 3, 20])
    assert countable(smallest, 0.05).tolist() == [True, True, False, False, False, True]
    assert countable(2 * 0.5 ** np.full(100, 7.0), 0.05).sum() == 0
    assert countable(np.array([]), 0.05).tolist() == []


@given(st.lists(st.integers(0, 25), max_size=40))
def test_every_counted_hypothesis_can_be_rejected(n_changed: list[int]) -> None:
    """Its smallest p-value is significant after the correction for all that are counted."""
    smallest = 2 * 0.5 ** np.array(n_changed, dtype=np.float64)
    counted = countable(smallest, 0.05)
    assert np.all(smallest[counted] * counted.sum() <= 0.05)
