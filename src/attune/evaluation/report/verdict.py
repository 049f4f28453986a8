"""Verdict on recall@10: base against tuned, in sentences that can be quoted."""

from collections.abc import Mapping
from dataclasses import dataclass

from attune.evaluation.report.markdown import number, p_value, percent, signed
from attune.evaluation.scoring.measures import HEADLINE
from attune.evaluation.statistics.chance import is_significant, significance_level
from attune.evaluation.statistics.power import Sensitivity
from attune.evaluation.statistics.significance import Comparison, Interval

KEPT_BY_INT8 = 0.99  # share of tuned nDCG@10 below which the report warns
OVER_SEEDS = ("recall@10", "mrr@10", "ndcg@10")  # measures that stage seeds compares over seeds, in its order


@dataclass(frozen=True)
class HeadlineResult:
    """Base against tuned on the same queries, with recall@10 in more detail.

    Attributes:
        paired: comparisons of the shipped encoder by measure.
        base: mean recall@10 of base.
        tuned: mean recall@10 of tuned.
        sensitivity: power of a test of recall@10 on these queries.
        over_seeds: by measure, mean over seeds with an interval over queries and seeds; empty with one seed.
        n_seeds: number of trained seeds.
        p_holm: p-value of recall@10 after Holm's correction for all comparisons.
        n_comparisons: number of these.
        p_floor: smallest corrected p-value that so many resamples can yield.
    """

    paired: Mapping[str, Comparison]
    base: float
    tuned: float
    sensitivity: Sensitivity
    over_seeds: Mapping[str, Interval]
    n_seeds: int
    p_holm: float
    n_comparisons: int
    p_floor: float = 0.0

    @property
    def n_queries(self) -> int:
        """Number of compared queries."""
        return self.sensitivity.n_queries

    @property
    def interval(self) -> Comparison | Interval:
        """Interval that decides the verdict: over queries and, with several seeds, over seeds."""
        return self.over_seeds.get(HEADLINE, self.paired[HEADLINE])

    def doubts(self) -> list[str]:
        """Returns why neither a gain nor a loss is claimed, in words; nothing where one is.

        A claim needs both tests, as one of them may miss what the other sees where queries are few: the interval (over
        seeds, where there are several) lies on the side of the shipped encoder's change, and the corrected p-value of
        the randomization test is significant.
        """
        delta, interval = self.paired[HEADLINE].delta, self.interval
        level = significance_level(self.sensitivity.confidence)
        doubts = []
        if interval.ci_low <= 0 <= interval.ci_high:
            doubts.append("the interval contains 0")
        elif (delta > 0) != (interval.ci_low > 0):
            doubts.append("the seeds' mean does not change as the shipped encoder does")
        if self.p_floor > level:
            doubts.append(f"no corrected p-value of so few resamples is {level:g} or less (report.n_resamples)")
        elif not is_significant(self.p_holm, self.sensitivity.confidence):
            doubts.append(f"the corrected p-value is above {level:g}")
        return doubts

    def change(self) -> str:
        """Change of recall@10 in words, with an open parenthesis at the end."""
        delta = signed(self.paired[HEADLINE].delta, 3)
        return f"{HEADLINE} went from {self.base:.3f} to {self.tuned:.3f} ({delta}"


def verdict(result: HeadlineResult) -> str:
    """Returns one sentence on recall@10, which begins with Better, Worse, No clear change or No change."""
    comparison, interval = result.paired[HEADLINE], result.interval
    is_same = not any(paired.wins or paired.losses for paired in result.paired.values())
    if is_same and interval.ci_low == interval.ci_high == 0:
        return f"No change: tuned scores exactly as base on every query and measure ({HEADLINE} {result.base:.3f})."
    seeds = f"; {signed(interval.delta, 3)} on average over {result.n_seeds} seeds" if result.over_seeds else ""
    kind = "interval over queries and seeds" if result.over_seeds else "interval"
    ends = f"{signed(interval.ci_low, 3)} to {signed(interval.ci_high, 3)}"
    p = p_value(result.p_holm, result.p_floor)
    level = number(100 * result.sensitivity.confidence)
    corrected = f"Holm-corrected for {number(result.n_comparisons)} comparisons"
    figures = f"{result.change()}{seeds}, {level}% {kind} {ends}, {p}, {corrected})"
    if doubts := result.doubts():
        return f"No clear change: {figures}; {' and '.join(doubts)}."
    return f"{'Better' if comparison.delta > 0 else 'Worse'}: {figures}."


def too_few(result: HeadlineResult) -> str:
    """Returns a warning where the test has too few queries for the difference in recall@10 that it shows; else ""."""
    test, delta = result.sensitivity, result.paired[HEADLINE].delta
    if not delta or abs(delta) >= test.smallest_detectable:
        return ""
    needed = test.queries_for(delta)
    n = "More than a million" if needed > 1_000_000 else f"About {number(needed)}"
    return (
        f"The test set is too small for a change of {signed(delta, 3)} in {HEADLINE}: with {number(test.n_queries)} "
        f"queries, the test (of one comparison, uncorrected) detects a change of that size with power "
        f"{percent(test.chance_of(delta), 0)}, and only one of {test.smallest_detectable:.3f} or more with power "
        f"{percent(test.power, 0)}. A significant result at such low power overstates the effect. "
        f"{n} test queries are needed."
    )


def verdict_despite_leaks(whole: HeadlineResult, clean: HeadlineResult | None, leaks: str) -> str:
    """Returns the verdict where test overlaps with train or dev: that of the queries without leaks.

    Args:
        whole: on all test queries.
        clean: on the test queries without leaks; None where fewer than two are left.
        leaks: counts of test items that are also in train or dev, in words.
    """
    overlap = f"{leaks} of test are also in train or dev"
    on_all = f"on all {number(whole.n_queries)}, {whole.change()})"
    if clean is None:
        return f"Not measurable: fewer than two test queries are without leaks ({overlap}); {on_all}."
    counted = f"the {number(clean.n_queries)} of {number(whole.n_queries)} test queries without leaks"
    return f"{verdict(clean)} Measured on {counted} ({overlap}); {on_all}."
