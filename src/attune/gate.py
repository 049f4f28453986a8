"""May this model be merged? Floors from params.yaml against the figures in metrics/; a figure that is missing fails.

The gate reads what the pipeline left and computes nothing anew, so it needs neither data nor models: it runs in a
fresh clone, in a pull request, in a second.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from attune.errors import BadInput
from attune.stage import Params

COMPARED = ("recall@10", "mrr@10", "ndcg@10")


class GateParams(Params):
    """What a model must keep to; figures beyond these fail the gate."""

    min_delta: float = Field(ge=-1, le=1)
    max_leak_share: float = Field(ge=0, le=1)
    allow_overfitting: bool
    allow_drift: bool
    min_parity_cosine: float = Field(ge=-1, le=1)
    min_onnx_kept: float = Field(ge=0, le=2)
    min_int8_kept: float = Field(ge=0, le=2)


@dataclass(frozen=True)
class Finding:
    """What a rule found: its name, whether it holds, and the figures that say so."""

    rule: str
    is_kept: bool
    figures: str


class Missing(Exception):
    """A figure that a rule needs is not there."""


class Figures:
    """The figures in metrics/, by file and key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(self, file: str, *keys: str) -> Any:  # noqa: ANN401
        """One figure, such as of("report", "paired", "recall@10", "delta").

        Raises:
            Missing: the file or the key is not there, or the file is not JSON.
        """
        path = self.folder / f"{file}.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise Missing(f"{path} is missing") from None
        except ValueError as error:
            raise Missing(f"{path} is not JSON ({error})") from None
        for key in keys:
            if not isinstance(found, Mapping) or key not in found:
                raise Missing(f"{path} has no {' > '.join(keys)}")
            found = found[key]
        return found

    def number(self, file: str, *keys: str) -> float:
        """One figure that has to be a number.

        Raises:
            Missing: it is not there or not a number.
        """
        found = self.of(file, *keys)
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise Missing(f"{self.folder / file}.json: {' > '.join(keys)} is {found!r}, not a number")
        return float(found)


def judge(params: GateParams, folder: Path) -> list[Finding]:
    """Applies every rule to the figures in a folder.

    Raises:
        BadInput: there is no such folder.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder}: not found; run `dvc repro`, or name the folder that holds the receipts")
    figures = Figures(folder)
    findings: list[Finding] = []
    for name, rule in RULES.items():
        try:
            findings += [Finding(name, kept, words) for kept, words in rule(figures, params)]
        except Missing as missing:
            findings.append(Finding(name, False, f"{missing}; run `dvc repro` and commit metrics/"))
    return findings


Verdicts = Iterator[tuple[bool, str]]


def _regression(figures: Figures, params: GateParams) -> Verdicts:
    """No measure significantly below the baseline's; where the test split leaks, on the queries that do not."""
    n, n_clean = (figures.number("report", *keys) for keys in (("n_test_queries",), _clean()))
    paired = "paired" if n == n_clean else "paired_without_leaks"
    has_seeds = figures.number("seeds", "n_seeds") > 1 and n == n_clean
    for measure in COMPARED:
        keys = ("delta", "ci_low", "ci_high")
        if has_seeds:  # the interval then covers other seeds, too
            delta, low, high = (figures.number("seeds", f"{key}_{measure}") for key in keys)
        else:
            delta, low, high = (figures.number("report", paired, measure, key) for key in keys)
        words = f"{measure} {delta:+.3f}, interval {low:+.3f} to {high:+.3f}"
        yield high >= 0, f"{words}; the interval must not lie below 0"
        if measure == COMPARED[0]:
            yield delta >= params.min_delta, f"{words}; delta at least {params.min_delta:+g} (gate.min_delta)"


def _leaks(figures: Figures, params: GateParams) -> Verdicts:
    n, n_clean = (figures.number("report", *keys) for keys in (("n_test_queries",), _clean()))
    share = (n - n_clean) / n if n else 1.0
    words = f"{n - n_clean:.0f} of {n:.0f} test queries leak ({share:.1%})"
    yield share <= params.max_leak_share, f"{words}; at most {params.max_leak_share:.1%} (gate.max_leak_share)"


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
    words = f"the merged encoder keeps {kept:.1%} of the base's nDCG@10 on held-out practice pairs"
    yield figures.of("merge", "is_retention_met") is True, f"{words}; the floor is merge.min_retention"


def _parity(figures: Figures, params: GateParams) -> Verdicts:
    least = figures.number("export", "fp32_min_cosine")
    words = f"least cosine of ONNX fp32 to torch {least:.6f}"
    yield least >= params.min_parity_cosine, f"{words}; at least {params.min_parity_cosine:g} (gate.min_parity_cosine)"


def _kept(figures: Figures, params: GateParams) -> Verdicts:
    for system, floor in (("onnx", params.min_onnx_kept), ("onnx_int8", params.min_int8_kept)):
        share = figures.number("report", "ndcg@10_kept_share", system)
        key = f"gate.min_{system.removeprefix('onnx_') if '_' in system else system}_kept"
        yield share >= floor, f"{system} keeps {share:.1%} of tuned nDCG@10; at least {floor:.1%} ({key})"


RULES = {
    "regression": _regression,
    "leakage": _leaks,
    "overfitting": _overfitting,
    "drift": _drift,
    "retention": _retention,
    "parity": _parity,
    "what ships": _kept,
}
