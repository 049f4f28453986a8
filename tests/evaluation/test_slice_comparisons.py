"""Slices that lost are named however small or rare they are, chance losses are not, and silence is no all-clear."""

from dataclasses import asdict

import numpy as np
import pytest

from attune.evaluation.statistics.decision import Status
from attune.evaluation.statistics.holm import holm
from attune.evaluation.statistics.sign_flips import exact_p
from attune.evaluation.statistics.significance import compare
from attune.evaluation.statistics.slice_comparisons import (
    SliceComparison,
    SliceCounts,
    SliceRules,
    compare_slices,
    lost,
    sentence,
)
from attune.evaluation.statistics.slices import Slice, Traits, by_name, by_trait
from attune.runtime.arrays import Float64, Int64

RULES = SliceRules(confidence=0.95, power=0.8, margin=0.05, min_queries=30)


def compared(
    traits: Traits, base: Float64, tuned: Float64, rules: SliceRules = RULES, clusters: Int64 | None = None
) -> tuple[list[SliceComparison], SliceCounts]:
    """Compares the slices that the report would look at, four bins of a number and twelve names of a text shown."""
    slices = by_trait(traits, 4, 12, rules.min_queries)
    return compare_slices(slices, base, tuned, np.arange(len(base)) if clusters is None else clusters, rules)


def test_a_slice_that_lost_is_named_though_the_whole_won() -> None:
    """Short queries lose .1, all others gain .1 and more; the figures are those of the slice alone."""
    rng = np.random.default_rng(1)
    length = np.repeat([2, 5, 9, 14], 100)
    base = rng.uniform(0.2, 0.8, 400)
    tuned = base + np.where(length == 2, -0.1, 0.1) + rng.normal(0, 0.15, 400)
    traits: Traits = {"length": length, "parity": ["odd", "even"] * 200}
    clusters = np.arange(400) // 2  # each in one slice by length, and in both by parity
    rows, counts = compared(traits, base, tuned, clusters=clusters)
    assert [(row.bin, row.n) for row in rows] == [
        *((bin_, 100) for bin_ in ("2", "5", "9", "14")),
        *(("even", 200), ("odd", 200)),
    ]
    (worst,) = lost(rows)
    assert worst.bin == "2"
    alone = compare({"m": base[:100]}, {"m": tuned[:100]}, clusters[:100], 0.95)["m"]
    assert (worst.delta, worst.low, worst.high) == pytest.approx((alone.delta, alone.ci_low, alone.ci_high))
    assert (worst.base, worst.tuned) == pytest.approx((base[:100].mean(), tuned[:100].mean()))
    parts = [part.rows for part in by_trait(traits, 4, 12, 30)]
    sums = [np.bincount(clusters[of_part], weights=(tuned - base)[of_part], minlength=200) for of_part in parts]
    assert [row.p_holm for row in rows] == holm([exact_p(of_part.astype(np.float64)) for of_part in sums])
    assert counts.n_lost == 1 and counts.outcome is Status.FAILED
    assert sentence(rows, counts, RULES).startswith(
        f"1 of 6 slices got significantly worse: length: 2 {worst.delta:+.3f} ("
    )


def test_the_largest_loss_comes_first_and_a_chance_loss_is_left_out() -> None:
    """Of losses .1, .2 and .001 the first two are significant."""
    rng = np.random.default_rng(2)
    kind = np.repeat(["a", "b", "c"], 80).tolist()
    tuned = 0.5 + np.repeat([-0.1, -0.2, -0.001], 80) + rng.normal(0, 0.1, 240)
    rows, _ = compared({"kind": kind}, np.full(240, 0.5), tuned)
    assert [row.bin for row in lost(rows)] == ["b", "a"]


@pytest.mark.parametrize(("n_fallen", "n_groups"), [(25, 8), (25, 200), (12, 20)])
def test_a_small_group_that_fell_is_found(n_fallen: int, n_groups: int) -> None:
    """Fewer than are shown fall from 1 to 0 while all others gain: named, shown, and not excused by the whole."""
    rng = np.random.default_rng(3)
    kind = ["fallen"] * n_fallen + [f"group {i % n_groups}" for i in range(n_groups * 12)]
    base = np.append(np.ones(n_fallen), rng.choice([0.0, 0.5, 1.0], n_groups * 12))
    tuned = np.append(np.zeros(n_fallen), np.minimum(1, base[n_fallen:] + rng.choice([0, 0.4], n_groups * 12)))
    rows, counts = compared({"kind": kind}, base, tuned)
    (worst,) = lost(rows)
    assert (worst.bin, worst.n, worst.is_shown) == ("fallen", n_fallen, True)
    assert f"kind: fallen -1.000 ({n_fallen} queries)" in sentence(rows, counts, RULES)


@pytest.mark.parametrize("place", range(12, 20))
def test_the_thirteenth_of_equal_groups_is_looked_at(place: int) -> None:
    """Twelve of twenty are shown; the one that lost is, too, whichever it is."""
    rng = np.random.default_rng(place)
    kind = [f"group {i % 20:02}" for i in range(1000)]
    base = rng.uniform(0.3, 0.9, 1000)
    tuned = base + 0.1 * rng.random(1000) - np.where(np.arange(1000) % 20 == place, 0.3, 0)
    rows, counts = compared({"kind": kind}, base, tuned)
    assert [row.bin for row in lost(rows)] == [f"group {place:02}"]
    assert [row.bin for row in rows if row.is_shown] == [*(f"group {i:02}" for i in (*range(12), place)), "(8 others)"]
    assert (counts.n_slices, counts.n_not_shown) == (21, 7)


def test_small_slices_are_counted_and_the_whole_is_no_slice() -> None:
    """Three queries and one cluster of twenty can show nothing: they are counted, and nobody is cleared by them."""
    traits: Traits = {"n": np.ones(83, dtype=np.int64), "kind": ["a"] * 60 + ["b"] * 3 + ["c"] * 20}
    clusters = np.append(np.arange(63), np.full(20, 63))
    base = np.full(83, 0.2)
    rows, counts = compared(traits, base, base + 0.5, clusters=clusters)
    assert [(row.bin, row.outcome, row.is_tested) for row in rows] == [
        ("a", Status.PASSED, True),
        ("b", Status.UNDECIDED, False),
        ("c", Status.UNDECIDED, False),
        ("(2 others)", Status.UNDECIDED, False),
    ]
    assert asdict(counts) == {
        **{"n_slices": 4, "n_tested": 1, "n_lost": 0, "n_cleared": 1, "n_undecided": 3},
        **{"n_too_small": 3, "n_too_small_queries": 23, "n_not_shown": 3},
    }
    assert counts.outcome is Status.UNDECIDED
    assert "in 3 (23 queries) too few queries changed" in sentence(rows, counts, RULES)


def test_groups_that_can_show_nothing_do_not_make_the_others_harder_to_prove() -> None:
    """A hundred groups of three beside one of thirty: its p-value is corrected for the two slices that count."""
    tuned = 0.5 + np.random.default_rng(3).normal(-0.1, 0.15, 330)
    rows, counts = compared({"kind": ["a"] * 30 + [f"g{i // 3}" for i in range(300)]}, np.full(330, 0.5), tuned)
    assert counts.n_tested == 2  # "a" and the hundred others together
    first = next(row for row in rows if row.bin == "a")
    assert first.p_holm in (exact_p(tuned[:30] - 0.5), 2 * exact_p(tuned[:30] - 0.5))


def test_all_slices_cleared_is_said_only_where_all_are() -> None:
    """All gain much: passed. Nobody changes, in slices of forty: a loss of .05 could be there, so undecided."""
    kind = ["a", "b", "c"] * 40
    base = np.full(120, 0.4)
    rows, counts = compared({"kind": kind}, base, base + 0.3)
    assert counts.outcome is Status.PASSED
    assert sentence(rows, counts, RULES) == "No loss found in 3 slices. A loss of 0.05 in nDCG@10 is excluded in each."
    rows, counts = compared({"kind": kind}, base, base)
    assert counts.outcome is Status.UNDECIDED
    assert "A loss of 0.05 in nDCG@10 is not excluded in 3 of them" in sentence(rows, counts, RULES)
    _, counts = compared({"kind": ["a"] * 120}, base, base)
    assert counts.outcome == "not applicable"


def slices_of(n: int) -> list[Slice]:
    """A number in four bins, a few large groups, and many small ones."""
    rng = np.random.default_rng(n)
    traits: Traits = {
        "length": rng.integers(2, 20, n),
        "group": [f"g{i}" for i in rng.integers(0, 4, n)],
        "source": [f"s{i}" for i in rng.integers(0, max(4, n // 50), n)],
    }
    return by_trait(traits, 4, 12, 30)


def without_loss(kind: str, n: int, rng: np.random.Generator) -> tuple[Float64, Float64]:
    """Scores of two systems of which none is better: exchangeable, or a few gain much of what many lose."""
    if kind == "skewed":
        return np.full(n, 0.5), 0.5 + np.where(rng.random(n) < 0.1, 0.45, -0.05)
    values = rng.choice([0, 0.3, 0.5, 0.63, 1.0], (2, n), p=[0.3, 0.1, 0.1, 0.1, 0.4])
    return values[0], np.where(rng.random(n) < 0.5, *values)


@pytest.mark.parametrize("kind", ["exchangeable", "skewed"])
@pytest.mark.parametrize(("n", "n_reports"), [(30, 100), (100, 100), (1000, 40)])
def test_at_most_one_report_in_twenty_names_a_slice_that_did_not_lose(n: int, n_reports: int, kind: str) -> None:
    """Any slice of a report counts; queries in clusters of two."""
    rng, slices, clusters = np.random.default_rng(7), slices_of(n), np.arange(n) // 2
    alarms = 0
    for _ in range(n_reports):
        base, tuned = (values[clusters] for values in without_loss(kind, clusters[-1] + 1, rng))
        alarms += compare_slices(slices, base, tuned, clusters, RULES)[1].n_lost > 0
    assert alarms <= 0.05 * n_reports


@pytest.mark.parametrize("kind", ["rare", "common"])
@pytest.mark.parametrize("n", [30, 100, 1000])
def test_at_most_one_slice_in_twenty_that_lost_is_cleared(n: int, kind: str) -> None:
    """A third of the queries truly loses the margin, by one fall from 1 to 0 in twenty or by many small changes."""
    rng, size = np.random.default_rng(8), n // 3
    cleared = 0
    for _ in range(200):
        change = -(rng.random(n) < 0.05).astype(float) if kind == "rare" else rng.choice([0.4, 0, -0.5], n)
        loss = np.where(kind == "rare", change, change - 0.05 + 0.1 / 3)
        tuned = 1 + np.where(np.arange(n) < size, loss, 0)
        row = compare_slices([Slice("t", "x", np.arange(size))], np.ones(n), tuned, np.arange(n), RULES)[0][0]
        cleared += row.outcome is Status.PASSED
    assert cleared <= 0.05 * 200


def test_a_loss_that_is_rarely_found_is_not_denied() -> None:
    """Forty of 160 queries truly lose .1: found in few reports, and called "no loss" in one of twenty at most."""
    rng, kind = np.random.default_rng(9), np.repeat(["a", "b", "c", "d"], 40).tolist()
    slices = by_name("kind", kind, 12, 30)
    rows = []
    for _ in range(100):
        base = rng.uniform(0, 1, 160)
        tuned = base + rng.normal(0.05, 0.3, 160) - np.where(np.arange(160) < 40, 0.15, 0)
        compared_rows, counts = compare_slices(slices, base, tuned, np.arange(160), RULES)
        rows.append(compared_rows[0])
        assert counts.outcome is not Status.PASSED or rows[-1].outcome is Status.PASSED
    assert sum(row.outcome is Status.FAILED for row in rows) <= 0.35 * 100
    assert sum(row.outcome is Status.PASSED for row in rows) <= 0.05 * 100
    assert np.median([row.detectable or 1 for row in rows]) > 0.1


@pytest.mark.parametrize("size", [12, 40, 150])
def test_the_detectable_loss_is_found_with_the_power_given(size: int) -> None:
    """At the level of Holm's first step: in 80% of samples, or a little more."""
    rng, n = np.random.default_rng(10), 4 * size
    slices = by_name("kind", np.repeat(["a", "b", "c", "d"], size).tolist(), 12, 2)
    base = np.full(n, 0.9)
    noise = rng.normal(0, 0.25, (100, n))
    first = [compare_slices(slices, base, base + one, np.arange(n), RULES)[0][0].detectable for one in noise[:20]]
    loss = np.where(np.arange(n) < size, np.mean([one for one in first if one is not None]), 0)
    n_found = sum(
        compare_slices(slices, base, base + one - loss, np.arange(n), RULES)[0][0].outcome is Status.FAILED
        for one in noise
    )
    assert 0.72 <= n_found / 100 <= 0.97


def test_no_loss_is_detectable_where_base_has_little_to_lose() -> None:
    """Forty queries on which base scores .05 cannot lose what would be found."""
    rng = np.random.default_rng(11)
    base = np.append(np.full(40, 0.05), np.full(40, 0.9))
    rows, _ = compared({"kind": ["a", "b"] * 1 + ["a"] * 38 + ["b"] * 40}, base, base + rng.normal(0, 0.3, 80))
    by_bin = {row.bin: row for row in rows}
    assert by_bin["b"].detectable is not None and 0.1 < by_bin["b"].detectable < 0.4
