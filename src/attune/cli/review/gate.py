"""Merge gate: the checks of the catalogue on the figures in metrics/, dvc.lock and a revision; a missing figure fails.

The gate reads what the pipeline left in git and computes nothing anew, so it needs neither data nor models and runs in
seconds in a fresh clone, as in a pull request.
"""

from pathlib import Path
from typing import Any, NamedTuple

from attune.cli.answers import CheckResult
from attune.cli.review.history import Revision, dvc_project, lock_facts
from attune.errors import BadInput
from attune.evaluation.checks.catalogue import Finding, findings
from attune.evaluation.checks.facts import Facts, Read
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.statistics.decision import Status
from attune.stage import PARAMS_FILE, all_params, load_params


def reader(folder: Path) -> Read:
    """Returns a function that reads a file by its path in the folder; None where there is no such file."""

    def read(path: str) -> str | None:
        file = folder / path
        return file.read_text(encoding="utf-8") if file.is_file() else None

    return read


class Judged(NamedTuple):
    """Findings on a project, and what they were judged by."""

    findings: list[Finding]
    facts: Facts
    limits: GateParams


def judge_project(folder: Path, against: str) -> list[Finding]:
    """Judges a project: its figures, its dvc.lock and, if `against` is given, the changes since that revision.

    Raises:
        BadInput: no project there, no such revision, or parameters out of bounds: the gate cannot tell.
    """
    return judge(folder, against).findings


def judge(folder: Path, against: str) -> Judged:
    """Judges a project as `judge_project` does, and returns the facts and limits as well."""
    limits = load_params(GateParams, "gate", folder / PARAMS_FILE)
    if not (folder / "metrics").is_dir():
        raise BadInput(f"{folder / 'metrics'}: not found; run `dvc repro`, or name the root of a project that has it")
    with dvc_project(folder) as repo:
        known = {"params": all_params(folder / PARAMS_FILE), "dvc.lock": lock_facts(repo, folder)}
        revision = Revision(repo, against, folder) if against else None
        places = ["metrics", "dvc.lock", *(["revision"] if revision else [])]
        facts = Facts(known, reader(folder), revision=revision)
        return Judged(findings(facts, limits, places), facts, limits)


def result_of(found: Finding) -> CheckResult:
    """Returns a finding as the command's answer holds it."""
    status: Any = str(found.status)
    return CheckResult(found.check.code, found.check.title, status, found.is_blocking, found.sentence)


def last_line(found: list[Finding]) -> str:
    """Returns the result in words: how many checks stop the merge, by code."""
    blocking = dict.fromkeys(each.check.code for each in found if each.is_blocking)
    n = len({each.check.code for each in found})
    stopped = f"{len(blocking)} of {n} checks stop{'s' if len(blocking) == 1 else ''} the merge: {', '.join(blocking)}"
    warning = [each for each in found if not each.is_blocking and each.status in (Status.FAILED, Status.UNDECIDED)]
    names = ", ".join(dict.fromkeys(f"{each.check.code} {each.status}" for each in warning))
    warned = f"; warnings: {names}" if warning else ""
    return f"{stopped if blocking else f'none of {n} checks stops the merge'}{warned}"
