"""Checks of the exported graphs against torch."""

from attune.evaluation.checks.facts import Facts
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.checks.losses import loss_outcome
from attune.evaluation.checks.record import Outcomes, check, judged
from attune.evaluation.report.markdown import percent
from attune.evaluation.statistics.decision import Change

REPORT = "metrics/report.json"


@check("ATT015", "parity with torch", "metrics/export.json")
def parity(facts: Facts, limits: GateParams) -> Outcomes:
    """Fails where vectors of the ONNX graph differ from torch's by more than rounding (`gate.min_parity_cosine`). Not
    applicable to an encoder behind an endpoint, which has no graph."""
    if not _has_graphs(facts):
        return
    lowest = facts.number("export", "fp32_min_cosine")
    words = f"lowest cosine of ONNX fp32 to torch {lowest:.6f}"
    is_good = lowest >= limits.min_parity_cosine
    yield judged(is_good, f"{words}; at least {limits.min_parity_cosine:g} (gate.min_parity_cosine)")


@check("ATT017", "int8 file", REPORT, on_top=True)
def int8(facts: Facts, limits: GateParams) -> Outcomes:
    """Passes where the interval of the share of the tuned encoder's nDCG@10 on test that the int8 file keeps lies above
    `gate.min_int8_kept`. Fails where it lies below: ship fp32, or see the knobs `export.int8_*`. Undecided
    otherwise. Not applicable to an encoder behind an endpoint, which has no graph."""
    if not _has_graphs(facts):
        return
    share = facts.number("report", "ndcg@10_kept_share", "tuned_int8")
    low, high = (facts.number("report", "ndcg@10_kept_interval", "tuned_int8", end) for end in ("ci_low", "ci_high"))
    tuned, floor = facts.number("report", "systems", "tuned", "ndcg@10") or 1.0, limits.min_int8_kept
    words = f"int8 keeps {percent(share)} of tuned nDCG@10, interval {percent(low)} to {percent(high)}"
    lost = Change(*(tuned * (kept - 1) for kept in (share, low, high)))
    n = int(facts.number("report", "n_test_queries")), int(facts.number("report", "n_test_clusters"))
    wanted = f"less than {percent(floor)}", "gate.min_int8_kept"
    yield loss_outcome(words, lost, None, tuned * (1 - floor), n, limits, *wanted)


def _has_graphs(facts: Facts) -> bool:
    """Tells whether anything was exported: nothing is where the encoder is behind an endpoint."""
    return bool(facts.get("export", "n_graphs") != 0)
