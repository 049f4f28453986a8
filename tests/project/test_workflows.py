"""The workflows call nothing but what runs here, trust no code but pinned, and hand no secret to a fork's."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+|\.venv/[a-z]+)(?= [^:=]*:|:)", (ROOT / "Makefile").read_text(), re.MULTILINE)) | {
    ".venv/review"
}
ALLOWED = re.compile(r"actions/checkout@[0-9a-f]{40}")
WRITES = {"pull-requests"}  # what a workflow may be allowed to write

Workflow = dict[str, Any]


def load(file: Path) -> Workflow:
    return dict(YAML(typ="safe").load(file.read_text()))


def flaws(workflow: Workflow) -> list[str]:
    """What is wrong with a workflow."""
    found = []
    if set(workflow["on"]) - {"push", "pull_request"}:
        found.append("runs on another event")
    granted = [
        workflow.get("permissions"),
        *(job["permissions"] for job in workflow["jobs"].values() if "permissions" in job),
    ]
    for permissions in granted:
        if not isinstance(permissions, dict):
            found.append("permissions are not listed")
        elif {name for name, right in permissions.items() if right == "write"} - WRITES:
            found.append("may write elsewhere")
    for job in workflow["jobs"].values():
        if "timeout-minutes" not in job or "latest" in job["runs-on"]:
            found.append("no time limit, or a machine that changes")
        for step in job["steps"]:
            found += step_flaws(step)
    return found


def step_flaws(step: dict[str, Any]) -> list[str]:
    found = []
    if "uses" in step:
        if not ALLOWED.fullmatch(step["uses"]):
            found.append(f"not pinned or not known: {step['uses']}")
        elif step["with"]["persist-credentials"] is not False:
            found.append("leaves the token in .git/config")
        return found
    words = step["run"].split()
    is_script = len(words) == 1 and (ROOT / words[0]).is_file() and (ROOT / words[0]).stat().st_mode & 0o100
    if not is_script and not (len(words) == 2 and words[0] == "make" and words[1] in TARGETS):
        found.append(f"not a make target or a script: {step['run']}")
    if "secrets." in str(step):
        found.append("reads a secret")
    return found


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_a_workflow_is_safe_and_calls_only_what_is_here(file: Path) -> None:
    assert flaws(load(file)) == []
    # a comment after each pin says which version it is, for whoever updates it
    assert all("# v" in line for line in file.read_text().splitlines() if "uses:" in line)


def test_both_workflows_are_there() -> None:
    assert [file.stem for file in WORKFLOWS] == ["ci", "metrics"]
    steps = load(WORKFLOWS[1])["jobs"]["metrics"]["steps"]
    runs = [step["run"] for step in steps if "run" in step]
    assert runs == ["make .venv/review", "make baseline", "make comment", "make gate"]
    # the token only where it is needed; the gate whatever became of the comment
    assert [step["run"] for step in steps if "GITHUB_TOKEN" in step.get("env", {})] == ["make comment"]
    assert "cancelled" in steps[-1]["if"]


def planted(change: Callable[[Workflow], object]) -> list[str]:
    workflow = copy.deepcopy(load(WORKFLOWS[1]))
    change(workflow)
    return flaws(workflow)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.update(on={"pull_request_target": {}}), "another event"),
        (lambda w: w.pop("permissions"), "permissions are not listed"),
        (lambda w: w["permissions"].update(contents="write"), "may write elsewhere"),
        (lambda w: w["jobs"]["metrics"]["steps"][0].update(uses="actions/checkout@v4"), "not pinned"),
        (lambda w: w["jobs"]["metrics"]["steps"][0]["with"].update({"persist-credentials": True}), "leaves the token"),
        (lambda w: w["jobs"]["metrics"]["steps"][1].update(run="make nothing"), "not a make target"),
        (lambda w: w["jobs"]["metrics"]["steps"][1].update(run="make gate; curl x"), "not a make target"),
        (lambda w: w["jobs"]["metrics"]["steps"][1].update(env={"A": "${{ secrets.A }}"}), "reads a secret"),
        (lambda w: w["jobs"]["metrics"].pop("timeout-minutes"), "no time limit"),
    ],
)
def test_the_test_of_workflows_can_fail(change: Callable[[Workflow], object], words: str) -> None:
    assert any(words in flaw for flaw in planted(change))
