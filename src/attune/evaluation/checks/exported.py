"""Checks of the exported graphs against torch."""

from attune.evaluation.checks.facts import Facts
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.checks.losses import loss_outcome
from attune.evaluation.checks.record import Outcome, Outcomes, check, judged
from attune.evaluation.report.markdown import percent
from attune.evaluation.statistics.decision import Change

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
    """Passes where the interval of the share of the tuned encoder's nDCG@10 on test that the int8 file keeps lies above
    `gate.min_int8_kept`. Fails where it lies below: ship fp32, or see the knobs `export.int8_*`. Undecided
    otherwise."""
    yield _kept(facts, limits, "onnx_int8", limits.min_int8_kept, "gate.min_int8_kept", is_equal=False)


def _kept(facts: Facts, limits: GateParams, system: str, floor: float, knob: str, is_equal: bool) -> Outcome:
    share = facts.number("report", "ndcg@10_kept_share", system)
    low, high = (facts.number("report", "ndcg@10_kept_interval", system, end) for end in ("ci_low", "ci_high"))
    tuned = facts.number("report", "systems", "tuned", "ndcg@10") or 1.0
    words = f"{system} keeps {percent(share)} of tuned nDCG@10, interval {percent(low)} to {percent(high)}"
    if is_equal:
        why = "its vectors are torch's (ATT015), so precision explains a loss up to"
        return judged(high >= min(floor, 1 - limits.margin / tuned), f"{words}; {why} {limits.margin:g} (gate.margin)")
    lost = Change(*(tuned * (kept - 1) for kept in (share, low, high)))
    n = int(facts.number("report", "n_test_queries")), int(facts.number("report", "n_test_clusters"))
    return loss_outcome(words, lost, None, tuned * (1 - floor), n, limits, f"less than {percent(floor)}", knob)
