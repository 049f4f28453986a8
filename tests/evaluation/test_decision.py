"""Three outcomes, planted truth: a claim is false in at most 5%, and "undecided" where the queries cannot tell."""

from itertools import product
from math import sqrt

import numpy as np
import pytest
from numpy.typing import NDArray

from attune.evaluation.statistics.clusters import ClusterSums, by_cluster
from attune.evaluation.statistics.decision import (
    Change,
    Status,
    decide,
    decide_shipped,
    decision_interval,
    queries_needed,
    with_one_each,
)
from attune.evaluation.statistics.significance import compare

PASSED, FAILED, UNDECIDED = Status.PASSED, Status.FAILED, Status.UNDECIDED
SIZES = (30, 100, 1000)


def changes(deltas: NDArray[np.float64]) -> list[Change]:
    """The changes of (n, n_queries) differences of independent queries, each with its uncorrected p-value."""
    tuned = {str(i): values for i, values in enumerate(deltas)}
    queries = np.arange(deltas.shape[1])
    compared = compare(dict.fromkeys(tuned, np.zeros(len(queries))), tuned, queries, 0.95)
    return [Change(one.delta, one.ci_low, one.ci_high, one.p_value) for one in compared.values()]


def counted(n_queries: int, won: int, lost: int) -> Change:
    """The change of so many queries of which these won and lost by 1."""
    deltas = np.zeros(n_queries)
    deltas[:won], deltas[won : won + lost] = 1, -1
    (change,) = changes(deltas[None])
    return change


@pytest.mark.parametrize(
    ("low", "high", "p", "margin", "outcome"),
    [
        *((0.01, 0.1, p, 0.0, outcome) for p, outcome in ((0.05, PASSED), (0.051, UNDECIDED), (None, PASSED))),
        *((-0.1, -0.01, p, 0.0, outcome) for p, outcome in ((0.05, FAILED), (0.051, UNDECIDED), (None, FAILED))),
        *((low, 0.1, 0.001, 0.0, UNDECIDED) for low in (0.0, -0.1)),
        *((-0.019, high, 0.9, 0.02, PASSED) for high in (0.1, 0.0, -0.001)),
        (-0.021, 0.1, 0.9, 0.02, UNDECIDED),
        *((-0.1, -0.021, p, 0.02, outcome) for p, outcome in ((0.01, FAILED), (0.06, UNDECIDED))),
        *((-0.1, high, 0.01, 0.02, UNDECIDED) for high in (-0.019, -0.02)),
        (0.03, 0.1, 0.001, -0.02, PASSED),
        (0.01, 0.1, 0.001, -0.02, UNDECIDED),
        *((-0.005, 0.005, p, -0.05, FAILED) for p in (1.0, 0.001, None)),
    ],
)
def test_the_rule_has_three_outcomes(low: float, high: float, p: float | None, margin: float, outcome: Status) -> None:
    """Without a margin a pass needs interval and test, with one the interval alone; a failure both, but for a gain."""
    assert decide(Change((low + high) / 2, low, high, p), margin, 0.95) is outcome


@pytest.mark.parametrize(("own", "seeds"), list(product((PASSED, FAILED, UNDECIDED), repeat=2)))
def test_only_a_pass_needs_the_seeds(own: Status, seeds: Status) -> None:
    """The mean over seeds can neither excuse nor condemn what ships."""
    of = {PASSED: Change(0.1, 0.05, 0.15), FAILED: Change(-0.1, -0.15, -0.05), UNDECIDED: Change(0, -0.1, 0.1)}
    expected = UNDECIDED if (own, seeds) in ((PASSED, FAILED), (PASSED, UNDECIDED)) else own
    assert decide_shipped(of[own], of[seeds], 0.02, 0.95) is expected
    assert decide_shipped(of[own], None, 0.02, 0.95) is own


@pytest.mark.parametrize("n_queries", [8, *SIZES])
def test_interval_and_exact_test_agree_where_few_queries_differ(n_queries: int) -> None:
    """Up to five queries that all won have p above .05, six below it; so do their intervals, and losses alike."""
    for n in range(8):
        won, lost = counted(n_queries, n, 0), counted(n_queries, 0, n)
        assert (won.low > 0) == (lost.high < 0) == (won.p is not None and won.p <= 0.05) == (n > 5)
        assert decide(won, 0, 0.95) is (PASSED if n > 5 else UNDECIDED)
        assert decide(lost, 0, 0.95) is (FAILED if n > 5 else UNDECIDED)


@pytest.mark.parametrize(("n_queries", "outcome"), [(2, UNDECIDED), (30, UNDECIDED), (100, UNDECIDED), (200, PASSED)])
def test_queries_that_do_not_differ_pass_where_they_are_many(n_queries: int, outcome: Status) -> None:
    """Two saturated queries exclude nothing, 200 a loss of .02."""
    same = counted(n_queries, 0, 0)
    assert decide(same, 0.02, 0.95) is outcome
    assert same.is_within(0.02) == (outcome is PASSED)
    if n_queries == 2:
        assert (same.low, same.high) == (-1, 1)


def lossy(rng: np.random.Generator, shape: tuple[int, int], loss: float, kind: str) -> NDArray[np.float64]:
    """Differences with this mean loss: rare ones of 1, wins and losses, small gains with rare losses, or noise."""
    draws = rng.random(shape)
    if kind == "rare":
        return np.where(draws < loss, -1.0, 0.0)
    if kind == "both":
        return np.where(draws < 0.05, 1.0, np.where(draws < 0.1 + loss, -1.0, 0.0))
    if kind == "small gains":
        return np.where(draws < 0.2, 0.05, np.where(draws < 0.2 + loss + 0.2 * 0.05, -1.0, 0.0))
    return rng.normal(-loss, 0.2, shape).clip(-1, 1)


KINDS = ("rare", "both", "small gains", "noise")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_queries", SIZES)
def test_a_loss_of_the_margin_passes_in_at_most_one_case_of_twenty(n_queries: int, kind: str) -> None:
    """Of 2,000 comparisons with a true loss of .01, .02 or .05 each; without the added clusters up to 87% pass."""
    rng = np.random.default_rng(3)
    for margin in (0.01, 0.02, 0.05):
        deltas = lossy(rng, (2000, n_queries), margin, kind)
        low, _ = decision_interval(ClusterSums(deltas, np.ones(n_queries)), 0.95)
        assert (low > -margin).mean() <= 0.05


@pytest.mark.parametrize(("n_queries", "margin"), [(56, 0.05), (139, 0.02), (277, 0.01)])
def test_at_the_worst_sizes_a_loss_of_the_margin_passes_in_at_most_one_case_of_twelve(
    n_queries: int, margin: float
) -> None:
    """The fewest queries of which none lost that pass: a single loss more or less decides."""
    deltas = lossy(np.random.default_rng(4), (4000, n_queries), margin, "rare")
    low, _ = decision_interval(ClusterSums(deltas, np.ones(n_queries)), 0.95)
    assert 0.03 < (low > -margin).mean() <= 1 / 12


@pytest.mark.parametrize(("n_queries", "margin"), [(100, 0.02), (100, 0.05), (152, 0.02), (152, 0.05), (1000, 0.02)])
def test_whole_clusters_lost_pass_in_at_most_one_case_of_twenty(n_queries: int, margin: float) -> None:
    """Clusters of four, some lost whole, while one query in five gains a little: often no lost one is in the sample.

    The planted faults: a guard of one query, or of as many as the observed cluster effect is worth (Kish's design
    effect, the variance of cluster sums to that of independent queries), passes more than a quarter of 152 queries.
    """
    rng = np.random.default_rng(5)
    lost = np.repeat(rng.random((2000, n_queries // 4)) < margin + 0.2 * 0.05, 4, axis=1)
    deltas = np.where(lost, -1.0, np.where(rng.random((2000, n_queries)) < 0.2, 0.05, 0.0))
    sums = by_cluster(deltas, np.arange(n_queries) // 4)
    assert (decision_interval(sums, 0.95)[0] > -margin).mean() <= 0.05
    if n_queries == 152 and margin == 0.02:
        assert (decision_interval(sums, 0.95, size=1)[0] > -margin).mean() > 0.25
        mean = deltas.mean(axis=1, keepdims=True)
        effects = ((sums.sums - 4 * mean) ** 2).sum(axis=1) / ((deltas - mean) ** 2).sum(axis=1)
        lows = [
            decision_interval(ClusterSums(own, sums.sizes), 0.95, size=float(effect))[0]
            for own, effect in zip(sums.sums, effects.clip(1, 4), strict=True)
        ]
        assert (np.array(lows) > -margin).mean() > 0.25


def test_the_plain_interval_passes_losses() -> None:
    """The planted fault: most samples of 30 queries show no rare loss of 1, and their interval is 0 to 0."""
    deltas = lossy(np.random.default_rng(3), (2000, 30), 0.01, "rare")
    low, _ = ClusterSums(deltas, np.ones(30)).interval(0.95)
    assert (low > -0.01).mean() > 0.7


@pytest.mark.parametrize(("share", "gain"), [(0.2, 0.05), (0.3, 0.2), (0.5, 0.05), (0.9, 0.1), (0.9, 0.02)])
@pytest.mark.parametrize("n_queries", SIZES)
def test_no_gain_is_called_better_in_at_most_one_case_of_twenty(n_queries: int, share: float, gain: float) -> None:
    """A share of queries gains a little and few lose all, so that the mean is 0; nor is it called worse."""
    rng = np.random.default_rng(1)
    draws = rng.random((min(1000, 200_000 // n_queries), n_queries))
    deltas = np.where(draws < share, gain, np.where(draws < share + share * gain, -1.0, 0.0))
    outcomes = [decide(change, 0, 0.95) for change in changes(deltas)]
    for claim in (PASSED, FAILED):
        assert outcomes.count(claim) / len(outcomes) <= 0.05


def test_the_test_alone_calls_small_gains_with_rare_losses_better() -> None:
    """The planted fault: without gain, 45% of 30 queries have a significant p, as the rare losses have not come up."""
    draws = np.random.default_rng(1).random((1000, 30))
    deltas = np.where(draws < 0.2, 0.05, np.where(draws < 0.21, -1.0, 0.0))
    assert np.mean([change.p is not None and change.p <= 0.05 and change.delta > 0 for change in changes(deltas)]) > 0.3


@pytest.mark.parametrize("n_queries", SIZES)
def test_true_gains_and_losses_of_a_good_size_are_decided(n_queries: int) -> None:
    """A third of all queries found or lost anew is told with 30 queries, a tenth with 100, a fiftieth with 1,000."""
    share = {30: 0.4, 100: 0.15, 1000: 0.02}[n_queries]
    found = (np.random.default_rng(2).random((200, n_queries)) < share).astype(np.float64)
    assert np.mean([decide(change, 0, 0.95) is PASSED for change in changes(found)]) > 0.8
    assert np.mean([decide(change, 0, 0.95) is FAILED for change in changes(-found)]) > 0.8


@pytest.mark.parametrize(
    ("won", "lost", "margin"), [(0.0, 0.0, 0.02), (0.04, 0.04, 0.02), (0.05, 0.1, 0.02), (0, 0.01, 0.02)]
)
def test_the_queries_needed_decide_in_four_of_five_cases(won: float, lost: float, margin: float) -> None:
    """From 100 queries of which these shares won and lost; the number is tried on samples of the same truth."""
    n_won, n_lost = round(100 * won), round(100 * lost)
    seen = counted(100, n_won, n_lost)
    assert decide(seen, margin, 0.95) is UNDECIDED
    needed = queries_needed(seen, 100, 100, margin, 0.95, 0.8)
    assert needed is not None
    draws = np.random.default_rng(5).random((300, needed))
    deltas = np.where(draws < won, 1.0, np.where(draws < won + lost, -1.0, 0.0))
    low, high = decision_interval(ClusterSums(deltas, np.ones(needed)), 0.95)
    decided = (low > -margin) | (high < -margin)
    assert 0.65 <= decided.mean() <= (0.9 if won or lost else 1)


def test_no_number_of_queries_decides_a_loss_of_exactly_the_margin() -> None:
    """The true difference is taken to be the one seen."""
    assert queries_needed(Change(-0.02, -0.1, 0.06), 50, 50, 0.02, 0.95, 0.8) is None


def test_added_clusters_are_as_large_as_the_others() -> None:
    """One wins and one loses on each of its queries, as many as a cluster has on average, or as given."""
    sums = by_cluster(np.array([0.5, 0.0, 0.0, 0.0, 0.0, 0.0]), np.array([0, 0, 0, 1, 2, 2]))
    added = with_one_each(sums)
    assert added.sums.tolist() == [0.5, 0, 0, 2, -2] and added.sizes.tolist() == [3, 1, 2, 2, 2]
    assert with_one_each(sums, 1).sums[-2:].tolist() == [1, -1]
    copies = by_cluster(np.repeat([0.5, 0.0, 0.25], 4), np.repeat(np.arange(3), 4))
    once = by_cluster(np.array([0.5, 0.0, 0.25]), np.arange(3))
    assert with_one_each(copies).error == pytest.approx(float(with_one_each(once).error))


def test_with_many_queries_the_added_clusters_hardly_count() -> None:
    """A thousand queries of which a quarter differ: the interval's ends move by a fiftieth of its width at most."""
    rng = np.random.default_rng(9)
    deltas = np.where(rng.random(1000) < 0.25, rng.choice([1.0, 1.0, -1.0], 1000), 0.0)
    sums = ClusterSums(deltas, np.ones(1000))
    plain, decided = sums.interval(0.95), decision_interval(sums, 0.95)
    reach = 1.96 * deltas.std() / sqrt(1000)
    assert np.abs(np.subtract(plain, decided)).max() <= reach / 25
