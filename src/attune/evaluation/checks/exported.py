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


@check("ATT016", "fp32 file", REPORT)
def fp32(facts: Facts, limits: GateParams) -> Outcomes:
    """Judges the share of the tuned encoder's nDCG@10 on test that the fp32 file keeps, by `gate.min_onnx_kept`, as
    ATT017 does. But where the file computes torch's vectors (ATT015) and torch ran in lower precision, documents with
    nearly equal scores change places: then only a certain loss above `gate.margin`, too large for that, fails."""
    lowest = facts.get("export", "fp32_min_cosine", default=0.0)
    is_equal = isinstance(lowest, int | float) and lowest >= limits.min_parity_cosine
    yield _kept(facts, limits, "onnx", limits.min_onnx_kept, "gate.min_onnx_kept", is_equal)


@check("ATT017", "int8 file", REPORT, on_top=True)
def int8(facts: Facts, limits: GateParams) -> Outcomes:
    """Passes where the int8 file keeps at least `gate.min_int8_kept` of the tuned encoder's nDCG@10 on test and the
    interval excludes a loss above `gate.margin`. Fails where the interval lies below the floor: ship fp32, or see the
    knobs `export.int8_*`. Undecided otherwise."""
    yield _kept(facts, limits, "onnx_int8", limits.min_int8_kept, "gate.min_int8_kept", is_equal=False)


def _kept(facts: Facts, limits: GateParams, system: str, floor: float, knob: str, is_equal: bool) -> Outcome:
    share = facts.number("report", "ndcg@10_kept_share", system)
    words = f"{system} keeps {percent(share)} of tuned nDCG@10"
    asked = f"at least {percent(floor)} ({knob})"
    if facts.get("report", "ndcg@10_kept_interval", system) is None:  # figures of earlier revisions
        return judged(share >= floor, f"{words}; {asked}")
    low, high = (facts.number("report", "ndcg@10_kept_interval", system, end) for end in ("ci_low", "ci_high"))
    most = limits.margin / (facts.number("report", "systems", "tuned", "ndcg@10") or 1)  # lost share of tuned
    words = f"{words}, interval {percent(low)} to {percent(high)}; {asked}"
    if high < (min(floor, 1 - most) if is_equal else floor):
        return Outcome(Status.FAILED, f"{words}: a larger loss is certain")
    if is_equal:
        return Outcome(Status.PASSED, f"{words}, or what precision explains: its vectors are torch's (ATT015)")
    if share < floor or 1 - low >= most:
        return Outcome(Status.UNDECIDED, f"{words}: so many test queries cannot tell")
    return Outcome(Status.PASSED, f"{words}, and a loss above {limits.margin:g} is ruled out (gate.margin)")
