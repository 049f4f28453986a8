"""May this model be merged? Floors from params.yaml against the figures in metrics/; a figure that is missing fails.

The gate reads what the pipeline left in git and computes nothing anew, so it needs neither data nor models: it runs in
a fresh clone, in a pull request, in seconds. Nor does it believe everything: figures must be those that dvc.lock has
the hashes of, dvc.lock that of the code, and nothing may be worse than at the revision that the result is merged into.
"""

from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from attune.cli.review import history, regressions
from attune.cli.review.findings import Figures, Finding, Missing, Verdicts, applied
from attune.cli.review.history import Revision
from attune.cli.review.regressions import loosened
from attune.errors import BadInput
from attune.evaluation.report.markdown import percent
from attune.stage import PARAMS_FILE, load_params

COMPARED = ("recall@10", "mrr@10", "ndcg@10")


class GateParams(regressions.AgainstParams):
    """What a model must keep to; figures beyond these fail the gate."""

    min_delta: float = Field(ge=-1, le=1)
    max_leak_share: float = Field(ge=0, le=1)
    allow_overfitting: bool
    allow_drift: bool
    min_parity_cosine: float = Field(ge=-1, le=1)
    min_onnx_kept: float = Field(ge=0, le=2)
    min_int8_kept: float = Field(ge=0, le=2)


def judge(params: GateParams, folder: Path) -> list[Finding]:
    """Applies every rule about figures to the receipts in a folder.

    Raises:
        BadInput: there is no such folder.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder}: not found; run `dvc repro`, or name the folder of a project that has metrics/")
    return applied(RULES, Figures(reader(folder), str(folder)), params)


def reader(folder: Path) -> Callable[[str], str | None]:
    """Reads a folder's files by their paths in it; None where there is no such file."""

    def read(path: str) -> str | None:
        file = folder / path
        return file.read_text(encoding="utf-8") if file.is_file() else None

    return read


def review(folder: Path, against: str) -> list[Finding]:
    """Everything that the gate asks of a project: its figures, its lock, and what a revision had, if one is named.

    Raises:
        BadInput: it cannot be told: no project there, no such revision, parameters out of bounds.
    """
    params = load_params(GateParams, "gate", folder / PARAMS_FILE)
    findings = judge(params, folder / regressions.METRICS)
    with history.opened(folder) as repo:
        findings += applied(history.RULES, repo)
        if against:
            old = Revision(repo, against)
            findings += applied(regressions.RULES, params, old, reader(folder))
            findings += _notes(old, reader(folder))
    return findings


def _notes(old: Revision, read: regressions.Read) -> list[Finding]:
    try:
        return [Finding("limits", True, words, is_note=True) for _, words in loosened(old, read)]
    except Missing as missing:
        return [Finding("limits", False, f"{missing}; compare with a revision whose parameters can be read")]


def _gain(figures: Figures, params: GateParams) -> Verdicts:
    """No measure significantly below the baseline's; where the test split leaks, on the queries that do not."""
    intervals = _intervals(figures)
    for measure in COMPARED:
        delta, low, high = (figures.number("report", intervals, measure, key) for key in ("delta", "ci_low", "ci_high"))
        words = f"{measure} {delta:+.3f}, interval {low:+.3f} to {high:+.3f}"
        yield high >= 0, f"{words}; the interval must not lie below 0"
        if measure == COMPARED[0]:
            yield delta >= params.min_delta, f"{words}; delta at least {params.min_delta:+g} (gate.min_delta)"


def _intervals(figures: Figures) -> str:
    """Which of the report's intervals its verdict goes by."""
    n, n_clean = (figures.number("report", *keys) for keys in (("n_test_queries",), _clean()))
    paired = "paired" if n == n_clean else "paired_without_leaks"
    # those over seeds cover other seeds, too, and leave out what leaks; with hardly a clean query they would not
    has_any = n == n_clean or bool(figures.of("report", paired))
    return "paired_over_seeds" if has_any and figures.number("seeds", "n_seeds") > 1 else paired


def _leaks(figures: Figures, params: GateParams) -> Verdicts:
    n, n_clean = (figures.number("report", *keys) for keys in (("n_test_queries",), _clean()))
    share = (n - n_clean) / n if n else 1.0
    words = f"{n - n_clean:.0f} of {n:.0f} test queries leak ({100 * share:.3g}%)"
    yield share <= params.max_leak_share, f"{words}; at most {100 * params.max_leak_share:.3g}% (gate.max_leak_share)"


def _clean() -> tuple[str, ...]:
    return "without_leaks", "lexical", "n_queries"


def _overfitting(figures: Figures, params: GateParams) -> Verdicts:
    is_bad, words = figures.of("report", "overfitting", "is_overfitted"), figures.of("report", "overfitting", "verdict")
    yield params.allow_overfitting or is_bad is False, str(words)


def _drift(figures: Figures, params: GateParams) -> Verdicts:
    is_bad, words = figures.of("drift", "is_drifted"), figures.of("drift", "verdict")
    yield params.allow_drift or is_bad is False, str(words)


def _retention(figures: Figures, _params: GateParams) -> Verdicts:
    kept = figures.number("merge", "retention")
    words = f"the merged encoder keeps {percent(kept)} of the base's nDCG@10 on held-out practice pairs"
    yield figures.of("merge", "is_retention_met") is True, f"{words}; the floor is merge.min_retention"


def _parity(figures: Figures, params: GateParams) -> Verdicts:
    least = figures.number("export", "fp32_min_cosine")
    words = f"least cosine of ONNX fp32 to torch {least:.6f}"
    yield least >= params.min_parity_cosine, f"{words}; at least {params.min_parity_cosine:g} (gate.min_parity_cosine)"


def _kept(figures: Figures, params: GateParams) -> Verdicts:
    for system, floor in (("onnx", params.min_onnx_kept), ("onnx_int8", params.min_int8_kept)):
        share = figures.number("report", "ndcg@10_kept_share", system)
        key = f"gate.min_{system.removeprefix('onnx_') if '_' in system else system}_kept"
        yield share >= floor, f"{system} keeps {percent(share)} of tuned nDCG@10; at least {percent(floor)} ({key})"


RULES = {
    "gain": _gain,
    "leakage": _leaks,
    "overfitting": _overfitting,
    "drift": _drift,
    "retention": _retention,
    "parity": _parity,
    "what ships": _kept,
}
