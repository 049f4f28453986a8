"""Slices partition the queries by a trait; slices that lost significantly are named, chance losses are not."""

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attune.evaluation.statistics.chance import significant_losses
from attune.evaluation.statistics.holm import holm
from attune.evaluation.statistics.significance import Resampling, compare
from attune.evaluation.statistics.slices import by_name, by_number, by_trait, compare_slices

pytestmark = pytest.mark.usefixtures("settled_heap")

RESAMPLING = Resampling(n_resamples=2000, confidence=0.95, seed=0)


def bins(values: list[int] | list[float], n_bins: int) -> dict[str, list[int]]:
    return {part.bin: part.rows.tolist() for part in by_number("t", np.array(values), n_bins)}


def test_numbers_are_cut_at_their_quantiles() -> None:
    """Bins are of equal size and named by their least and greatest value."""
    assert bins([5, 1, 4, 2, 3, 6], 3) == {"1 to 2": [1, 3], "3 to 4": [2, 4], "5 to 6": [0, 5]}
    assert bins([0.1, 0.5, 0.75, 1.0], 2) == {"0.10 to 0.50": [0, 1], "0.75 to 1.00": [2, 3]}


def test_equal_values_stay_in_one_slice() -> None:
    """Nine of ten have one relevant document: two slices, whatever number was asked for."""
    assert bins([1] * 9 + [4], 4) == {"1": list(range(9)), "4": [9]}
    assert bins([7, 7, 7], 4) == {"7": [0, 1, 2]}


@given(st.lists(st.floats(0, 1) | st.integers(0, 1), min_size=1, max_size=60), st.integers(2, 6))
def test_every_query_is_in_one_slice_and_no_two_slices_look_the_same(values: list[float], n_bins: int) -> None:
    """For any numbers, rows are partitioned and names differ."""
    parts = by_number("t", np.array(values, dtype=np.float64), n_bins)
    assert sorted(row for part in parts for row in part.rows) == list(range(len(values)))
    assert len({part.bin for part in parts}) == len(parts) <= n_bins


def test_the_most_frequent_names_make_a_slice_each() -> None:
    """Alphabetical order, no slice for "", none where all queries share one name."""
    slices = by_name("product", ["b", "a", "", "b", "c", "a"], 2)
    assert [(part.bin, part.rows.tolist()) for part in slices] == [("a", [1, 5]), ("b", [0, 3])]
    assert by_name("product", ["x", "x", ""], 5) == []
    assert by_name("product", ["", ""], 5) == []


def test_traits_keep_their_order() -> None:
    """Numbers are cut, texts are grouped, in the order of the traits."""
    slices = by_trait({"n": np.array([1, 2]), "product": ["x", "y"]}, 2, 5)
    assert [(part.trait, part.bin) for part in slices] == [("n", "1"), ("n", "2"), ("product", "x"), ("product", "y")]


def test_a_slice_that_lost_is_named_though_the_whole_won() -> None:
    """Short queries lose .1, all others gain .1 and more."""
    rng = np.random.default_rng(1)
    length = np.repeat([2, 5, 9, 14], 100)
    base = rng.uniform(0.2, 0.8, 400)
    tuned = base + np.where(length == 2, -0.1, 0.1) + rng.normal(0, 0.15, 400)
    slices = by_trait({"length": length, "parity": ["odd", "even"] * 200}, 4, 5)
    clusters = np.arange(400) // 2  # each in one slice by length, and in both by parity
    rows, n_small = compare_slices(slices, base, tuned, clusters, RESAMPLING, min_queries=50)
    assert [(row.bin, row.n) for row in rows] == [
        *((bin_, 100) for bin_ in ("2", "5", "9", "14")),
        ("even", 200),
        ("odd", 200),
    ]
    assert n_small == 0
    (worst,) = significant_losses([asdict(row) for row in rows], 0.95)
    (lost,) = (row for row in rows if asdict(row) == worst)
    assert lost.bin == "2"
    alone = compare({"m": base[:100]}, {"m": tuned[:100]}, clusters[:100], RESAMPLING)["m"]
    assert (lost.delta, lost.low, lost.high) == (alone.delta, alone.ci_low, alone.ci_high)
    assert (lost.base, lost.tuned) == (pytest.approx(base[:100].mean()), pytest.approx(tuned[:100].mean()))
    parts = [(base[p.rows], tuned[p.rows], clusters[p.rows]) for p in slices]
    p_values = [compare({"m": b}, {"m": t}, of_part, RESAMPLING)["m"].p_value for b, t, of_part in parts]
    assert [row.p_holm for row in rows] == holm(p_values)


def test_the_largest_loss_comes_first_and_a_chance_loss_is_left_out() -> None:
    """Of losses .1, .2 and .001 the first two are significant."""
    rng = np.random.default_rng(2)
    kind = np.repeat(["a", "b", "c"], 80)
    loss = np.repeat([-0.1, -0.2, -0.001], 80)
    rows, _ = compare_slices(
        by_name("kind", kind.tolist(), 5),
        np.zeros(240),
        loss + rng.normal(0, 0.1, 240),
        np.arange(240),
        RESAMPLING,
        10,
    )
    assert [row["bin"] for row in significant_losses([asdict(row) for row in rows], 0.95)] == ["b", "a"]


def test_small_slices_are_counted_and_left_out_and_so_is_the_whole() -> None:
    """Left out, they do not make the others harder to prove."""
    traits = {"n": np.ones(30, dtype=np.int64), "kind": ["a"] * 22 + ["b"] * 5 + ["c"] * 3}
    tuned = np.random.default_rng(3).normal(0.1, 0.2, 30)
    rows, n_small = compare_slices(
        by_trait(traits, 4, 5), np.zeros(30), tuned, np.arange(30), RESAMPLING, min_queries=6
    )
    assert [row.bin for row in rows] == ["a"] and n_small == 2
    assert rows[0].p_holm == compare({"m": np.zeros(22)}, {"m": tuned[:22]}, np.arange(22), RESAMPLING)["m"].p_value


def test_a_slice_of_few_clusters_is_counted_as_small() -> None:
    """Of twenty queries in five clusters no test can be significant at 5%; of twenty in six, one can."""
    traits = {"kind": ["few"] * 20 + ["enough"] * 20}
    clusters = np.concatenate([np.arange(20) % 5, 5 + np.arange(20) % 6])
    tuned = np.random.default_rng(4).normal(0.1, 0.2, 40)
    rows, n_small = compare_slices(by_trait(traits, 4, 5), np.zeros(40), tuned, clusters, RESAMPLING, min_queries=20)
    assert [row.bin for row in rows] == ["enough"] and n_small == 1
