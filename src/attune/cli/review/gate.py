"""Merge gate: limits of section gate against the figures in metrics/; a missing figure fails.

The gate reads what the pipeline left in git and computes nothing anew, so it needs neither data nor models and runs in
seconds in a fresh clone, as in a pull request. The figures must have the hashes in dvc.lock, dvc.lock must match the
code, and no measure may be worse than at the revision that the result is merged into.
"""

from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from attune.cli.review.findings import Checks, Figures, Finding, Missing, check_rules
from attune.cli.review.history import LOCK_RULES, Revision, dvc_project
from attune.cli.review.regressions import METRICS, REVISION_RULES, RevisionParams, loosened
from attune.errors import BadInput
from attune.evaluation.report.markdown import percent
from attune.stage import PARAMS_FILE, load_params

COMPARED = ("recall@10", "mrr@10", "ndcg@10")


class GateParams(RevisionParams):
    """Limits of the gate; a figure beyond one of them fails."""

    min_delta: float = Field(ge=-1, le=1)
    max_leak_share: float = Field(ge=0, le=1)
    allow_overfitting: bool
    allow_drift: bool
    min_parity_cosine: float = Field(ge=-1, le=1)
    min_onnx_kept: float = Field(ge=0, le=2)
    min_int8_kept: float = Field(ge=0, le=2)


def judge_figures(params: GateParams, folder: Path) -> list[Finding]:
    """Applies every rule about figures to the receipts in a folder.

    Raises:
        BadInput: the folder does not exist.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder}: not found; run `dvc repro`, or name the folder of a project that has metrics/")
    return check_rules(FIGURE_RULES, Figures(reader(folder), str(folder)), params)


def reader(folder: Path) -> Callable[[str], str | None]:
    """Returns a function that reads a file by its path in the folder; None where there is no such file."""

    def read(path: str) -> str | None:
        file = folder / path
        return file.read_text(encoding="utf-8") if file.is_file() else None

    return read


def judge_project(folder: Path, against: str) -> list[Finding]:
    """Applies all rules to a project: to its figures, its dvc.lock and, if `against` is given, to the changes since.

    Raises:
        BadInput: no project there, no such revision, or parameters out of bounds: the gate cannot tell.
    """
    params = load_params(GateParams, "gate", folder / PARAMS_FILE)
    findings = judge_figures(params, folder / METRICS)
    with dvc_project(folder) as repo:
        findings += check_rules(LOCK_RULES, repo)
        if against:
            old, read = Revision(repo, against), reader(folder)
            findings += check_rules(REVISION_RULES, params, old, read)
            try:
                findings += [Finding("limits", True, sentence, is_note=True) for _, sentence in loosened(old, read)]
            except Missing as missing:
                hint = "compare with a revision whose parameters can be read"
                findings.append(Finding("limits", False, f"{missing}; {hint}"))
    return findings


def _gain(figures: Figures, params: GateParams) -> Checks:
    """No measure is significantly below the base's; if the test split leaks, judged on the queries that do not."""
    intervals = _intervals(figures)
    for measure in COMPARED:
        delta, low, high = (figures.number("report", intervals, measure, key) for key in ("delta", "ci_low", "ci_high"))
        words = f"{measure} {delta:+.3f}, interval {low:+.3f} to {high:+.3f}"
        yield high >= 0, f"{words}; the interval must not lie below 0"
        if measure == COMPARED[0]:
            yield delta >= params.min_delta, f"{words}; delta at least {params.min_delta:+g} (gate.min_delta)"


def _intervals(figures: Figures) -> str:
    """Returns the report's key of the intervals that its verdict rests on."""
    n_queries, n_clean = _query_counts(figures)
    paired = "paired" if n_queries == n_clean else "paired_without_leaks"
    # Intervals over seeds generalise to other seeds and leave out leaking queries. With hardly a clean query, the
    # report has no intervals without leaks, and those over seeds would include the leaks.
    has_any = n_queries == n_clean or bool(figures.of("report", paired))
    return "paired_over_seeds" if has_any and figures.number("seeds", "n_seeds") > 1 else paired


def _leaks(figures: Figures, params: GateParams) -> Checks:
    n_queries, n_clean = _query_counts(figures)
    share = (n_queries - n_clean) / n_queries if n_queries else 1.0
    words = f"{n_queries - n_clean:.0f} of {n_queries:.0f} test queries leak ({100 * share:.3g}%)"
    yield share <= params.max_leak_share, f"{words}; at most {100 * params.max_leak_share:.3g}% (gate.max_leak_share)"


def _query_counts(figures: Figures) -> tuple[float, float]:
    """Returns the number of test queries, and of those without a lexical leak."""
    return (
        figures.number("report", "n_test_queries"),
        figures.number("report", "without_leaks", "lexical", "n_queries"),
    )


def _overfitting(figures: Figures, params: GateParams) -> Checks:
    is_bad, words = figures.of("report", "overfitting", "is_overfitted"), figures.of("report", "overfitting", "verdict")
    yield params.allow_overfitting or is_bad is False, str(words)


def _drift(figures: Figures, params: GateParams) -> Checks:
    is_bad, words = figures.of("drift", "is_drifted"), figures.of("drift", "verdict")
    is_decided = figures.of("drift").get("is_decided", True)  # absent in figures of older revisions
    yield params.allow_drift or (is_bad is False and is_decided is True), str(words)


def _retention(figures: Figures, _params: GateParams) -> Checks:
    kept = figures.number("merge", "retention")
    words = f"the merged encoder keeps {percent(kept)} of the base's nDCG@10 on general text"
    yield figures.of("merge", "is_retention_met") is True, f"{words}; the floor is merge.min_retention"
    if (is_met := figures.of("merge").get("is_near_domain_met")) is not None:  # absent without near-domain tasks
        least = percent(figures.number("merge", "near_domain_kept"))
        words = f"on its worst near-domain task of dev the merged encoder keeps {least} of the base's nDCG@10"
        yield is_met is True, f"{words}; the floor is merge.min_near_domain"


def _parity(figures: Figures, params: GateParams) -> Checks:
    lowest = figures.number("export", "fp32_min_cosine")
    words = f"lowest cosine of ONNX fp32 to torch {lowest:.6f}"
    yield lowest >= params.min_parity_cosine, f"{words}; at least {params.min_parity_cosine:g} (gate.min_parity_cosine)"


def _kept(figures: Figures, params: GateParams) -> Checks:
    for system, floor in (("onnx", params.min_onnx_kept), ("onnx_int8", params.min_int8_kept)):
        share = figures.number("report", "ndcg@10_kept_share", system)
        key = f"gate.min_{system.removeprefix('onnx_') if '_' in system else system}_kept"
        yield share >= floor, f"{system} keeps {percent(share)} of tuned nDCG@10; at least {percent(floor)} ({key})"


FIGURE_RULES = {
    "gain": _gain,
    "leakage": _leaks,
    "overfitting": _overfitting,
    "drift": _drift,
    "retention": _retention,
    "parity": _parity,
    "what ships": _kept,
}
