"""Power, smallest detectable differences and false alarms are the textbook's, and those of simulated tests.

The simulations are of 30, 150 and 1,000 queries: independent ones, and in clusters with a strong effect on all of their
queries (an intra-cluster correlation of one half).
"""

from math import sqrt

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import chi, nct, norm, t

from attune.evaluation.statistics.clusters import by_cluster
from attune.evaluation.statistics.decision import decision_interval
from attune.evaluation.statistics.power import Sensitivity
from attune.evaluation.statistics.significance import compare

SIMULATIONS = 200
SD = 0.2  # of the simulated differences per query


def chance(n: int, effect: float, alpha: float) -> float:
    """The power of the two-sided paired t-test by its definition, from scipy's noncentral t (Cohen, 1988)."""
    edge = t.ppf(1 - alpha / 2, n - 1)
    return float(nct.sf(edge, n - 1, effect * sqrt(n)) + nct.cdf(-edge, n - 1, effect * sqrt(n)))


def integrated_chance(n: int, effect: float, alpha: float) -> float:
    """The same integrated over the estimated deviation, as scipy's noncentral t is NaN in places of few queries."""
    df, shift = n - 1, effect * sqrt(n)
    edge = t.ppf(1 - alpha / 2, df)

    def detected(size: float) -> float:
        density = chi.pdf(size * sqrt(df), df) * sqrt(df)
        return float(density * (norm.sf(edge * size - shift) + norm.cdf(-edge * size - shift)))

    return float(quad(detected, 0, 10, limit=500, points=[0.3, 1, 2])[0])


def independent(n: int, sd: float, confidence: float = 0.95, power: float = 0.8) -> Sensitivity:
    """The sensitivity of a test of n independent queries whose differences have this standard deviation."""
    return Sensitivity(n, n, sd / sqrt(n), confidence, power)


def test_the_published_example_is_met() -> None:
    """Half a standard deviation takes 34 pairs at 5% and a power of 80% (Cohen's tables; G*Power prints the same)."""
    assert independent(34, sd=0.2).smallest_detectable <= 0.1
    assert independent(33, sd=0.2).smallest_detectable > 0.1


@pytest.mark.parametrize("n", [5, 30, 1097])
@pytest.mark.parametrize(("confidence", "power"), [(0.95, 0.8), (0.99, 0.9)])
def test_the_smallest_detectable_difference_has_the_required_power(n: int, confidence: float, power: float) -> None:
    """By scipy's noncentral t distribution, for either sign of the difference."""
    test = independent(n, 0.1, confidence, power)
    found = test.smallest_detectable
    assert chance(n, found / 0.1, 1 - confidence) == pytest.approx(power, abs=1e-3)
    assert test.chance_of(found) == test.chance_of(-found) == pytest.approx(power, abs=1e-3)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 8, 12])
@pytest.mark.parametrize("n_comparisons", [1, 5, 18])
def test_few_clusters_never_claim_a_power_that_they_lack(n: int, n_comparisons: int) -> None:
    """Differences per query of sd .05: what is called detectable is detected that often, or nothing is."""
    test = Sensitivity(n, n, 0.05 / sqrt(n), 0.95, 0.8, n_comparisons)
    found = test.smallest_detectable
    assert found == 1 or integrated_chance(n, found / 0.05, 0.05 / n_comparisons) == pytest.approx(0.8, abs=2e-3)
    assert found < 1 or n < 8


@pytest.mark.parametrize("n_comparisons", [1, 2, 4, 9, 18, 27])
def test_every_number_of_clusters_has_a_detectable_difference_above_zero(n_comparisons: int) -> None:
    """A report ends well whatever its number of test clusters, and more clusters never detect less."""
    found = [Sensitivity(n, n, 0.1 / sqrt(n), 0.95, 0.8, n_comparisons).smallest_detectable for n in range(2, 131)]
    assert all(0 < one <= 1 for one in found) and found == sorted(found, reverse=True)
    for n in range(10, 131, 7):
        assert integrated_chance(n, found[n - 2] / 0.1, 0.05 / n_comparisons) == pytest.approx(0.8, abs=2e-3)


def test_the_power_is_that_of_a_corrected_test() -> None:
    """Of 18 comparisons each is tested at 5% / 18: at that level the difference has the power, by the noncentral t.

    A power of 80% without the correction is one of about 42% with it.
    """
    of_one, of_many = (Sensitivity(150, 150, 0.02, 0.95, 0.8, n) for n in (1, 18))
    effect = of_many.smallest_detectable / of_many.sd
    assert chance(150, effect, 0.05 / 18) == pytest.approx(0.8, abs=1e-3)
    assert of_many.chance_of(of_one.smallest_detectable) == pytest.approx(0.42, abs=0.02)
    assert of_many.queries_for(0.05) > 1.5 * of_one.queries_for(0.05)


def test_four_times_the_queries_halve_the_detectable_difference() -> None:
    """The standard error falls with the square root of the number of queries."""
    small, large = (independent(n, 0.3).smallest_detectable for n in (1000, 4000))
    assert small / large == pytest.approx(2, abs=0.01)


def test_the_error_is_that_of_the_differences_and_one_query_won_and_one_lost() -> None:
    """0, .5 and 1 with 1 and -1: the sample variance of the five is .7."""
    test = Sensitivity.of(np.array([0.0, 0.5, 1.0]), np.arange(3), 0.95, 0.8)
    assert (test.n_queries, test.n_clusters) == (3, 3)
    assert test.error == pytest.approx(sqrt(0.7 / 5))


def test_queries_in_clusters_count_as_the_clusters_do() -> None:
    """Copies of each query add nothing: ten queries, each four times, detect what ten do, and four times as many do."""
    deltas = np.random.default_rng(1).normal(0.1, 0.3, 10)
    once = Sensitivity.of(deltas, np.arange(10), 0.95, 0.8)
    copied = Sensitivity.of(np.repeat(deltas, 4), np.repeat(np.arange(10), 4), 0.95, 0.8)
    assert (copied.n_queries, copied.n_clusters) == (40, 10)
    assert copied.smallest_detectable == pytest.approx(once.smallest_detectable)
    assert copied.chance_of(0.2) == pytest.approx(once.chance_of(0.2))
    assert 4 * (once.queries_for(0.1) - 1) < copied.queries_for(0.1) <= 4 * once.queries_for(0.1)


def test_queries_that_do_not_differ_leave_something_to_detect() -> None:
    """Two saturated queries detect nothing, thirty .13, a thousand .004; how many are needed does not depend on it."""
    tests = {n: Sensitivity.of(np.zeros(n), np.arange(n), 0.95, 0.8) for n in (2, 30, 1000)}
    assert tests[2].smallest_detectable == 1
    assert tests[30].smallest_detectable == pytest.approx(0.13, abs=0.005)
    assert tests[1000].smallest_detectable == pytest.approx(0.004, abs=0.0005)
    needed = {test.queries_for(0.01) for test in tests.values()}
    assert max(needed) - min(needed) <= 1 and 270 < max(needed) < 290
    assert tests[2].chance_of(0.1) < 0.06


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
    compared = compare(base, tuned, np.arange(n_queries), 0.95).values()
    by_test = [found.p_value < 0.05 for found in compared]
    by_interval = [found.ci_low > 0 or found.ci_high < 0 for found in compared]
    return float(np.mean(by_test)), float(np.mean(by_interval))


def test_noise_without_effect_is_significant_in_one_case_of_twenty() -> None:
    """Test and interval keep the 5% level on scores with many ties."""
    by_test, by_interval = share_significant(effect=0, sd=0.2, n_queries=150)
    assert 0.02 <= by_test <= 0.08
    assert by_interval <= by_test


@pytest.mark.parametrize("power", [0.55, 0.8, 0.95])
def test_a_planted_effect_is_detected_as_often_as_computed(power: float) -> None:
    """The interval has the power of the t-test with its standard error, and the randomization test no less."""
    error = sqrt(150 * 0.2**2 + 2) / 152  # with one query won and one lost
    effect = Sensitivity(150, 150, error, 0.95, power).smallest_detectable
    by_test, by_interval = share_significant(effect, sd=0.2, n_queries=150)
    assert by_interval == pytest.approx(power, abs=0.1)
    assert by_test >= by_interval


def layout(n: int, kind: str) -> NDArray[np.int64]:
    """The clusters of n queries: one each, four each, or of 1 to 4 with a fifth of all queries in one cluster."""
    if kind == "one each":
        return np.arange(n)
    if kind == "four each":
        return np.arange(n) // 4
    n_rest = n - n // 5
    small = np.repeat(np.arange(n_rest), np.resize([1, 2, 3, 4], n_rest))[:n_rest]
    return np.concatenate([np.full(n // 5, n_rest), small])


def simulated(clusters: NDArray[np.int64], n: int, share: float, effect: float = 0.0) -> NDArray[np.float64]:
    """Differences of n comparisons, (n, n_queries): a share of their variance is common to the queries of a cluster.

    What is each query's own is 0 for three in five of them, as most queries score the same before and after.
    """
    rng = np.random.default_rng(17)
    common = rng.normal(0, SD, (n, clusters.max() + 1))[:, clusters]
    own = rng.normal(0, SD / sqrt(0.4), (n, len(clusters))) * (rng.random((n, len(clusters))) < 0.4)
    return effect + sqrt(share) * common + sqrt(1 - share) * own


def share_outside(deltas: NDArray[np.float64], clusters: NDArray[np.int64]) -> float:
    """How often the t interval over clusters excludes 0, without the added pair."""
    low, high = by_cluster(deltas, clusters).interval(0.95)
    return float(((low > 0) | (high < 0)).mean())


def reported_outside(deltas: NDArray[np.float64], clusters: NDArray[np.int64]) -> float:
    """How often the reported interval excludes 0."""
    low, high = decision_interval(by_cluster(deltas, clusters), 0.95)
    return float(((low > 0) | (high < 0)).mean())


def share_below_level(deltas: NDArray[np.float64], clusters: NDArray[np.int64]) -> float:
    """How often the p-value is at most 5%."""
    tuned = {str(i): values for i, values in enumerate(deltas)}
    compared = compare(dict.fromkeys(tuned, np.zeros(len(clusters))), tuned, clusters, 0.95)
    return float(np.mean([found.p_value <= 0.05 for found in compared.values()]))


KINDS = ("one each", "four each", "unequal")


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_queries", [30, 150, 1000])
def test_false_alarms_keep_their_level_with_and_without_cluster_effects(
    n_queries: int, kind: str, share: float
) -> None:
    """Between 3% and 7% of comparisons without a difference, by t interval and by test; 2,000 and 600 are simulated.

    The reported interval, which guards against losses that a sample does not show, stays below 5%.
    """
    clusters = layout(n_queries, kind)
    assert reported_outside(simulated(clusters, 2000, share), clusters) <= 0.05
    assert 0.03 <= share_outside(simulated(clusters, 2000, share), clusters) <= 0.07
    assert 0.03 <= share_below_level(simulated(clusters, 600, share), clusters) <= 0.07


@pytest.mark.parametrize("n_queries", [30, 150, 1000])
def test_taking_queries_for_independent_cries_wolf(n_queries: int) -> None:
    """The planted fault: with clusters of four and a strong effect, three to five times as many false alarms."""
    deltas = simulated(layout(n_queries, "four each"), 600, 0.5)
    assert 0.15 <= share_outside(deltas, np.arange(n_queries)) <= 0.27
    assert 0.15 <= share_below_level(deltas[:200], np.arange(n_queries)) <= 0.3


@pytest.mark.parametrize("n_queries", [30, 150, 1000])
def test_skewed_differences_with_many_ties_raise_few_false_alarms(n_queries: int) -> None:
    """Gains of .2 for six in twenty queries, losses of .4 for three: at most 7.5%."""
    draws = np.random.default_rng(18).random((4000, n_queries))
    deltas = np.where(draws < 0.3, 0.2, np.where(draws < 0.45, -0.4, 0.0))
    assert share_outside(deltas, np.arange(n_queries)) <= 0.075


@pytest.mark.parametrize("power", [0.55, 0.8, 0.95])
@pytest.mark.parametrize(("n_queries", "kind"), [(n, kind) for n in (30, 150, 1000) for kind in KINDS[:2]])
def test_an_effect_is_detected_in_clusters_as_often_as_computed(n_queries: int, kind: str, power: float) -> None:
    """The error of a mean with strong cluster effects is that of Kish's design effect, 1 + (m - 1) / 2."""
    clusters = layout(n_queries, kind)
    size = np.bincount(clusters)
    error = SD * sqrt(0.5 * n_queries + 0.5 * (size**2).sum()) / n_queries
    test = Sensitivity(n_queries, len(size), error, 0.95, power)
    found = share_outside(simulated(clusters, 1000, 0.5, test.smallest_detectable), clusters)
    assert found == pytest.approx(power, abs=0.06)
    estimated = by_cluster(simulated(clusters, 300, 0.5), clusters).error
    assert np.sqrt(np.mean(np.square(estimated))) == pytest.approx(error, rel=0.1)


@pytest.mark.parametrize(
    ("n_queries", "kind", "least", "most"),
    [
        (30, "one each", 0.25, 0.45),
        (30, "four each", 0, 0.02),
        (150, "one each", 0.65, 0.8),
        (150, "four each", 0.15, 0.3),
        (1000, "one each", 0.75, 0.87),
        (1000, "four each", 0.65, 0.8),
    ],
)
def test_what_the_guard_costs(n_queries: int, kind: str, least: float, most: float) -> None:
    """Power of the reported interval for an effect that the t interval detects in 80% of cases, as docs/decisions.md
    states it: few and large clusters cannot rule out that one of them is lost whole."""
    clusters = layout(n_queries, kind)
    size = np.bincount(clusters)
    error = SD * sqrt(0.5 * n_queries + 0.5 * (size**2).sum()) / n_queries
    effect = Sensitivity(n_queries, len(size), error, 0.95, 0.8).smallest_detectable
    assert least <= reported_outside(simulated(clusters, 1000, 0.5, effect), clusters) <= most


@pytest.mark.parametrize("n_seen", [40, 400, 4000])
def test_needed_queries_have_the_power_in_clusters_like_these(n_seen: int) -> None:
    """The number needed for .05, from queries in clusters of four, is tried: four in five intervals exclude 0."""
    (deltas,) = simulated(layout(n_seen, "four each"), 1, 0.5)
    deltas *= SD / deltas.std()
    needed = Sensitivity.of(deltas, layout(n_seen, "four each"), 0.95, 0.8).queries_for(0.05)
    assert 100 < needed < 900
    if n_seen == 4000:
        clusters = layout(needed, "four each")
        low, _ = decision_interval(by_cluster(simulated(clusters, 1000, 0.5, 0.05), clusters), 0.95)
        assert (low > 0).mean() == pytest.approx(0.8, abs=0.06)
