"""The verdict on planted cases: what ships is what is judged, and a test that cannot tell says so."""

import numpy as np
import pytest
from numpy.typing import NDArray

from attune.evaluation.report.summary import Paired, Rule, headline_result
from attune.evaluation.report.verdict import HeadlineResult, too_few, verdict
from attune.evaluation.scoring.measures import MEASURES
from attune.evaluation.statistics.significance import compare

RULE = Rule(confidence=0.95, margin=0.02, power=0.8)
Values = NDArray[np.float64]


def result_of(base: Values, tuned: Values, seeds: list[Values] | None = None) -> HeadlineResult:
    """The result of independent queries on which all measures have these values; `seeds` are those beside tuned."""
    of_base, of_tuned = (dict.fromkeys(MEASURES, values) for values in (base, tuned))
    queries = np.arange(len(base))
    paired = compare(of_base, of_tuned, queries, RULE.confidence)
    scores = Paired([f"q{i}" for i in queries], queries, of_base, of_tuned)
    of_seeds = [dict.fromkeys(MEASURES, values) for values in (tuned, *(seeds or []))]
    return headline_result(paired, [], scores, of_seeds, RULE)


def counted(n: int, won: int, lost: int, level: float = 0.5) -> HeadlineResult:
    """The result of n queries of which these won and lost by 1 and the others stayed as they were."""
    base = np.zeros(n)
    base[won : won + lost] = 1
    base[won + lost :] = level
    tuned = base.copy()
    tuned[:won], tuned[won : won + lost] = 1, 0
    return result_of(base, tuned)


@pytest.mark.parametrize(
    ("own", "others", "beginning"),
    [(0.67, 0.80, "Cannot tell: "), (0.65, 0.80, "Worse: "), (0.80, 0.80, "Better: "), (0.80, 0.68, "Cannot tell: ")],
    ids=["shipped -.030", "shipped -.050, surely", "all gain", "shipped alone gains"],
)
def test_the_mean_over_seeds_cannot_excuse_the_shipped_encoder(own: float, others: float, beginning: str) -> None:
    """1,000 queries at .700, four or five seeds: Better only where the shipped encoder and the mean both gain."""
    base = (np.arange(1000) < 700).astype(np.float64)
    tuned = (np.arange(1000) < round(1000 * own)).astype(np.float64)
    if own == 0.67:  # 100 queries found anew, 130 lost: -.030, which chance explains
        tuned = ((np.arange(1000) >= 130) & (np.arange(1000) < 800)).astype(np.float64)
    seeds = [(np.arange(1000) < round(1000 * others) + i).astype(np.float64) for i in range(4)]
    sentence = verdict(result_of(base, tuned, seeds))
    assert sentence.startswith(beginning)
    assert f"from 0.700 to {own:.3f}" in sentence and "on average over 5 seeds" in sentence


@pytest.mark.parametrize(("won", "lost", "beginning"), [(4, 0, "No change"), (0, 4, "No change"), (14, 0, "Better")])
def test_few_queries_that_differ_of_a_thousand_prove_nothing(won: int, lost: int, beginning: str) -> None:
    """4 of 1,000 won: .125 uncorrected, so no gain; but no change of .02 either. Of nine comparisons 14 are enough."""
    result = counted(1000, won, lost)
    assert verdict(result).startswith(f"{beginning}: ")
    assert (result.corrected["recall@10"] <= 0.05) == (beginning == "Better")


@pytest.mark.parametrize(
    ("n", "won", "lost", "words"),
    [
        (
            8,
            1,
            1,
            "with 8 queries, the test (Holm-corrected for 9 comparisons) detects none, however large, with power",
        ),
        (
            2,
            0,
            0,
            "with 2 queries, the test (Holm-corrected for 9 comparisons) detects none, however large, with power",
        ),
        (30, 0, 0, "About 139 test queries are needed to exclude a loss of 0.02."),
    ],
)
def test_no_difference_does_not_silence_the_warning_of_a_small_test(n: int, won: int, lost: int, words: str) -> None:
    """A delta of exactly 0 is Cannot tell with few queries, saturated or not, and says how many would do."""
    result = counted(n, won, lost, level=1.0)
    assert result.shipped.delta == 0
    assert verdict(result).startswith("Cannot tell: ")
    warning = too_few(result)
    assert warning.startswith("The test set is too small for telling whether recall@10 changed: ")
    assert words in warning and warning.endswith(" test queries are needed to exclude a loss of 0.02.")


def test_many_queries_that_do_not_differ_are_no_change() -> None:
    """As with train.epochs 0 on 1,000 queries: the interval is small, and nothing is warned of."""
    result = counted(1000, 0, 0)
    assert verdict(result) == (
        "No change: tuned scores exactly as base on every query and measure (recall@10 0.500, 95% interval -0.003 to "
        "+0.003 of the change)."
    )
    assert too_few(result) == ""


@pytest.mark.parametrize("n", [2, 20])
def test_losses_of_few_queries_are_undecided(n: int) -> None:
    """Two queries that lose .25 on average, twenty that lose .15: neither Worse nor good enough."""
    rng = np.random.default_rng(2)
    tuned = np.array([0.5, 1.0]) if n == 2 else np.where(rng.random(20) < 0.15, 0.0, 1.0)
    assert verdict(result_of(np.ones(n), tuned)).startswith("Cannot tell: ")


def test_interval_and_randomization_test_can_disagree_and_no_gain_is_claimed() -> None:
    """Five queries gain about alike: 32 sign flips cannot give p below .06, nor has the interval seen a loss."""
    result = result_of(np.zeros(5), np.array([0.5, 0.55, 0.6, 0.45, 0.5]))
    assert result.paired["recall@10"].p_value == pytest.approx(2 / 32)
    assert result.corrected["recall@10"] == pytest.approx(len(MEASURES) * 2 / 32)
    assert verdict(result).startswith("Cannot tell: ")


@pytest.mark.parametrize("n", [30, 100, 1000])
def test_no_gain_is_called_better_or_worse_in_at_most_one_report_of_twenty(n: int) -> None:
    """40 reports of queries that change by chance alone; where there are a thousand of them, many say No change."""
    rng = np.random.default_rng(6)
    base = rng.random((40, n)).round(1)
    tuned = np.where(rng.random((40, n)) < 0.2, rng.permuted(base, axis=1), base)
    answers = [result_of(*sides).answer for sides in zip(base, tuned, strict=True)]
    assert answers.count("Better") <= 2 and answers.count("Worse") <= 2
    assert ("No change" in answers) == (n == 1000)
