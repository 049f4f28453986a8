"""Slices partition the queries by a trait; none is left out."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from attune.evaluation.statistics.slices import Slice, by_name, by_number, by_trait


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


def named(slices: list[Slice]) -> list[tuple[str, list[int], bool]]:
    return [(part.bin, part.rows.tolist(), part.is_shown) for part in slices]


def test_every_name_makes_a_slice_and_the_most_frequent_are_shown() -> None:
    """Alphabetical order, no slice for "", none where all queries share one name; the names not shown are one more."""
    values = ["b", "a", "", "b", "c", "a", "d"]
    assert named(by_name("product", values, 2, 1)) == [
        *(("a", [1, 5], True), ("b", [0, 3], True), ("c", [4], False), ("d", [6], False)),
        ("(2 others)", [4, 6], True),
    ]
    assert named(by_name("product", values, 3, 2))[2:4] == [("c", [4], False), ("d", [6], False)]
    assert named(by_name("product", ["x", "x", ""], 5, 1)) == [("x", [0, 1], True)]
    assert by_name("product", ["x", "x"], 5, 1) == by_name("product", ["", ""], 5, 1) == []


@given(st.lists(st.sampled_from(["", *"abcdefgh"]), min_size=1, max_size=60), st.integers(2, 6), st.integers(1, 9))
def test_every_query_with_a_name_is_looked_at(values: list[str], n_names: int, min_queries: int) -> None:
    """Whatever is shown: each name is a slice of its own, and those not shown are together in one."""
    slices = by_name("t", values, n_names, min_queries)
    names = {value for value in values if value} if len(set(values)) > 1 else set()
    own = [part for part in slices if part.bin in names]
    assert {part.bin: part.rows.tolist() for part in own} == {
        name: [row for row, value in enumerate(values) if value == name] for name in names
    }
    hidden = sorted(row for part in own if not part.is_shown for row in part.rows)
    assert [part.rows.tolist() for part in slices if part not in own] in ([], [hidden])
    assert sum(part.is_shown for part in own) <= n_names


def test_traits_keep_their_order() -> None:
    """Numbers are cut, texts are grouped, in the order of the traits."""
    slices = by_trait({"n": np.array([1, 2]), "product": ["x", "y"]}, 2, 5, 1)
    assert [(part.trait, part.bin) for part in slices] == [("n", "1"), ("n", "2"), ("product", "x"), ("product", "y")]
