"""Tuned against base on the test queries."""

from attune.evaluation.checks.facts import Facts
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.checks.losses import loss_outcome, worded
from attune.evaluation.checks.record import Outcome, Outcomes, check
from attune.evaluation.statistics.decision import Change, Status

REPORT, SEEDS = "metrics/report.json", "metrics/seeds.json"
COMPARED = ("recall@10", "mrr@10", "ndcg@10")
VERDICTS = {"Better": Status.PASSED, "No change": Status.PASSED, "Worse": Status.FAILED}


@check("ATT001", "verdict on the headline measure", REPORT, fails_gate=False)
def verdict(facts: Facts, limits: GateParams) -> Outcomes:
    """The first sentence of the report: *Better* and *No change* pass, *Worse* fails, anything else is undecided. It
    warns only: what a model may have lost is decided by ATT007, what it must have gained by ATT004."""
    sentence = str(facts.of("report", "verdict"))
    yield Outcome(VERDICTS.get(sentence.partition(":")[0], Status.UNDECIDED), sentence)


@check("ATT002", "enough test queries", REPORT, fails_gate=False)
def enough_queries(facts: Facts, limits: GateParams) -> Outcomes:
    """Undecided where the test detects a change of the size of the one seen with a power below `report.power`. A
    significant change at such low power overstates the effect; the sentence says how many queries would do."""
    if warning := facts.of("report", "too_few_queries"):
        yield Outcome(Status.UNDECIDED, str(warning))
    elif (smallest := facts.get("report", "smallest_detectable")) is not None:
        n = facts.number("report", "n_test_queries")
        power = facts.get("params", "report", "power", default=0.8)
        headline = facts.get("report", "headline", default=COMPARED[0])
        words = f"{n:,.0f} test queries detect a change of {smallest:.3f} in {headline} with power {power:.0%}"
        yield Outcome(Status.PASSED, f"{words}, Holm-corrected")


@check("ATT004", "gain in recall@10", REPORT, SEEDS)
def least_gain(facts: Facts, limits: GateParams) -> Outcomes:
    """Passes where the interval of the gain in recall@10 lies above `gate.min_delta` and the test agrees, fails where
    it lies below. Not applicable while that limit is 0 or less: ATT007 judges losses."""
    if limits.min_delta > 0:
        fault = f"a gain below {limits.min_delta:g}", "gate.min_delta"
        yield _against_base(facts, limits, COMPARED[0], -limits.min_delta, *fault)
    else:
        yield Outcome(Status.NOT_APPLICABLE, "no gain is required (gate.min_delta is 0)")


@check("ATT007", "shipped encoder below base", REPORT, SEEDS, on_top=True)
def loss_against_base(facts: Facts, limits: GateParams) -> Outcomes:
    """No measure may have lost more than `gate.margin` against base. Passes where the interval excludes such a loss,
    fails where it excludes every smaller one and the test agrees, and is undecided otherwise. With several seeds the
    shipped encoder's own interval decides, and a pass needs that over seeds, too. Where test leaks, the queries that do
    not leak are judged. About 1,000 queries can rule out a loss of .02 (docs/decisions.md)."""
    for measure in COMPARED:
        yield _against_base(facts, limits, measure, limits.margin)


def counts(facts: Facts) -> tuple[int, int]:
    """Returns the number of test queries, and of those without a lexical leak."""
    n, clean = facts.number("report", "n_test_queries"), facts.number("report", "without_leaks", "lexical", "n_queries")
    return int(n), int(clean)


def _against_base(facts: Facts, limits: GateParams, measure: str, margin: float, *fault: str) -> Outcome:
    """Decides whether a measure lost at most the margin; below 0, whether it gained at least as much."""
    n, clean = counts(facts)
    if n != clean and facts.get("report", "paired_without_leaks") == {}:  # fewer than two clusters without leaks
        return Outcome(Status.UNDECIDED, f"{measure}: too few of {n:,} test queries are without leaks (ATT008)")
    shipped = _change(facts, "paired" if n == clean else "paired_without_leaks", measure, has_p=True)
    words, seeds = f"{measure} {worded(shipped)}", None
    if (n_seeds := facts.number("seeds", "n_seeds")) > 1:
        seeds = _change(facts, "paired_over_seeds", measure, has_p=False)
        words += f", over {n_seeds:.0f} seeds {worded(seeds)}"
    n_clusters = int(facts.number("report", "n_test_clusters")) * clean // n
    return loss_outcome(words, shipped, seeds, margin, (clean, n_clusters), limits, *fault)


def _change(facts: Facts, intervals: str, measure: str, has_p: bool) -> Change:
    """Reads a change; its p-value is the corrected one where the report has it."""
    delta, low, high = (facts.number("report", intervals, measure, key) for key in ("delta", "ci_low", "ci_high"))
    p_value = facts.get("report", intervals, measure, "p_value")
    p = facts.get("report", intervals, measure, "p_holm", default=p_value)
    return Change(delta, low, high, p if has_p else None)
