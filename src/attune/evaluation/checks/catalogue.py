"""All checks, in the order of their codes, and their findings.

A code that a check once had is never given to another: `RETIRED` keeps it with its reason. In `gate.ignore` it is
refused in one line that says so, as a reason there would excuse nothing.
"""

import pkgutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from attune.errors import BadInput
from attune.evaluation import checks
from attune.evaluation.checks.facts import REPRO, Facts, Missing
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.checks.record import Check, Outcome
from attune.evaluation.statistics.decision import Status

RETIRED: Mapping[str, str] = {
    "ATT003": "p-values are exact, without resamples",
    "ATT012": "ATT044 judges merge.min_retention",
    "ATT013": "ATT044 judges merge.min_near_domain",
    "ATT016": "tuned is the fp32 file",
}
WORST_FIRST = (Status.FAILED, Status.UNDECIDED, Status.IGNORED, Status.PASSED, Status.NOT_APPLICABLE)


@dataclass(frozen=True)
class Finding:
    """One outcome of a check; `is_blocking` where it fails the gate."""

    check: Check
    status: Status
    sentence: str
    is_blocking: bool


@cache
def catalogue(package: ModuleType = checks) -> tuple[Check, ...]:
    """Returns the checks that the modules of a package hold, by code.

    Raises:
        ValueError: two checks have the same code, or one has a retired code.
    """
    modules = [import_module(f"{package.__name__}.{each.name}") for each in pkgutil.iter_modules(package.__path__)]
    listed = {id(each): each for module in modules for each in vars(module).values() if isinstance(each, Check)}
    by_code = sorted(listed.values(), key=lambda each: each.code)
    codes = [each.code for each in by_code]
    if twice := {code for code in codes if codes.count(code) > 1}:
        raise ValueError(f"{min(twice)} is the code of two checks")
    if reused := RETIRED.keys() & set(codes):
        raise ValueError(f"{min(reused)} is a retired code")
    return tuple(by_code)


def findings(
    facts: Facts, limits: GateParams, places: Iterable[str], listed: Sequence[Check] | None = None
) -> list[Finding]:
    """Judges all checks whose needs these places offer.

    Args:
        facts: to judge.
        limits: section gate.
        places: of "metrics", "dvc.lock", "revision", "data".
        listed: the checks; None for the catalogue.

    Raises:
        BadInput: gate.ignore names a code that no check has, or has no longer.
    """
    listed = catalogue() if listed is None else listed
    if unknown := sorted(limits.ignore.keys() - {each.code for each in listed}):
        code, known = unknown[0], f"expected one of {listed[0].code} to {listed[-1].code} (docs/gate.md lists them)"
        retired = f"is retired: {RETIRED[code]}; remove it from gate.ignore" if code in RETIRED else ""
        raise BadInput(f"gate.ignore: {code} {retired or f'is no check; {known}'}")
    offered = set(places)
    return [found for each in listed if each.is_judged_in(offered) for found in _judged(each, facts, limits)]


def _judged(check: Check, facts: Facts, limits: GateParams) -> Iterator[Finding]:
    try:
        for need in check.needs:
            if need.startswith("metrics/") and " or " not in need:
                facts.of(need.removeprefix("metrics/").removesuffix(".json"))
        outcomes = list(check.judge(facts, limits))
    except Missing as missing:
        outcomes = [Outcome(Status.FAILED, f"{missing}; {REPRO}")]
    for status, sentence in outcomes or [Outcome(Status.NOT_APPLICABLE, "nothing to judge here")]:
        is_open = status is Status.UNDECIDED and limits.undecided == "fail"
        if check.code in limits.ignore and status in (Status.FAILED, Status.UNDECIDED):
            yield Finding(check, Status.IGNORED, f"{sentence} (ignored: {limits.ignore[check.code]})", False)
        else:
            yield Finding(check, status, sentence, check.fails_gate and (is_open or status is Status.FAILED))


def by_code(found: Iterable[Finding]) -> dict[str, dict[str, Any]]:
    """Returns title, worst status and sentences by code, as report.json holds them."""
    rows: dict[str, dict[str, Any]] = {}
    for each in found:
        row = rows.setdefault(each.check.code, {"title": each.check.title, "status": str(each.status), "sentence": ""})
        row["status"] = str(min(Status(row["status"]), each.status, key=WORST_FIRST.index))
        row["sentence"] = "; ".join(filter(None, [row["sentence"], each.sentence]))
    return rows


def paragraphs(listed: Sequence[Check]) -> str:
    """Returns the documentation of the checks: a paragraph for each, in Markdown."""
    return "\n\n".join(
        f"**{each.code} {each.title}** ({', '.join(each.needs)}{'' if each.fails_gate else '; warns'}). {each.about}"
        for each in listed
    )
