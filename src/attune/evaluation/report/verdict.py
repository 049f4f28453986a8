"""What the figures mean, in sentences that a person can quote."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attune.evaluation.report.markdown import number, p_value, percent, signed
from attune.evaluation.scoring.measures import HEADLINE

if TYPE_CHECKING:  # the page says what the report found; scipy.stats and statsmodels take longer than all else it does
    from attune.evaluation.statistics.power import Sensitivity
    from attune.evaluation.statistics.significance import Comparison, Interval

KEPT_BY_INT8 = 0.99  # the share of tuned nDCG@10 below which report and page warn
OVER_SEEDS = ("recall@10", "mrr@10", "ndcg@10")  # what stage seeds compares over seeds, in its order


@dataclass(frozen=True)
class Outcome:
    """Base against tuned on the same queries: the comparisons by measure, and recall@10 in more detail.

    Attributes:
        paired: by measure; of the encoder that ships.
        base: mean recall@10.
        tuned: the same.
        sensitivity: of a test of recall@10 on these queries.
        over_seeds: by measure, where several seeds were trained: the mean over seeds, and an interval that covers
            other seeds, too. Empty with one seed.
        n_seeds: how many were trained.
        p_floor: below which the test finds no p-value.
    """

    paired: Mapping[str, "Comparison"]
    base: float
    tuned: float
    sensitivity: "Sensitivity"
    over_seeds: Mapping[str, "Interval"]
    n_seeds: int
    p_floor: float = 0.0

    @property
    def n_queries(self) -> int:
        """How many queries were compared."""
        return self.sensitivity.n_queries

    @property
    def interval(self) -> "Comparison | Interval":
        """What the verdict on recall@10 goes by."""
        return self.over_seeds.get(HEADLINE, self.paired[HEADLINE])

    def moved(self) -> str:
        """Where recall@10 went."""
        delta = signed(self.paired[HEADLINE].delta, 3)
        return f"{HEADLINE} went from {self.base:.3f} to {self.tuned:.3f} ({delta}"


def verdict(outcome: Outcome) -> str:
    """One sentence on recall@10 that a person can quote."""
    found, interval = outcome.paired[HEADLINE], outcome.interval
    is_same = not any(comparison.wins or comparison.losses for comparison in outcome.paired.values())
    if is_same and interval.ci_low == interval.ci_high == 0:
        return f"No change: tuned scores exactly as base on every query and measure ({HEADLINE} {outcome.base:.3f})."
    seeds = f"; {signed(interval.delta, 3)} on average over {outcome.n_seeds} seeds" if outcome.over_seeds else ""
    covered = "interval over queries and seeds" if outcome.over_seeds else "interval"
    between = f"{signed(interval.ci_low, 3)} to {signed(interval.ci_high, 3)}"
    told = p_value(found.p_value, outcome.p_floor)
    level = number(100 * outcome.sensitivity.confidence)
    moved = f"{outcome.moved()}{seeds}, {level}% {covered} {between}, {told} for this one comparison)"
    if interval.ci_low > 0:
        return f"Better: {moved}."
    if interval.ci_high < 0:
        return f"Worse: {moved}."
    return f"No clear change: {moved}; the interval contains 0."


def too_few(outcome: Outcome) -> str:
    """A warning where the test is too small for the difference that it shows in recall@10; else empty."""
    test, delta = outcome.sensitivity, outcome.paired[HEADLINE].delta
    if not delta or abs(delta) >= test.smallest_detectable:
        return ""
    needed = test.queries_for(delta)
    told = "More than a million" if needed > 1_000_000 else f"About {number(needed)}"
    return (
        f"The test set is too small for a change of {signed(delta, 3)} in {HEADLINE}: {number(test.n_queries)} queries "
        f"find a change of that size in {percent(test.chance_of(delta), 0)} of cases, and only one of "
        f"{test.smallest_detectable:.3f} or more in {percent(test.power, 0)}. What so small a test does find looks "
        f"larger than it is. {told} test queries would do."
    )


def verdict_despite_leaks(whole: Outcome, clean: Outcome | None, leaks: str) -> str:
    """The verdict where training or choosing saw part of the test: that of the queries that do not leak.

    Args:
        whole: of all test queries.
        clean: of those that do not leak; None where fewer than two are left.
        leaks: what of test is also in train or dev, in words.
    """
    seen = f"{leaks} of test are also in train or dev"
    of_all = f"on all {number(whole.n_queries)}, {whole.moved()})"
    if clean is None:
        return f"Not measurable: hardly a test query is clean ({seen}); {of_all}."
    counted = f"the {number(clean.n_queries)} of {number(whole.n_queries)} test queries that do not leak"
    return f"{verdict(clean)} Counted on {counted} ({seen}); {of_all}."
