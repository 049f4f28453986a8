"""Scores by group show whether two revisions differ beyond chance, whatever the size of the test split."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from attune.errors import BadInput
from attune.evaluation.checks.revision import have_same_groups, mean_difference
from attune.evaluation.scoring.groups import COLUMNS, KEPT, group_means, group_of, read_groups


def table(n: list[int], means: list[float]) -> dict[str, np.ndarray]:
    return {"group": np.arange(len(n)), "n": np.array(n, float), **{key: np.array(means, float) for key in KEPT}}


def test_the_table_by_hand() -> None:
    """The eighth byte of sha256 says which of two: 0xca, 0x4a, 0xe2 are even, 0x89 is odd, so d is alone in group 1."""
    assert [hashlib.sha256(id_.encode()).digest()[7] % 2 for id_ in "abcd"] == [0, 0, 0, 1]
    text = group_means(list("abcd"), {key: np.array([1.0, 0.5, 0.0, 0.25]) for key in KEPT}, 2)
    assert text == "group,n,recall@10,mrr@10,ndcg@10\n0,3,0.500000,0.500000,0.500000\n1,1,0.250000,0.250000,0.250000\n"
    assert read_groups(text, "x")["n"].tolist() == [3, 1]


def test_groups_without_queries_are_left_out() -> None:
    """One query in 50 groups is one row."""
    text = group_means(["a"], {key: np.ones(1) for key in KEPT}, 50)
    assert text.count("\n") == 2


@given(st.lists(st.tuples(st.text(max_size=5), st.floats(0, 1)), min_size=1, max_size=60), st.integers(2, 20))
def test_the_mean_over_groups_is_that_over_queries(scores: list[tuple[str, float]], n_groups: int) -> None:
    """Weighted by the groups' sizes, for any ids and scores, within rounding."""
    ids, values = [id_ for id_, _ in scores], np.array([value for _, value in scores])
    kept = read_groups(group_means(ids, dict.fromkeys(KEPT, values), n_groups), "x")
    assert kept["n"].sum() == len(ids)
    assert (kept["n"] * kept["mrr@10"]).sum() / len(ids) == pytest.approx(values.mean(), abs=1e-6)


@pytest.mark.parametrize(
    "text", ["", "group,n\n1,2\n", f"{','.join(COLUMNS)}\n1,2,x,0,0\n", f"{','.join(COLUMNS)}\n1\n"]
)
def test_another_file_is_bad_input(text: str) -> None:
    """Missing columns, text for a number, a short row; an empty file has no groups."""
    if not text:
        assert not len(read_groups(text, "x")["n"])
        return
    with pytest.raises(BadInput, match=r"^x: expected columns group,n,recall@10"):
        read_groups(text, "x")


def test_clusters_stay_whole() -> None:
    """Queries of a cluster are in one group, whatever their number and place."""
    ids = ["a", "b"] * 6 + ["c"]
    kept = read_groups(group_means(ids, {key: np.ones(13) for key in KEPT}, 1000), "x")
    assert sorted(kept["n"].tolist()) == [1, 6, 6]
    assert sorted(kept["group"].tolist()) == sorted(group_of(id_, 1000) for id_ in "abc")


def test_a_change_by_hand() -> None:
    """Groups of 1 and 3 queries that gain 0.4 and 0.0: the mean query gains 0.1; without one group 0.0 and 0.4.

    With a query added that wins and one that loses, the mean of six is .0667, and without one group it moves by .0667,
    -.0667, .1867 and -.2133: the jackknife's error is sqrt(3/4 * .0892) = .2587; t at .975 with three degrees of
    freedom is 3.1824. One changed group is flipped in every second draw: p = 1.
    """
    change = mean_difference(table([1, 3], [0.1, 0.5]), table([1, 3], [0.5, 0.5]), "ndcg@10", 0.95)
    assert change.delta == pytest.approx(0.1)
    assert (change.low, change.high) == pytest.approx((0.0667 - 0.8233, 0.0667 + 0.8233), abs=1e-4)
    assert change.p == 1.0


def test_with_one_query_in_each_group_it_is_the_paired_t_interval() -> None:
    """The oracle is scipy's t-test of the differences and the two that are added, one that wins and one that loses."""
    old, new = np.random.default_rng(5).random((2, 40))
    change = mean_difference(table([1] * 40, old.tolist()), table([1] * 40, new.tolist()), "mrr@10", 0.9)
    oracle = stats.ttest_1samp([*(new - old), 1, -1], 0).confidence_interval(0.9)
    assert (change.low, change.high) == pytest.approx((oracle.low, oracle.high))


def test_one_in_twenty_null_changes_is_called_one_and_effects_are_found() -> None:
    """400 pairs of revisions over 1,000 queries in 100 groups: 2-8% beyond chance under the null.

    The effect is 3 standard errors of a paired mean, which a 95% interval excludes 0 for in 85% of cases.
    """
    rng = np.random.default_rng(11)
    ids = [f"q{i}" for i in range(1000)]
    groups = np.array([group_of(id_, 100) for id_ in ids])
    n = np.bincount(groups, minlength=100).astype(float)
    n_null = n_found = 0
    for _ in range(400):
        noise = rng.normal(0, 0.2, 1000)
        old = table(n.tolist(), [0.5] * 100)
        for effect in (0.0, 3 * 0.2 / np.sqrt(1000)):
            means = 0.5 + np.bincount(groups, weights=noise + effect, minlength=100) / n
            change = mean_difference(old, table(n.tolist(), means.tolist()), "ndcg@10", 0.95)
            is_change = not change.low <= 0 <= change.high
            n_null, n_found = n_null + (is_change and effect == 0), n_found + (is_change and effect > 0)
    assert 0.02 <= n_null / 400 <= 0.08
    assert n_found / 400 == pytest.approx(0.85, abs=0.1)


def false_losses(group_ids: list[str], clusters: np.ndarray, n_groups: int = 100) -> float:
    """How often the gate calls a change a loss that is none: 2,000 pairs of revisions with strong cluster effects."""
    rng = np.random.default_rng(12)
    numbers, groups = np.unique([group_of(id_, n_groups) for id_ in group_ids], return_inverse=True)
    n = np.bincount(groups).astype(float)
    old = table(n.tolist(), [0.5] * len(numbers))
    n_lost = 0
    for _ in range(2000):
        deltas = rng.normal(0, 0.14, clusters.max() + 1)[clusters] + rng.normal(0, 0.14, len(clusters))
        new = table(n.tolist(), (0.5 + np.bincount(groups, weights=deltas) / n).tolist())
        n_lost += mean_difference(old, new, "ndcg@10", 0.95).high < 0
    return n_lost / 2000


@pytest.mark.parametrize("n_queries", [30, 150, 1000])
def test_with_clusters_of_four_at_most_one_null_change_in_forty_is_below_0(n_queries: int) -> None:
    """One side of a 95% interval, with half of the variance common to a cluster; hashed by query, it cries wolf."""
    clusters = np.arange(n_queries) // 4
    assert false_losses([f"c{cluster}" for cluster in clusters], clusters) <= 0.03
    if n_queries > 30:  # of so few the added pair alone keeps the interval wide
        assert false_losses([f"q{i}" for i in range(n_queries)], clusters) > 0.05


def test_tables_of_other_queries_are_not_paired() -> None:
    """Other sizes, another number of groups, or a single group, which has no spread."""
    one = table([2, 3], [0.5, 0.5])
    assert have_same_groups(one, table([2, 3], [0.1, 0.2]))
    assert not have_same_groups(one, table([3, 2], [0.5, 0.5]))
    assert not have_same_groups(one, table([2, 3, 1], [0.5, 0.5, 0.5]))
    assert not have_same_groups(table([5], [0.5]), table([5], [0.5]))
