"""The exported files are judged with their uncertainty: what is certain fails, what cannot be told is no yes."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from attune.evaluation.checks.catalogue import Finding, findings
from attune.evaluation.checks.exported import int8
from attune.evaluation.checks.facts import Facts
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.statistics.decision import Status
from attune.evaluation.statistics.shares import score_share_interval
from attune.stage import load_params

LIMITS = load_params(GateParams, "gate").model_copy(update={"margin": 0.02, "min_int8_kept": 0.98})
RUNS = 1000


def told(share: float, interval: tuple[float, float], tuned: float = 0.7) -> Finding:
    """Returns the finding on a file that keeps a share of tuned nDCG@10 on 1,000 queries."""
    system = "tuned_int8"
    report: dict[str, Any] = {"ndcg@10_kept_share": {system: share}, "systems": {"tuned": {"ndcg@10": tuned}}}
    report["ndcg@10_kept_interval"] = {system: dict(zip(("ci_low", "ci_high"), interval, strict=True))}
    report |= {"n_test_queries": 1000, "n_test_clusters": 900}
    (finding,) = findings(Facts({"report": report}), LIMITS, ["metrics"], [int8])
    return finding


@pytest.mark.parametrize(
    ("share", "interval", "status"),
    [
        (0.995, (0.985, 1.005), Status.PASSED),
        (0.995, (0.975, 1.015), Status.UNDECIDED),  # however good the share that was seen
        (0.975, (0.965, 0.985), Status.UNDECIDED),  # however bad
        (0.97, (0.961, 0.979), Status.FAILED),
    ],
)
def test_int8_has_three_outcomes(share: float, interval: tuple[float, float], status: Status) -> None:
    """All of the interval above the floor passes, all below fails; between, the sentence says how many would tell."""
    finding = told(share, interval)
    assert finding.status is status
    assert "less than 98.00% is " in finding.sentence and finding.sentence.endswith(" (gate.min_int8_kept)")
    assert ("test queries instead of 1,000 would tell" in finding.sentence) == (status is Status.UNDECIDED)


def scores(rng: np.random.Generator, n: int, kept: float, drop: float) -> tuple[NDArray[np.float64], ...]:
    """Scores of tuned and of a file that truly keeps a share: some queries lose a drop, as many more swap up or down.

    Each query's score is at least the drop, so that it can be lost; clusters are of two queries and change together.
    """
    clusters = np.arange(n) // 2
    tuned = rng.uniform(max(0.4, drop), 1, n)
    rate = (1 - kept) * (max(0.4, drop) + 1) / 2 / drop
    lost = rng.random(n)[clusters] < rate
    swaps = rng.choice([-0.1, 0.0, 0.1], n, p=[0.05, 0.9, 0.05])
    return tuned - drop * lost + np.where(lost, 0, swaps), tuned, clusters


def share_of(status: Status, n: int, kept: float, drop: float) -> float:
    """Returns the share of simulated tests with this status of the int8 file."""
    rng, n_found = np.random.default_rng(n), 0
    for _ in range(RUNS):
        file, tuned, clusters = scores(rng, n, kept, drop)
        interval = score_share_interval(file, tuned, clusters.astype(np.int64), LIMITS.confidence)
        finding = told(float(file.mean() / tuned.mean()), interval, float(tuned.mean()))
        n_found += finding.status is status
    return n_found / RUNS


@pytest.mark.parametrize("drop", [0.1, 0.4, 1.0])
@pytest.mark.parametrize("n", [30, 100, 1000])
def test_verdicts_are_rarely_wrong(n: int, drop: float) -> None:
    """A file that truly keeps the floor passes, or fails, in at most 5% each; small losses or large ones."""
    assert share_of(Status.PASSED, n, LIMITS.min_int8_kept, drop) <= 0.05
    assert share_of(Status.FAILED, n, LIMITS.min_int8_kept, drop) <= 0.05


def test_a_thousand_queries_decide() -> None:
    """No test of nothing: a file that keeps all passes, one that keeps 90% fails."""
    assert share_of(Status.PASSED, 1000, 1.0, 0.4) >= 0.95
    assert share_of(Status.FAILED, 1000, 0.9, 0.4) >= 0.95


def test_the_interval_is_that_of_the_delta_method() -> None:
    """By hand: residuals of the share, with one winning and one losing cluster, over the mean; nothing lost is 1."""
    tuned, file = np.array([1.0, 0.5, 0.5, 1.0]), np.array([1.0, 0.5, 0.0, 1.0])
    share = 2.5 / 3
    residuals = np.append(file - share * tuned, [1, -1])
    reach = 2.570582 * residuals.std(ddof=1) / np.sqrt(6) / 0.75  # t of 5 degrees of freedom
    low, high = score_share_interval(file, tuned, np.arange(4), 0.95)
    assert (low, high) == (pytest.approx(max(0, share - reach)), pytest.approx(share + reach))
    assert score_share_interval(file, np.zeros(4), np.arange(4), 0.95) == (0, 1)
