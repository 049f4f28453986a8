"""Costs of tasks equal hand computations and other code, and their intervals hold under simulation."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import bootstrap, spearmanr, ttest_1samp
from statsmodels.stats.multitest import multipletests

from attune.evaluation.costs import PairedItems, TaskCost, Unmeasured, spearman, task_costs
from attune.evaluation.statistics.power import Sensitivity

Floats = NDArray[np.float64]


def paired(base: Floats, tuned: Floats, measure: str = "ndcg@10", **fields: Any) -> PairedItems:
    """A task of these values, which are independent where no clusters are given."""
    defaults = {"clusters": np.arange(len(base)).astype(str), "grades": np.zeros(len(base))}
    return PairedItems("task", measure, "general", base=base, tuned=tuned, **(defaults | fields))


def cost_of(items: PairedItems) -> TaskCost:
    (cost,), unmeasured = task_costs([items], 0.95, 0.8)
    assert not unmeasured
    return cost


def test_two_clusters_by_hand() -> None:
    """Base .5, tuned .4: a loss of a fifth; without the first cluster two fifths, without the second none."""
    base, tuned = np.array([0.4, 0.6, 0.5, 0.5]), np.array([0.4, 0.6, 0.3, 0.3])
    cost = cost_of(paired(base, tuned, clusters=np.array(["a", "a", "b", "b"])))
    # difference without a .2, without b 0; jackknife sqrt(1/2 * (.1^2 + .1^2)) = .1, a fifth of the base; t 12.706
    assert cost.cost == pytest.approx(0.2)
    assert [cost.low, cost.high] == pytest.approx([0.2 - 12.7062 * 0.2, 0.2 + 12.7062 * 0.2], abs=1e-4)
    assert cost.detectable == pytest.approx(0.2 * (12.7062 + 1.37638), abs=1e-4)


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    """Where the base is 1 on every item, the relative change is a mean: sd / sqrt(n), and the t-test's power."""
    tuned = np.random.default_rng(0).normal(0.98, 0.1, 60)
    cost = cost_of(paired(np.ones(60), tuned))
    error = tuned.std(ddof=1) / np.sqrt(60)
    assert (cost.high - cost.low) / 2 == pytest.approx(2.00099 * error, rel=1e-4)
    assert cost.detectable == pytest.approx(Sensitivity(60, 60, error, 0.95, 0.8).smallest_detectable, rel=0.01)


@pytest.mark.parametrize("measure", ["ndcg@10", "spearman"])
def test_intervals_agree_with_the_bootstrap(measure: str) -> None:
    """BCa over items, from scipy, has the same ends to an eighth of the width."""
    random = np.random.default_rng(1)
    grades = random.uniform(size=100)
    base = grades + random.normal(0, 0.5, 100)
    tuned = base + random.normal(0, 0.2, 100)

    def score(values: Floats, grades: Floats) -> float:
        return float(spearmanr(values, grades).statistic) if measure == "spearman" else float(values.mean())

    def loss(base: Floats, tuned: Floats, grades: Floats) -> float:
        return score(base, grades) - score(tuned, grades)

    cost = cost_of(paired(base, tuned, measure, grades=grades))
    ends = bootstrap(
        (base, tuned, grades), loss, paired=True, vectorized=False, n_resamples=500, rng=np.random.default_rng(0)
    ).confidence_interval
    low, high = (end / score(base, grades) for end in ends)
    assert cost.cost == pytest.approx(loss(base, tuned, grades) / score(base, grades))
    width = high - low
    assert [cost.low, cost.high] == pytest.approx([low, high], abs=width / 8)


@pytest.mark.parametrize(("measure", "n"), [("ndcg@10", 30), ("ndcg@10", 150), ("spearman", 30)])
@pytest.mark.parametrize("size", [1, 3])
def test_equal_encoders_are_called_worse_or_better_in_a_twentieth_of_the_cases(measure: str, n: int, size: int) -> None:
    """3% to 7% false alarms in 500 simulations, also with clusters of three; rank correlations may have fewer."""
    random = np.random.default_rng(2)
    alarms = 0
    for _ in range(500):
        grades = random.uniform(size=n * size)
        truth = grades if measure == "spearman" else random.uniform(0.4, 0.9, n * size)
        effects = np.repeat(random.normal(0, 0.2, (2, n)), size, axis=1) + random.normal(0, 0.1, (2, n * size))
        clusters = np.repeat(np.arange(n), size).astype(str)
        base, tuned = truth + effects
        cost = cost_of(paired(base, tuned, measure, clusters=clusters, grades=grades))
        alarms += not cost.low <= 0 <= cost.high
    assert (0 if measure == "spearman" else 0.03) <= alarms / 500 <= 0.07


def test_a_loss_of_the_detectable_size_is_found_in_four_of_five_cases() -> None:
    """The power that the figure promises, on nDCG-like values of 200 queries."""
    random = np.random.default_rng(3)
    truth = random.uniform(0.2, 1, 200)
    detectable = cost_of(paired(truth, truth + random.normal(0, 0.1, 200))).detectable
    found = [
        cost_of(paired(truth, truth * (1 - detectable) + random.normal(0, 0.1, 200))).is_certain for _ in range(300)
    ]
    assert 0.7 <= np.mean(found) <= 0.9


@pytest.mark.parametrize("n", [2, 30, 300])
def test_equal_values_rule_out_what_n_clusters_can(n: int) -> None:
    """Never a loss of 0: where no value differs, a share of 1 - .05^(1/n) of the clusters may still."""
    values = np.linspace(0.1, 1, n)
    cost = cost_of(paired(values, values))
    bound = 1 - 0.05 ** (1 / n)
    assert (cost.cost, cost.low, cost.high, cost.detectable) == pytest.approx((0, -bound, bound, bound))


def test_tasks_that_cannot_be_measured_are_named_with_their_reason() -> None:
    """No relative loss of a score of 0 or less; no interval from a single cluster; none of them is a test."""
    tuned = np.array([0.5, 0.4, 0.6])
    reverse = paired(np.array([3.0, 2, 1]), tuned, "spearman", grades=np.array([1.0, 2, 3]))
    one_cluster = paired(np.ones(3), tuned, clusters=np.array(["a"] * 3))
    costs, unmeasured = task_costs([paired(np.zeros(3), tuned), one_cluster, reverse, paired(tuned, tuned)], 0.95, 0.8)
    nothing = "the base scores 0 or less, so there is nothing to lose"
    assert unmeasured == [
        Unmeasured("task", "ndcg@10", "general", nothing),
        Unmeasured("task", "ndcg@10", "general", "all items are one cluster, so the interval is unknown"),
        Unmeasured("task", "spearman", "general", nothing),
    ]
    assert unmeasured[2].name == "task.spearman"
    assert costs == task_costs([paired(tuned, tuned)], 0.95, 0.8)[0]
    assert task_costs([], 0.95, 0.8) == ([], [])


def test_p_values_are_those_of_the_t_test_and_holms_over_all_tasks() -> None:
    """Where the base is 1 on every item the change is a mean, so scipy and statsmodels are the oracle."""
    random = np.random.default_rng(5)
    tuned = [random.normal(mean, 0.1, 60) for mean in (0.97, 0.94, 1.0, 1.02)]
    costs, _ = task_costs([paired(np.ones(60), values) for values in tuned], 0.95, 0.8)
    p_values = [ttest_1samp(values, 1).pvalue for values in tuned]
    assert [cost.p_holm for cost in costs] == pytest.approx(multipletests(p_values, method="holm")[1], rel=1e-6)
    assert [cost.is_significant for cost in costs] == [cost.p_holm <= 0.05 for cost in costs]


@pytest.mark.parametrize("values", [np.linspace(0.1, 1, 30), np.full(30, 0.5)], ids=["spread", "equal"])
@pytest.mark.parametrize("loss", [0.0, 0.05, 0.2])
def test_the_interval_of_a_single_task_excludes_0_where_its_p_value_is_significant(values: Floats, loss: float) -> None:
    """The two are one test; also where all clusters lose alike, and the rule of three stands for the t-test."""
    noise = np.random.default_rng(6).normal(0, 0.1, 30) * np.ptp(values)
    cost = cost_of(paired(values, values * (1 - loss) + noise))
    assert cost.is_significant == (cost.low > 0 or cost.high < 0)
    assert np.ptp(values) or cost.is_significant == (loss > 1 - 0.05 ** (1 / 30))


def test_a_loss_among_many_tasks_has_to_be_clearer() -> None:
    """Alone it is certain; among nineteen tasks without a change it may be chance; the interval stays."""
    changes = np.tile([0.1, -0.1], 30)
    lost = paired(np.ones(60), 0.97 + changes)  # t = .03 / (.1 / 7.7)
    still = [paired(np.ones(60), 1 + changes) for _ in range(19)]
    alone, among = cost_of(lost), task_costs([lost, *still], 0.95, 0.8)[0][0]
    assert alone.is_certain and alone.low > 0
    assert not among.is_certain and (among.low, among.high) == (alone.low, alone.high)
    assert among.p_holm == pytest.approx(20 * alone.p_holm)
    assert among.detectable > 1.2 * alone.detectable


def test_of_equal_encoders_any_loss_is_claimed_at_its_level_alone() -> None:
    """Of 300 runs of six tasks, uncorrected losses are claimed in every seventh; corrected ones in one of twenty."""
    random = np.random.default_rng(8)
    claims, uncorrected = 0, 0
    for _ in range(300):
        base, tuned = random.uniform(0.4, 0.9, 100) + random.normal(0, 0.1, (2, 6, 100))
        costs, _ = task_costs([paired(*sides) for sides in zip(base, tuned, strict=True)], 0.95, 0.8)
        claims += any(cost.is_certain for cost in costs)
        uncorrected += any(cost.low > 0 for cost in costs)
    assert uncorrected / 300 > 0.1 and claims / 300 <= 0.05


def test_many_pairs_are_left_out_in_groups() -> None:
    """At most 500 groups of a rank correlation, whose interval is nearly that of single pairs."""
    random = np.random.default_rng(4)
    grades = random.uniform(size=1500)
    base, tuned = grades + random.normal(0, 0.5, (2, 1500))
    grouped = cost_of(paired(base, tuned, "spearman", grades=grades))
    fewer = cost_of(paired(base[:500], tuned[:500], "spearman", grades=grades[:500]))
    ratio = (fewer.high - fewer.low) / (grouped.high - grouped.low)
    assert ratio == pytest.approx(np.sqrt(3), rel=0.15)


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=20))
def test_rank_correlation_is_scipys(pairs: list[tuple[int, int]]) -> None:
    """With ties, too; a constant side, for which scipy has no value, is 0."""
    one, other = np.array(pairs, dtype=np.float64).T
    if np.ptp(one) and np.ptp(other):
        assert spearman(one, other) == pytest.approx(spearmanr(one, other).statistic, abs=1e-12)
    else:
        assert spearman(one, other) == 0
