"""Checks of the exported graphs against torch."""

from attune.evaluation.checks.facts import Facts
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.checks.record import Outcome, Outcomes, Status, check, judged
from attune.evaluation.report.markdown import percent

REPORT = "metrics/report.json"


@check("ATT015", "parity with torch", "metrics/export.json")
def parity(facts: Facts, limits: GateParams) -> Outcomes:
    """Fails where vectors of the ONNX graph differ from torch's by more than rounding (`gate.min_parity_cosine`)."""
    lowest = facts.number("export", "fp32_min_cosine")
    words = f"lowest cosine of ONNX fp32 to torch {lowest:.6f}"
    is_good = lowest >= limits.min_parity_cosine
    yield judged(is_good, f"{words}; at least {limits.min_parity_cosine:g} (gate.min_parity_cosine)")


@check("ATT017", "int8 file", REPORT, on_top=True)
def int8(facts: Facts, limits: GateParams) -> Outcomes:
    """Passes where the int8 file keeps at least `gate.min_int8_kept` of the tuned encoder's nDCG@10 on test and the
    interval excludes a loss above `gate.margin`. Fails where the interval lies below the floor: ship fp32, or see the
    knobs `export.int8_*`. Undecided otherwise."""
    share = facts.number("report", "ndcg@10_kept_share", "tuned_int8")
    words = f"int8 keeps {percent(share)} of tuned nDCG@10"
    asked = f"at least {percent(limits.min_int8_kept)} (gate.min_int8_kept)"
    if facts.get("report", "ndcg@10_kept_interval", "tuned_int8") is None:  # figures of earlier revisions
        yield judged(share >= limits.min_int8_kept, f"{words}; {asked}")
        return
    low, high = (facts.number("report", "ndcg@10_kept_interval", "tuned_int8", end) for end in ("ci_low", "ci_high"))
    most = limits.margin / (facts.number("report", "systems", "tuned", "ndcg@10") or 1)  # lost share of tuned
    words = f"{words}, interval {percent(low)} to {percent(high)}; {asked}"
    if high < limits.min_int8_kept:
        yield Outcome(Status.FAILED, f"{words}: a larger loss is certain")
    elif share < limits.min_int8_kept or 1 - low >= most:
        yield Outcome(Status.UNDECIDED, f"{words}: so many test queries cannot tell")
    else:
        yield Outcome(Status.PASSED, f"{words}, and a loss above {limits.margin:g} is ruled out (gate.margin)")
