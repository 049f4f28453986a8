"""Power and smallest detectable differences are the textbook's, and those of simulated tests."""

from math import sqrt

import numpy as np
import pytest
from scipy.stats import nct, t

from attune.evaluation.statistics.power import Sensitivity
from attune.evaluation.statistics.significance import compare

SIMULATIONS = 200


def chance(n: int, effect: float, alpha: float) -> float:
    """The power of the two-sided paired t-test by its definition, from scipy's noncentral t (Cohen, 1988)."""
    edge = t.ppf(1 - alpha / 2, n - 1)
    return float(nct.sf(edge, n - 1, effect * sqrt(n)) + nct.cdf(-edge, n - 1, effect * sqrt(n)))


def test_the_published_example_is_met() -> None:
    """Half a standard deviation takes 34 pairs at 5% and a power of 80% (Cohen's tables; G*Power prints the same)."""
    test = Sensitivity(34, sd=0.2, confidence=0.95, power=0.8)
    assert test.queries_for(0.1) == test.queries_for(-0.1) == 34
    assert test.smallest_detectable <= 0.1
    assert Sensitivity(33, sd=0.2, confidence=0.95, power=0.8).smallest_detectable > 0.1


@pytest.mark.parametrize("n", [2, 5, 30, 1097])
@pytest.mark.parametrize(("confidence", "power"), [(0.95, 0.8), (0.99, 0.9)])
def test_the_smallest_detectable_difference_has_the_required_power(n: int, confidence: float, power: float) -> None:
    """By scipy's noncentral t distribution, for either sign of the difference."""
    test = Sensitivity(n, sd=0.3, confidence=confidence, power=power)
    found = test.smallest_detectable
    assert chance(n, found / 0.3, 1 - confidence) == pytest.approx(power, abs=1e-3)
    assert test.chance_of(found) == test.chance_of(-found) == pytest.approx(power, abs=1e-3)


def test_four_times_the_queries_halve_the_detectable_difference() -> None:
    """The standard error falls with the square root of the number of queries."""
    small, large = (Sensitivity(n, 0.3, 0.95, 0.8).smallest_detectable for n in (1000, 4000))
    assert small / large == pytest.approx(2, abs=0.01)


def test_the_spread_is_that_of_the_differences() -> None:
    """`sd` is the sample standard deviation of the differences per query."""
    assert Sensitivity.of(np.array([0.0, 0.5, 1.0]), 0.95, 0.8) == Sensitivity(3, 0.5, 0.95, 0.8)


def test_equal_differences_of_all_queries_are_always_detected() -> None:
    """Without spread two queries are enough; without a difference only false alarms remain."""
    same = Sensitivity.of(np.zeros(5), 0.95, 0.8)
    assert same.smallest_detectable == 0
    assert same.queries_for(0.1) == 2
    assert (same.chance_of(0.1), same.chance_of(0)) == (1, pytest.approx(0.05))


def scores(rng: np.random.Generator, n_queries: int) -> dict[str, np.ndarray]:
    """Base scores as nDCG@10 has them, many at 0 and 1, of as many systems as there are simulations."""
    return {
        str(i): np.where(rng.random(n_queries) < 0.3, rng.integers(0, 2, n_queries), rng.random(n_queries))
        for i in range(SIMULATIONS)
    }


def share_significant(effect: float, sd: float, n_queries: int) -> tuple[float, float]:
    """How often tuned = base + effect + noise is called significant, by the test and by the interval."""
    rng = np.random.default_rng(11)
    base = scores(rng, n_queries)
    # noise that does nothing on average but is not normal: most queries stay as they are
    noise = rng.normal(0, sd / sqrt(0.4), (SIMULATIONS, n_queries)) * (rng.random((SIMULATIONS, n_queries)) < 0.4)
    tuned = {name: values + effect + noise[i] for i, (name, values) in enumerate(base.items())}
    compared = compare(base, tuned, n_resamples=1000, confidence=0.95, seed=0).values()
    by_test = [found.p_value < 0.05 for found in compared]
    by_interval = [found.ci_low > 0 or found.ci_high < 0 for found in compared]
    return float(np.mean(by_test)), float(np.mean(by_interval))


def test_noise_without_effect_is_significant_in_one_case_of_twenty() -> None:
    """Test and interval keep the 5% level on scores with many ties."""
    by_test, by_interval = share_significant(effect=0, sd=0.2, n_queries=150)
    assert 0.02 <= by_test <= 0.08
    assert 0.02 <= by_interval <= 0.08


@pytest.mark.parametrize("power", [0.55, 0.8, 0.95])
def test_a_planted_effect_is_detected_as_often_as_computed(power: float) -> None:
    """The randomization test and the interval have the power of the t-test."""
    effect = Sensitivity(150, sd=0.2, confidence=0.95, power=power).smallest_detectable
    by_test, by_interval = share_significant(effect, sd=0.2, n_queries=150)
    assert by_test == pytest.approx(power, abs=0.1)
    assert by_interval == pytest.approx(power, abs=0.1)
