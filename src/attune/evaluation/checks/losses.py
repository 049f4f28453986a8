"""The three-outcome rule in words: does a change lose at most a margin?"""

from attune.evaluation.checks.limits import GateParams
from attune.evaluation.checks.record import Outcome
from attune.evaluation.statistics.decision import MOST_QUERIES, Change, Status, decide, decide_shipped, queries_needed

POWER = 0.8  # with which the number of queries that is named would decide


def worded(change: Change, digits: int = 3) -> str:
    """Returns a change with its interval."""
    return f"{change.delta:+.{digits}f}, interval {change.low:+.{digits}f} to {change.high:+.{digits}f}"


def loss_outcome(
    words: str,
    shipped: Change,
    seeds: Change | None,
    margin: float,
    n: tuple[int, int],
    limits: GateParams,
    fault: str = "",
    knob: str = "gate.margin",
) -> Outcome:
    """Decides whether a loss above the margin is ruled out or certain; else says how many queries would tell.

    Args:
        words: the change in words.
        shipped: change of the encoder that ships.
        seeds: mean change over seeds; None with one seed, and between revisions.
        margin: largest loss that is accepted, by the knob; below 0 the least gain.
        n: number of compared queries, and of their clusters.
        limits: section gate.
        fault: what does not pass, in words; "" for a loss above the margin.
        knob: that sets what passes.
    """
    status = decide_shipped(shipped, seeds, margin, limits.confidence)
    fault = fault or f"a loss above {margin:g}"
    if status is not Status.UNDECIDED:
        why = "is ruled out" if status is Status.PASSED else "is certain"
        return Outcome(status, f"{words}: {fault} {why} ({knob})")
    # where the shipped encoder passes, the mean over seeds is what leaves it open
    is_by_seeds = seeds is not None and decide(shipped, margin, limits.confidence) is Status.PASSED
    why = "seeds differ too much: train more (train.seeds)" if is_by_seeds else _missing(shipped, margin, n, limits)
    return Outcome(status, f"{words}: {fault} is not ruled out; {why} ({knob})")


def _missing(change: Change, margin: float, n: tuple[int, int], limits: GateParams) -> str:
    """Returns what is missing for a decision, in words."""
    if change.high < -margin:
        return f"the interval lies beyond it, but the test of no difference gives p = {change.p:.3f}; add test queries"
    needed = queries_needed(change, *n, margin, limits.confidence, POWER)
    if needed is None or needed > MOST_QUERIES:
        return "not even a million test queries would tell"
    return f"about {needed:,} test queries instead of {n[0]:,} would tell"
