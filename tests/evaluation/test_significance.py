"""Intervals and p-values are the textbook's for independent queries, and take clusters whole where they are not."""

from dataclasses import astuple
from itertools import product
from math import erfc, hypot, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.api import OLS

from attune.errors import BadInput
from attune.evaluation.statistics.clusters import by_cluster, numbered
from attune.evaluation.statistics.decision import decision_interval
from attune.evaluation.statistics.significance import Comparison, Interval, compare, compare_seeds


def compare_one(
    deltas: NDArray[np.float64] | list[float],
    clusters: NDArray[np.int64] | list[int] | None = None,
) -> Comparison:
    """Compares a system with one that scores 0; without clusters queries are independent."""
    values = np.asarray(deltas, dtype=np.float64)
    of_queries = np.arange(len(values)) if clusters is None else np.asarray(clusters)
    return compare({"m": np.zeros_like(values)}, {"m": values}, of_queries, 0.95)["m"]


def test_delta_wins_ties_and_losses_are_counted_per_query() -> None:
    """One query won, two tied and one lost; delta is the mean difference."""
    result = compare(
        {"m": np.array([0.2, 0.5, 0.5, 1.0])},
        {"m": np.array([0.7, 0.5, 0.0, 1.0])},
        np.arange(4),
        0.95,
    )["m"]
    assert (result.wins, result.ties, result.losses) == (1, 2, 1)
    assert result.delta == pytest.approx((0.5 + 0 - 0.5 + 0) / 4)


def test_p_value_equals_the_enumeration_of_all_sign_flips() -> None:
    """Eight queries have 256 sign flips, which are all counted."""
    deltas = np.array([0.5, 0.25, -0.125, 1.0, 0.375, 0.0, 0.75, -0.0625])
    flipped = [abs(np.dot(signs, deltas)) for signs in product([1, -1], repeat=len(deltas))]
    exact = np.mean([value >= abs(deltas.sum()) for value in flipped])
    assert compare_one(deltas).p_value == pytest.approx(exact)


def test_p_value_is_that_of_the_z_test_when_queries_are_many() -> None:
    """With 1,000 queries the sum under sign flips is normal."""
    deltas = np.random.default_rng(5).normal(0, 0.4, size=1000)
    deltas += 0.02 - deltas.mean()
    z = deltas.sum() / sqrt((deltas**2).sum())  # under sign flips the sum has mean 0 and this variance
    expected = erfc(abs(z) / sqrt(2))
    assert 0.05 < expected < 0.5  # neither end, where a wrong test could agree
    assert compare_one(deltas).p_value == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("n_changed", [0, 1, 4, 5, 6, 12])
@pytest.mark.parametrize("n_queries", [30, 1000])
def test_few_queries_that_differ_have_an_exact_p_value(n_changed: int, n_queries: int) -> None:
    """Queries that tie change no sum: p is the sign test's, and the interval agrees about 0."""
    deltas = np.zeros(n_queries)
    deltas[:n_changed] = 1
    result = compare_one(deltas)
    expected = stats.binomtest(n_changed, n_changed).pvalue if n_changed else 1.0
    assert result.p_value == pytest.approx(expected, abs=1e-12)
    assert (result.ci_low > 0) == (expected <= 0.05)


def test_interval_is_the_normal_one_when_queries_are_many() -> None:
    """With 2,000 queries the interval is mean +- 1.96 standard errors."""
    deltas = np.random.default_rng(6).normal(0.1, 0.4, size=2000)
    result, margin = compare_one(deltas), 1.96 * deltas.std() / sqrt(2000)
    assert result.ci_low == pytest.approx(deltas.mean() - margin, abs=margin / 50)
    assert result.ci_high == pytest.approx(deltas.mean() + margin, abs=margin / 50)


def test_with_single_query_clusters_it_is_the_paired_t_interval() -> None:
    """The oracle is scipy's paired t-test with one query won and one lost besides, whatever the clusters' numbers."""
    base, tuned = np.random.default_rng(12).random((2, 40))
    clusters = np.random.default_rng(0).permutation(40)
    result = compare({"m": base}, {"m": tuned}, clusters, 0.9)["m"]
    oracle = stats.ttest_rel(np.append(tuned, [1, 0]), np.append(base, [0, 1])).confidence_interval(0.9)
    assert (result.ci_low, result.ci_high) == pytest.approx(tuple(oracle))


def test_with_clusters_of_equal_size_it_is_the_interval_of_statsmodels() -> None:
    """The oracle is a regression on a constant with cluster-robust standard errors, queries in any order.

    One cluster that won and one that lost are added.
    """
    rng = np.random.default_rng(13)
    clusters = rng.permutation(np.repeat(np.arange(30), 4))
    deltas = rng.normal(0, 0.1, 30)[clusters] + rng.normal(0.02, 0.1, 120)
    values, groups = np.append(deltas, [1] * 4 + [-1] * 4), np.append(clusters, [30] * 4 + [31] * 4)
    fitted = OLS(values, np.ones(128)).fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    result = compare_one(deltas, clusters=clusters)
    assert (result.ci_low, result.ci_high) == pytest.approx(tuple(fitted.conf_int(0.05)[0]))


def test_the_interval_of_unequal_clusters_by_hand() -> None:
    """Clusters of 1 and 3 queries that gain .4 and 0: delta .1; without one cluster 0 and .4.

    The jackknife's error is sqrt(1/2 * (0.1^2 + 0.3^2)) = .2236, and t at .975 with one degree of freedom is 12.706.
    With one cluster of two queries that won and one that lost, the mean is .05, and without one of the four clusters it
    differs by .05, -.03, .3167 and -.35: the error is .4119, and t with three degrees of freedom 3.182. Differences end
    at -1 and 1.
    """
    deltas, clusters = np.array([0.0, 0.4, 0.0, 0.0]), np.array([5, 2, 5, 5])
    sums = by_cluster(deltas, clusters)
    assert sums.interval(0.95) == pytest.approx((0.1 - 2.8412, 0.1 + 2.8412), abs=1e-4)
    assert decision_interval(sums, 0.5) == pytest.approx((0.05 - 0.4119 * 0.7649, 0.05 + 0.4119 * 0.7649), abs=1e-4)
    result = compare_one(deltas, clusters=clusters)
    assert astuple(result)[:3] == pytest.approx((0.1, -1, 1))


@given(
    st.lists(st.tuples(st.integers(-2, 2), st.integers(0, 6)), min_size=2, max_size=40).filter(
        lambda rows: len({cluster for _, cluster in rows}) > 1
    )
)
def test_the_error_is_that_of_leaving_out_each_cluster_in_turn(rows: list[tuple[int, int]]) -> None:
    """The closed form equals the jackknife by its definition, for any differences and clusters."""
    deltas, clusters = np.array([delta / 4 for delta, _ in rows]), np.array([cluster for _, cluster in rows])
    left_out = np.array([deltas[clusters != cluster].mean() for cluster in np.unique(clusters)])
    n = len(left_out)
    expected = sqrt((n - 1) / n * ((left_out - deltas.mean()) ** 2).sum())
    assert float(by_cluster(deltas, clusters).error) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.sampled_from("abcdefg"), max_size=30))
def test_clusters_are_numbered_by_their_first_query(ids: list[str]) -> None:
    """Any ids become 0, 1, 2 ... in the order of their first appearance."""
    order = list(dict.fromkeys(ids))
    assert numbered(ids).tolist() == [order.index(id_) for id_ in ids]


def test_p_value_of_clusters_equals_the_enumeration_of_their_sign_flips() -> None:
    """Four clusters of eight queries have 16 sign flips: all queries of a cluster change sides together."""
    deltas = np.array([0.5, 0.25, -0.125, 1.0, 0.375, 0.0, 0.75, -0.0625])
    clusters = np.array([0, 1, 0, 2, 2, 1, 3, 3])
    flipped = [abs(np.dot(np.array(signs)[clusters], deltas)) for signs in product([1, -1], repeat=4)]
    exact = np.mean([value >= abs(deltas.sum()) for value in flipped])
    assert compare_one(deltas, clusters=clusters).p_value == pytest.approx(exact)
    assert compare_one(deltas).p_value != pytest.approx(exact)


@pytest.mark.parametrize("n_clusters", [3, 9, 40])
@pytest.mark.parametrize("shift", [0.0, 0.1, 0.25])
def test_p_values_are_those_of_scipy(n_clusters: int, shift: float) -> None:
    """Its permutation test of the clusters' sums; enumerated up to nine clusters, drawn from forty; with ties at 0."""
    rng = np.random.default_rng(19)
    deltas = (rng.random(3 * n_clusters) < 0.6) * rng.normal(shift, 0.4, 3 * n_clusters)
    clusters = rng.permutation(np.arange(3 * n_clusters) % n_clusters)
    sums = np.array([deltas[clusters == cluster].sum() for cluster in range(n_clusters)])
    expected = stats.permutation_test((sums,), np.mean, permutation_type="samples", n_resamples=9999, rng=1).pvalue
    found = compare_one(deltas, clusters=clusters).p_value
    assert found == pytest.approx(expected, rel=0.06, abs=1e-12 if n_clusters < 12 else 0.01)


def test_copies_of_a_query_in_one_cluster_prove_no_more_than_the_query() -> None:
    """Ten queries, each four times: interval and p-value stay; as independent queries they would be half as wide."""
    deltas = np.random.default_rng(14).normal(0.1, 0.3, 10)
    once, copied = compare_one(deltas), compare_one(np.repeat(deltas, 4), clusters=np.repeat(np.arange(10), 4))
    assert (copied.ci_low, copied.ci_high, copied.p_value) == pytest.approx((once.ci_low, once.ci_high, once.p_value))
    naive = compare_one(np.repeat(deltas, 4))
    assert naive.ci_high - naive.ci_low < 0.6 * (once.ci_high - once.ci_low)
    assert copied.wins == 4 * once.wins


def test_between_equal_systems_p_values_are_uniform_and_intervals_cover() -> None:
    """200 comparisons of two systems that differ by noise alone."""
    rng = np.random.default_rng(7)
    noise = {str(i): rng.normal(0, 0.3, size=80) for i in range(200)}
    result = compare({name: np.zeros(80) for name in noise}, noise, np.arange(80), 0.95)
    p_values = np.array([comparison.p_value for comparison in result.values()])
    covers = np.mean([comparison.ci_low <= 0 <= comparison.ci_high for comparison in result.values()])
    # 99.9% ranges of 200 draws
    assert 0.90 <= covers <= 0.99
    assert 0.01 <= np.mean(p_values < 0.05) <= 0.11
    assert 0.38 <= np.mean(p_values < 0.5) <= 0.62


def test_a_system_compared_with_itself_shows_no_change_at_all() -> None:
    """p is 1 and every query ties; how much others could differ is what so few clusters leave open."""
    values = {"m": np.random.default_rng(8).random(50)}
    result = compare(values, values, np.arange(50) // 3, 0.95)["m"]
    reach = result.ci_high
    assert 0.1 < reach < 0.2
    expected = Comparison(delta=0, ci_low=-reach, ci_high=reach, p_value=1, wins=0, ties=50, losses=0)
    assert astuple(result) == pytest.approx(astuple(expected))


def test_swapping_the_systems_mirrors_the_result() -> None:
    """Delta, interval, wins and losses change sides."""
    rng = np.random.default_rng(9)
    a, b = {"m": rng.random(300)}, {"m": rng.random(300)}
    there, back = (compare(x, y, np.arange(300), 0.95)["m"] for x, y in ((a, b), (b, a)))
    assert back.delta == pytest.approx(-there.delta)
    assert (back.ci_low, back.ci_high) == pytest.approx((-there.ci_high, -there.ci_low))
    assert (back.wins, back.losses) == (there.losses, there.wins)
    assert back.p_value == pytest.approx(there.p_value, abs=0.05)


def test_measures_do_not_disturb_each_other() -> None:
    """A measure's result does not depend on which other measures are compared."""
    rng = np.random.default_rng(10)
    zero, one, two = np.zeros(60), rng.normal(0.1, 1, 60), rng.normal(0.3, 1, 60)
    clusters = np.arange(60) // 2
    alone = compare({"one": zero}, {"one": one}, clusters, 0.95)["one"]
    together = compare({"one": zero, "two": zero}, {"one": one, "two": two}, clusters, 0.95)["one"]
    assert astuple(together) == pytest.approx(astuple(alone))


@pytest.mark.parametrize("clusters", [[0], [7, 7, 7]])
def test_a_single_cluster_cannot_be_compared(clusters: list[int]) -> None:
    """One cluster has no variance: one clear line instead of NaN."""
    with pytest.raises(BadInput, match=rf"^comparison: {len(clusters)} test queries in 1 cluster\(s\), at least 2 "):
        compare_one([0.5] * len(clusters), clusters=clusters)
    with pytest.raises(BadInput, match="0 test queries in 0 cluster"):
        compare_one([])


def test_many_queries_are_compared_in_bounded_memory() -> None:
    """20,000 queries: the flips of the thousand largest differences are counted, and the grid stays small."""
    import tracemalloc

    deltas = np.random.default_rng(5).normal(size=20_000)
    tracemalloc.start()
    compare_one(deltas)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6


def over_seeds(
    deltas: NDArray[np.float64] | list[list[float]],
    confidence: float = 0.95,
    clusters: NDArray[np.int64] | None = None,
) -> Interval:
    """The interval of (n_seeds, n_queries) differences to a base of zeros; without clusters queries are independent."""
    values = np.asarray(deltas, dtype=np.float64)
    of_queries = np.arange(values.shape[1]) if clusters is None else clusters
    return compare_seeds({"m": np.zeros(values.shape[1])}, {"m": values}, of_queries, confidence)["m"]


def test_one_seed_has_the_interval_of_the_comparison() -> None:
    """Nothing crosses with a single seed, so both functions agree exactly; so do five seeds that agree."""
    values, clusters = np.random.default_rng(1).normal(0.1, 0.5, 90), np.arange(90) // 4
    expected = astuple(compare_one(values, clusters=clusters))[:3]
    assert astuple(over_seeds(values[None], clusters=clusters)) == expected
    assert astuple(over_seeds(np.tile(values, (5, 1)), clusters=clusters)) == pytest.approx(expected)


def test_the_interval_of_two_seeds_by_hand() -> None:
    """All 98 queries gain .02 by one seed and .04 by the other.

    The seeds' error is .01, and t with one degree of freedom 12.706; that of the queries is the spread of 98 equal
    differences, one query won and one lost.
    """
    result = over_seeds([[0.02] * 98, [0.04] * 98])
    of_queries = np.array([0.03] * 98 + [1, -1])
    reach = hypot(12.7062 * 0.01, stats.t.ppf(0.975, 99) * of_queries.std(ddof=1) / 10)
    middle = 0.03 * 0.98
    assert astuple(result) == pytest.approx((0.03, middle - reach, middle + reach), abs=1e-6)


def test_the_interval_over_seeds_takes_clusters_whole() -> None:
    """Thirty queries, each four times: the interval stays; as independent ones it is narrower."""
    deltas = np.random.default_rng(15).normal(0.1, 0.3, 30) + np.array([[-0.001], [0.0], [0.001]])
    once, copies = over_seeds(deltas), np.repeat(deltas, 4, axis=1)
    copied = over_seeds(copies, clusters=np.repeat(np.arange(30), 4))
    assert astuple(copied) == pytest.approx(astuple(once))
    naive = over_seeds(copies)
    assert naive.ci_high - naive.ci_low < 0.6 * (once.ci_high - once.ci_low)


def test_the_variance_over_seeds_is_that_of_their_mean() -> None:
    """Queries alike, 40 seeds: the t interval over seeds, as far as 2,000 queries leave nothing else open."""
    means = np.random.default_rng(3).normal(0.1, 0.05, 40)
    result, margin = over_seeds(np.tile(means[:, None], 2000)), stats.t.ppf(0.975, 39) * means.std(ddof=1) / sqrt(40)
    assert result.ci_low == pytest.approx(means.mean() - margin, abs=margin / 50)
    assert result.ci_high == pytest.approx(means.mean() + margin, abs=margin / 50)


def planted_seeds(n_seeds: int, n_queries: int, spread: float, n: int = 1000) -> NDArray[np.float64]:
    """Differences of n data sets, (n, n_seeds, n_queries), whose seeds gain .1 with this standard deviation."""
    rng = np.random.default_rng(4)
    seeds, queries = rng.normal(0, spread, (n, n_seeds, 1)), rng.normal(0, 0.3, (n, 1, n_queries))
    return 0.1 + seeds + queries + rng.normal(0, 0.1, (n, n_seeds, n_queries))


@pytest.mark.parametrize("spread", [0.0, 0.01, 0.02, 0.05])
@pytest.mark.parametrize("n_queries", [100, 1000])
@pytest.mark.parametrize("n_seeds", [2, 3, 5])
def test_the_interval_over_seeds_covers_the_truth_at_its_confidence(
    n_seeds: int, n_queries: int, spread: float
) -> None:
    """Whether seeds differ by nothing, as much as means over queries do, or five times as much: 95% or more."""
    deltas = planted_seeds(n_seeds, n_queries, spread, 100_000 // n_queries)
    tuned = {str(i): values for i, values in enumerate(deltas)}
    base = dict.fromkeys(tuned, np.zeros(n_queries))
    found = compare_seeds(base, tuned, np.arange(n_queries), 0.95).values()
    covered = np.mean([one.ci_low <= 0.1 <= one.ci_high for one in found])
    assert covered >= 0.95 - 3 * sqrt(0.05 * 0.95 / len(deltas))


def test_common_degrees_of_freedom_do_not_cover_with_two_seeds() -> None:
    """Satterthwaite's holds in 84% where two seeds differ much, that of one seed alone in 18%."""
    deltas = planted_seeds(2, 1000, 0.05, 300)
    of_seeds, of_queries = deltas.mean(axis=2).var(axis=1, ddof=1) / 2, deltas.mean(axis=1).var(axis=1, ddof=1) / 1000
    freedom = (of_seeds + of_queries) ** 2 / (of_seeds**2 + of_queries**2 / 999)
    reach = stats.t.ppf(0.975, freedom) * np.sqrt(of_seeds + of_queries)
    assert (abs(deltas.mean(axis=(1, 2)) - 0.1) <= reach).mean() < 0.9
    plain = 1.96 * deltas[:, 0].std(axis=1) / sqrt(1000)
    assert (abs(deltas[:, 0].mean(axis=1) - 0.1) <= plain).mean() < 0.4


def test_measures_do_not_disturb_each_other_over_seeds() -> None:
    """A measure's interval does not depend on which others are compared."""
    rng = np.random.default_rng(6)
    zero, one, two = np.zeros(200), rng.normal(0.1, 0.3, (4, 200)), rng.normal(0.3, 0.3, (4, 200))
    alone = compare_seeds({"one": zero}, {"one": one}, np.arange(200), 0.95)["one"]
    together = compare_seeds({"one": zero, "two": zero}, {"one": one, "two": two}, np.arange(200), 0.95)
    assert astuple(together["one"]) == pytest.approx(astuple(alone))
    assert together["two"].delta == pytest.approx(two.mean())


@pytest.mark.parametrize("n_queries", [40, 400])
def test_clusters_raise_no_more_false_alarms_over_seeds_than_they_should(n_queries: int) -> None:
    """500 comparisons of three seeds without a difference, clusters of four with a strong effect: at most 5%.

    Taken as independent, the queries raise more than twice as many.
    """
    rng, clusters = np.random.default_rng(16), np.arange(n_queries) // 4
    tuned = {}
    for i in range(500):
        common = rng.normal(0, 0.14, clusters.max() + 1)[clusters] + rng.normal(0, 0.14, n_queries)
        tuned[str(i)] = common + rng.normal(0, 0.05, (3, n_queries))
    base = dict.fromkeys(tuned, np.zeros(n_queries))
    rates = []
    for of_queries in (clusters, np.arange(n_queries)):
        found = compare_seeds(base, tuned, of_queries, 0.95).values()
        rates.append(np.mean([not one.ci_low <= 0 <= one.ci_high for one in found]))
    assert rates[0] <= 0.05 and rates[1] > 0.01 + rates[0]


def test_a_single_cluster_cannot_be_compared_over_seeds() -> None:
    """Nor with several seeds."""
    for n_seeds in (1, 2):
        with pytest.raises(BadInput, match=r"3 test queries in 1 cluster\(s\), at least 2 clusters are needed"):
            over_seeds(np.ones((n_seeds, 3)), clusters=np.zeros(3, dtype=np.int64))
