"""The bench of promised precisions: whole clusters are drawn, kept promises are counted, broken ones are seen."""

import numpy as np
import pytest

from attune.evaluation.calibration.hits import Hits
from bench.parts.promises import Check, checks, resampled, right_share, row, unbounded


def first_hits(n: int, seed: int, shift: float = 0.0) -> Hits:
    """Returns first hits, two in each cluster, whose probability is a logistic curve of their score."""
    random = np.random.default_rng(seed)
    scores = random.random(n)
    is_relevant = random.random(n) < 1 / (1 + np.exp(-8 * (scores - 0.6 - shift)))
    ones = np.ones(n, dtype=np.int64)
    return Hits(scores, is_relevant, np.arange(n), np.arange(n) // 2, ones, np.sort(scores[is_relevant]))


def test_clusters_are_drawn_whole_and_count_as_often_as_they_are_drawn() -> None:
    """Of clusters of one and of three hits, each draw brings all hits of one; a cluster drawn twice is two."""
    hits = Hits(
        np.array([0.9, 0.1, 0.2, 0.3]),
        np.array([True, False, False, False]),
        np.arange(4),
        np.array([7, 5, 5, 5]),
        np.ones(4, dtype=np.int64),
        np.array([0.9]),
    )
    sample = resampled(hits, 50, np.random.default_rng(0))
    groups = [sample.scores[sample.clusters == number].tolist() for number in range(50)]
    assert {tuple(group) for group in groups} == {(0.9,), (0.1, 0.2, 0.3)} and len(sample.scores) == sum(
        map(len, groups)
    )
    assert sample.is_relevant.tolist() == (sample.scores == 0.9).tolist()


def test_bounded_promises_are_kept_and_unbounded_ones_are_not() -> None:
    """In 95% of the resamples or more; by what the sample reached, in fewer than 90%; what is easy, always.

    Promised is a little more than the better half of test's first hits keep, so that a sample often seems to reach it.
    """
    dev, test = first_hits(500, 1), first_hits(1000, 2)
    wanted = right_share(test, float(np.median(test.scores))) + 0.01
    easy, usual, hopeless = checks(dev, test, [0.05, wanted, 0.999], 0.95, 100)
    assert usual.kept >= 0.95 and usual.promised > 0.9 and usual.kept_unbounded < 0.9
    assert usual.coverage is not None and 0.1 < usual.coverage < 0.5
    assert usual.on_test is not None and usual.on_test > wanted
    assert (easy.kept, easy.promised, easy.kept_unbounded) == (1.0, 1.0, 1.0)
    assert easy.coverage is not None and easy.coverage > 0.99
    assert (hopeless.promised, hopeless.coverage, hopeless.on_test, hopeless.kept_on_test) == (0.0, None, None, None)
    assert [easy] == checks(dev, test, [0.05], 0.95, 100)


def test_a_promise_that_test_does_not_keep_is_seen() -> None:
    """Where test's first hits are right far less often than dev's at the same score, dev's cutoff falls short."""
    (check,) = checks(first_hits(500, 1), first_hits(1000, 2, shift=0.25), [0.7], 0.95, 100)
    assert check.on_test is not None and check.on_test < 0.65
    assert check.kept_on_test is not None and check.kept_on_test < 0.05


def test_the_choice_without_a_bound_is_the_lowest_cutoff_that_reaches_it() -> None:
    """Ten hits, right from .6 on but for .7: 3 of the 4 best and 4 of the 5 best are right; all ten reach .4."""
    scores = np.arange(1, 11) / 10
    is_right = np.isin(np.arange(1, 11), [6, 8, 9, 10])
    hits = Hits(scores, is_right, np.arange(10), np.arange(10), np.ones(10, dtype=np.int64), scores[is_right])
    assert unbounded(hits, 0.8) == pytest.approx(0.6) and unbounded(hits, 1.0) == pytest.approx(0.8)
    assert unbounded(hits, 0.4) == pytest.approx(0.1)
    assert unbounded(hits._replace(is_relevant=np.zeros(10, dtype=np.bool_)), 0.5) is None


def test_a_row_has_shares_in_percent_and_a_dash_for_what_is_not_there() -> None:
    """The promised precision without decimals, the others with one."""
    check = Check(0.7, 0.765, 1.0, None, 0.7031, 0.5, None)
    assert row("data", "tuned", check) == ["data", "tuned", "70%", "76.5%", "100.0%", "–", "70.3%", "50.0%", "–"]
