"""What the figures mean, in sentences that a person can quote."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from attune.errors import BadInput
from attune.markdown import number, p_value, signed
from attune.significance import Comparison

HEADLINE = "recall@10"


@dataclass(frozen=True)
class Outcome:
    """Base against tuned on the same queries: the comparisons by measure, and the two means of recall@10."""

    paired: Mapping[str, Comparison]
    base: float
    tuned: float
    n_queries: int

    def moved(self) -> str:
        """Where recall@10 went."""
        delta = signed(self.paired[HEADLINE].delta, 3)
        return f"{HEADLINE} went from {self.base:.3f} to {self.tuned:.3f} ({delta}"


def verdict(outcome: Outcome, confidence: float) -> str:
    """One sentence on recall@10 that a person can quote."""
    found = outcome.paired[HEADLINE]
    if not any(comparison.wins or comparison.losses for comparison in outcome.paired.values()):
        return f"No change: tuned scores exactly as base on every query and measure ({HEADLINE} {outcome.base:.3f})."
    between = f"{signed(found.ci_low, 3)} to {signed(found.ci_high, 3)}"
    moved = f"{outcome.moved()}, {number(100 * confidence)}% interval {between}, {p_value(found.p_value)})"
    if found.ci_low > 0:
        return f"Better: {moved}."
    if found.ci_high < 0:
        return f"Worse: {moved}."
    return f"No clear change: {moved}; the interval contains 0."


def verdict_despite_leaks(whole: Outcome, clean: Outcome | None, leaks: str, confidence: float) -> str:
    """The verdict where training or choosing saw part of the test: that of the queries that do not leak.

    Args:
        whole: of all test queries.
        clean: of those that do not leak; None where fewer than two are left.
        leaks: what of test is also in train or dev, in words.
        confidence: of the interval.
    """
    seen = f"{leaks} of test are also in train or dev"
    of_all = f"on all {number(whole.n_queries)}, {whole.moved()})"
    if clean is None:
        return f"Not measurable: hardly a test query is clean ({seen}); {of_all}."
    counted = f"the {number(clean.n_queries)} of {number(whole.n_queries)} test queries that do not leak"
    return f"{verdict(clean, confidence)} Counted on {counted} ({seen}); {of_all}."


def leaks_of_test(split: Mapping[str, Any]) -> str:
    """What of test is also in train or dev, in words ("2 near queries, 1 exact documents"); empty when nothing is.

    Raises:
        BadInput: the receipt of the split holds no audit.
    """
    counts = {key.removeprefix("test_leaks."): n for key, n in split.items() if key.startswith("test_leaks.")}
    if not counts:
        raise BadInput("report: the receipt of split has no test_leaks.*; run `dvc repro`")
    return ", ".join(f"{number(n)} {kind.replace('_', ' ')}" for kind, n in counts.items() if n)
