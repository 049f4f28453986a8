"""Costs of tasks equal hand computations and other code, and their intervals hold under simulation."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import bootstrap, spearmanr

from attune.evaluation.costs import PairedItems, TaskCost, spearman, task_cost
from attune.evaluation.statistics.power import Sensitivity

Floats = NDArray[np.float64]


def paired(base: Floats, tuned: Floats, measure: str = "ndcg@10", **fields: Any) -> PairedItems:
    defaults = {"clusters": np.arange(len(base)).astype(str), "grades": np.zeros(len(base))}
    return PairedItems("task", measure, "general", base=base, tuned=tuned, **(defaults | fields))


def cost_of(items: PairedItems) -> TaskCost:
    cost = task_cost(items, 0.95, 0.8)
    assert cost is not None
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
    assert cost.detectable == pytest.approx(
        Sensitivity.of(tuned - 1, np.arange(60), 0.95, 0.8).smallest_detectable, rel=0.01
    )


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


def test_a_base_without_a_score_has_nothing_to_lose() -> None:
    """No relative loss of a score of 0 or less; no interval from a single cluster."""
    tuned = np.array([0.5, 0.5, 0.5])
    assert task_cost(paired(np.zeros(3), tuned), 0.95, 0.8) is None
    assert task_cost(paired(np.ones(3), tuned, clusters=np.array(["a"] * 3)), 0.95, 0.8) is None
    reverse = paired(np.array([3.0, 2, 1]), tuned, "spearman", grades=np.array([1.0, 2, 3]))
    assert task_cost(reverse, 0.95, 0.8) is None


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
