"""Checks of the exported graphs against torch."""

from attune.evaluation.checks.facts import Facts
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.checks.record import Outcome, Outcomes, check, judged
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
    """Fails where the fp32 file keeps less than `gate.min_onnx_kept` of the tuned encoder's nDCG@10 on test."""
    yield _kept(facts, "onnx", limits.min_onnx_kept, "gate.min_onnx_kept")


@check("ATT017", "int8 file", REPORT)
def int8(facts: Facts, limits: GateParams) -> Outcomes:
    """Fails where the int8 file keeps less than `gate.min_int8_kept` of the tuned encoder's nDCG@10 on test: ship fp32,
    or see the knobs `export.int8_*`."""
    yield _kept(facts, "onnx_int8", limits.min_int8_kept, "gate.min_int8_kept")


def _kept(facts: Facts, system: str, floor: float, knob: str) -> Outcome:
    share = facts.number("report", "ndcg@10_kept_share", system)
    words = f"{system} keeps {percent(share)} of tuned nDCG@10; at least {percent(floor)} ({knob})"
    return judged(share >= floor, words)
