"""Verdict on the headline measure: base against tuned, in sentences that can be quoted.

Better, Worse, No change or Cannot tell, by the rule of `decision`: the encoder that ships is judged by its own interval
and test, and Better also needs the interval over seeds, where there are several. No change is a claim, too: the
intervals exclude every change as large as the margin.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from attune.evaluation.report.markdown import number, p_value, percent, signed
from attune.evaluation.scoring.measures import HEADLINE
from attune.evaluation.statistics.chance import is_significant, significance_level
from attune.evaluation.statistics.decision import MOST_QUERIES, Change, Status, decide_shipped, queries_needed
from attune.evaluation.statistics.holm import holm
from attune.evaluation.statistics.power import Sensitivity
from attune.evaluation.statistics.significance import Comparison, Interval

OVER_SEEDS = ("recall@10", "mrr@10", "ndcg@10")  # measures that stage seeds compares over seeds, in its order
CLAIMS = {Status.PASSED: "Better", Status.FAILED: "Worse"}
SAME, UNDECIDED = "No change", "Cannot tell"


@dataclass(frozen=True)
class HeadlineResult:
    """Base against tuned on the same queries, with the headline measure in more detail.

    Attributes:
        paired: comparisons of the shipped encoder by measure.
        corrected: p-values of these after Holm's correction for all comparisons of the report.
        base: mean of the headline measure of base.
        tuned: that of tuned.
        sensitivity: power of the test of the headline measure on these queries, among all comparisons of the report.
        over_seeds: by measure, mean over seeds with an interval over queries and seeds; empty with one seed.
        n_seeds: number of trained seeds.
        margin: change that is as good as none.
        headline: measure of the verdict (report.headline).
        other_p_values: p-values of the comparisons on other tasks, for which Holm's correction counts, too.
    """

    paired: Mapping[str, Comparison]
    corrected: Mapping[str, float]
    base: float
    tuned: float
    sensitivity: Sensitivity
    over_seeds: Mapping[str, Interval]
    n_seeds: int
    margin: float
    headline: str = HEADLINE
    other_p_values: tuple[float, ...] = ()

    def with_headline(self, one: Comparison) -> "HeadlineResult":
        """Returns the result with another comparison of the headline measure; all other comparisons stay."""
        paired = {**self.paired, self.headline: one}
        return replace(self, paired=paired, corrected=corrected_for(paired, self.other_p_values))

    @property
    def n_queries(self) -> int:
        """Number of compared queries."""
        return self.sensitivity.n_queries

    @property
    def shipped(self) -> Change:
        """Change of the encoder that ships, with its corrected p-value."""
        one = self.paired[self.headline]
        return Change(one.delta, one.ci_low, one.ci_high, self.corrected[self.headline])

    @property
    def mean_over_seeds(self) -> Change | None:
        """Mean change over seeds; None with one seed."""
        one = self.over_seeds.get(self.headline)
        return Change(one.delta, one.ci_low, one.ci_high) if one else None

    @property
    def answer(self) -> str:
        """Better, Worse, No change or Cannot tell."""
        changes = [change for change in (self.shipped, self.mean_over_seeds) if change]
        outcome = decide_shipped(self.shipped, self.mean_over_seeds, 0, self.sensitivity.confidence)
        none = SAME if all(change.is_within(self.margin) for change in changes) else UNDECIDED
        return CLAIMS.get(outcome, none)

    def doubts(self) -> list[str]:
        """Returns what a claim of a gain or a loss lacks, in words."""
        level, shipped, over_seeds = significance_level(self.sensitivity.confidence), self.shipped, self.mean_over_seeds
        doubts = ["the interval contains 0"] if shipped.low <= 0 <= shipped.high else []
        if not is_significant(self.corrected[self.headline], self.sensitivity.confidence):
            doubts.append(f"the corrected p-value is above {level:g}")
        if over_seeds and over_seeds.low <= 0:
            lies = "contains 0" if over_seeds.high >= 0 else "lies below 0"
            doubts.append(f"the interval over seeds {lies}")
        return doubts

    def change(self) -> str:
        """Change of the headline measure in words, with an open parenthesis at the end."""
        return f"{self.headline} went from {self.base:.3f} to {self.tuned:.3f} ({signed(self.shipped.delta, 3)}"


def corrected_for(paired: Mapping[str, Comparison], others: Sequence[float]) -> dict[str, float]:
    """Returns the p-values by measure after Holm's correction for all of them and for other p-values."""
    p_values = holm([*(one.p_value for one in paired.values()), *others])
    return dict(zip(paired, p_values, strict=False))


def verdict(result: HeadlineResult) -> str:
    """Returns one sentence, which begins with Better, Worse, No change or Cannot tell, and a colon."""
    answer = result.answer
    if not any(paired.wins or paired.losses for paired in result.paired.values()) and not result.over_seeds:
        same = f"tuned scores exactly as base on every query and measure ({result.headline} {result.base:.3f}"
        return f"{answer}: {same}, {_interval(result, result.shipped)} of the change)."
    p = p_value(result.corrected[result.headline])
    corrected = f"Holm-corrected for {number(result.sensitivity.n_comparisons)} comparisons"
    figures = f"{result.change()}, {_interval(result, result.shipped)}, {p}, {corrected}{_seeds(result)})"
    doubts = result.doubts() if answer == UNDECIDED else []
    return f"{answer}: {'; '.join(filter(None, [figures, ' and '.join(doubts)]))}."


def _interval(result: HeadlineResult, change: Change) -> str:
    level = number(100 * result.sensitivity.confidence)
    return f"{level}% interval {signed(change.low, 3)} to {signed(change.high, 3)}"


def _seeds(result: HeadlineResult) -> str:
    """Returns the mean over seeds with its interval, in words; "" with one seed."""
    if not (change := result.mean_over_seeds):
        return ""
    n, s = result.n_seeds, "" if result.n_seeds == 2 else "s"  # two seeds have one degree of freedom
    return (
        f"; {signed(change.delta, 3)} on average over {n} seeds, {_interval(result, change)} over queries and seeds, "
        f"by t with {n - 1} degree{s} of freedom for the seeds"
    )


def too_few(result: HeadlineResult) -> str:
    """Returns a warning where the test has too few queries for the difference that it shows; else ""."""
    test, delta = result.sensitivity, result.shipped.delta
    if abs(delta) >= test.smallest_detectable or result.answer == SAME:
        return ""
    return " ".join(filter(None, [_too_small(test, delta, result.headline), _enough(result)]))


def _too_small(test: Sensitivity, delta: float, headline: str) -> str:
    """Returns how little a test detects, in words."""
    of = f"a change of {signed(delta, 3)} in {headline}" if delta else f"telling whether {headline} changed"
    who = f"with {number(test.n_queries)} queries, the test"
    who += f" (Holm-corrected for {number(test.n_comparisons)} comparisons)" if test.n_comparisons > 1 else ""
    least, power = test.smallest_detectable, percent(test.power, 0)
    what = f"one of {least:.3f} or more" if least < 1 else "none, however large,"
    if not delta:
        return f"The test set is too small for {of}: {who} detects {what} with power {power}."
    return (
        f"The test set is too small for {of}: {who} detects a change of that size with power "
        f"{percent(test.chance_of(delta), 0)}, and {'only ' if least < 1 else ''}{what} with power {power}. "
        "A significant result at such low power overstates the effect."
    )


def _enough(result: HeadlineResult) -> str:
    """Returns how many queries would be enough, in words: for the change seen; without one, to exclude the margin's."""
    test, delta = result.sensitivity, result.shipped.delta
    if delta:
        return f"{_about(test.queries_for(delta))} test queries are needed."
    needed = queries_needed(result.shipped, test.n_queries, test.n_clusters, result.margin, test.confidence, test.power)
    return f"{_about(needed)} test queries are needed to exclude a loss of {result.margin:g}." if needed else ""


def _about(n: int) -> str:
    return "More than a million" if n > MOST_QUERIES else f"About {number(n)}"


def verdict_despite_leaks(whole: HeadlineResult, clean: HeadlineResult | None, leaks: str) -> str:
    """Returns the verdict where test overlaps with train or dev: that of the queries without leaks.

    Args:
        whole: on all test queries.
        clean: on the test queries without leaks; None where these are in fewer than two clusters.
        leaks: counts of test items that are also in train or dev, in words.
    """
    overlap = f"{leaks} of test are also in train or dev"
    on_all = f"on all {number(whole.n_queries)}, {whole.change()})"
    if clean is None:
        return f"Not measurable: fewer than two clusters of test queries are without leaks ({overlap}); {on_all}."
    counted = f"the {number(clean.n_queries)} of {number(whole.n_queries)} test queries without leaks"
    return f"{verdict(clean)} Measured on {counted} ({overlap}); {on_all}."
