"""The workflows run make targets, scripts and the post of a comment; actions are pinned, secrets stay out of forks."""

import copy
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
OWN = ROOT / "src" / "attune" / "cli" / "repository" / "files" / "github.yml"  # of new repositories
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+|\.venv/[a-z]+)(?= [^:=]*:|:)", (ROOT / "Makefile").read_text(), re.MULTILINE)) | {
    ".venv/review"
}
ALLOWED = re.compile(r"actions/checkout@[0-9a-f]{40}")
WRITES = {"pull-requests"}  # permissions that a workflow may ask to write with
BODY = '"$RUNNER_TEMP/comment.md"'
COMMENT = f"make comment > {BODY}"
POST = f'gh pr comment "$NUMBER" --edit-last --create-if-none --body-file {BODY}'

Workflow = dict[str, Any]
Step = dict[str, Any]


def read_workflow(file: Path) -> Workflow:
    return dict(YAML(typ="safe").load(file.read_text()))


def flaws(workflow: Workflow) -> list[str]:
    """Returns a sentence for each thing that is unsafe in a workflow."""
    lines = []
    if set(workflow["on"]) - {"push", "pull_request"}:
        lines.append("runs on another event")
    granted = [
        workflow.get("permissions"),
        *(job["permissions"] for job in workflow["jobs"].values() if "permissions" in job),
    ]
    for permissions in granted:
        if not isinstance(permissions, dict):
            lines.append("permissions are not listed")
        elif {name for name, right in permissions.items() if right == "write"} - WRITES:
            lines.append("may write elsewhere")
    for job in workflow["jobs"].values():
        if "timeout-minutes" not in job or "latest" in job["runs-on"]:
            lines.append("no time limit, or a machine that changes")
        for step in job["steps"]:
            lines += step_flaws(step)
    return lines


def step_flaws(step: Step) -> list[str]:
    lines = []
    if "uses" in step:
        if not ALLOWED.fullmatch(step["uses"]):
            lines.append(f"not pinned or not known: {step['uses']}")
        elif step["with"]["persist-credentials"] is not False:
            lines.append("leaves the token in .git/config")
        return lines
    words = step["run"].split()
    is_script = len(words) == 1 and (ROOT / words[0]).is_file() and (ROOT / words[0]).stat().st_mode & 0o100
    is_target = len(words) == 2 and words[0] == "make" and words[1] in TARGETS
    if not is_script and not is_target and step["run"] not in (COMMENT, POST):
        lines.append(f"not a make target or a script: {step['run']}")
    if "${{" in step["run"]:
        lines.append("puts a value of the event into the shell")
    if "secrets." in str(step):
        lines.append("reads a secret")
    if "github.token" in str(step) and (
        step["run"] != POST or "head.repo.full_name == github.repository" not in step["if"]
    ):
        lines.append("uses the token, other than to post on this repository's own branches")
    return lines


def steps_of(file: Path, job: str) -> list[Step]:
    return list(read_workflow(file)["jobs"][job]["steps"])


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_a_workflow_is_safe_and_calls_only_what_is_here(file: Path) -> None:
    """No flaw, and a comment after each pin names its version for whoever updates it."""
    assert flaws(read_workflow(file)) == []
    assert all("# v" in line for line in file.read_text().splitlines() if "uses:" in line)


def test_both_workflows_are_there() -> None:
    """ci, and metrics: the comment is written, then posted; the gate runs whatever became of the comment."""
    assert [file.stem for file in WORKFLOWS] == ["ci", "metrics"]
    steps = steps_of(WORKFLOWS[1], "metrics")
    runs = [step["run"] for step in steps if "run" in step]
    assert runs == ["make .venv/review", COMMENT, POST, "make gate"]
    assert "cancelled" in steps[-1]["if"]


def test_only_the_step_that_posts_gets_the_token() -> None:
    """It is skipped where the token is read-only: for a fork, also one that is gone, and for dependabot."""
    steps = steps_of(WORKFLOWS[1], "metrics")
    assert [step["run"] for step in steps if "github.token" in str(step)] == [POST]
    post = next(step for step in steps if step.get("run") == POST)
    assert post["if"] == (
        "${{ github.event.pull_request.head.repo.full_name == github.repository && github.actor != 'dependabot[bot]' }}"
    )


def test_the_comment_s_links_lead_to_the_pull_request_s_commit() -> None:
    """On the fork, where there is one; on this repository where the fork is gone."""
    step = next(step for step in steps_of(WORKFLOWS[1], "metrics") if step.get("run") == COMMENT)
    link = step["env"]["METRICS_LINK"]
    values = {
        "github.server_url": "https://host.example",
        "github.event.pull_request.head.repo.full_name || github.repository": "fork/r",
        "github.event.pull_request.head.sha": "abc",
    }
    filled = re.sub(r"\$\{\{ (.*?) \}\}", lambda match: values[match[1]], link)
    assert filled == "https://host.example/fork/r/blob/abc/metrics"


@pytest.mark.parametrize("code", [0, 1])
def test_gh_posts_the_comment_once_and_then_edits_it(tmp_path: Path, code: int) -> None:
    """The step with a fake gh on PATH: its arguments, the comment as the body, and gh's exit code as the step's."""
    gh = tmp_path / "bin" / "gh"
    gh.parent.mkdir()
    gh.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > "$RUNNER_TEMP/arguments"\ncat "$7" > "$RUNNER_TEMP/body"\nexit {code}\n'
    )
    gh.chmod(0o755)
    (tmp_path / "comment.md").write_text("## attune: $(touch owned) `touch owned`\n")
    environment = {"PATH": f"{gh.parent}:{os.environ['PATH']}", "RUNNER_TEMP": str(tmp_path), "NUMBER": "7"}
    done = subprocess.run(["bash", "-e", "-c", POST], cwd=tmp_path, env=environment, check=False)
    assert done.returncode == code
    body = str(tmp_path / "comment.md")
    expected = ["pr", "comment", "7", "--edit-last", "--create-if-none", "--body-file", body]
    assert (tmp_path / "arguments").read_text().splitlines() == expected
    assert (tmp_path / "body").read_text() == (tmp_path / "comment.md").read_text()
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("change", "code"), [(("", ""), 0), (("on:\n  pull_request: {}", "on:\n  pull_request_target: {}"), 1)]
)
def test_zizmor_finds_nothing_in_the_workflows_but_what_is_planted(
    tmp_path: Path, change: tuple[str, str], code: int
) -> None:
    """As `make check-workflows` runs it, without a network; a trigger that hands secrets to forks is found."""
    zizmor, folder = Path(sys.executable).with_name("zizmor"), tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    for file in (*WORKFLOWS, OWN):
        text = file.read_text()
        assert change[0] in text or file.stem == "ci"
        (folder / file.name).write_text(text.replace(*change))
    done = subprocess.run([zizmor, "--offline", "--quiet", str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode != 0) == bool(code), done.stdout + done.stderr
    assert ("dangerous-triggers" in done.stdout) == bool(code)


def test_workflows_of_new_repositories_are_as_safe() -> None:
    """The workflow that `attune new` writes has no flaw either; GitLab's job runs the same targets of its Makefile."""
    files = OWN.parent
    workflow = read_workflow(files / "github.yml")
    assert flaws(workflow) == []
    targets = set(re.findall(r"^([a-z-]+|\.venv/[a-z]+):", (files / "Makefile").read_text(), re.MULTILINE))
    run = [
        step["run"].split()[1] for step in workflow["jobs"]["model"]["steps"] if step.get("run", "").startswith("make")
    ]
    script = YAML(typ="safe").load((files / "gitlab-ci.yml").read_text())["attune"]["script"]
    assert run == [line.split()[1] for line in script if line.startswith("make ")] == [".venv/ready", "comment", "gate"]
    assert {*run, "note"} <= targets
    (note,) = [line for line in script if "make note" in line]
    assert note.startswith('if [ -n "$ATTUNE_GITLAB_TOKEN" ]; then ') and script.index(note) < script.index("make gate")


def planted(change: Callable[[Workflow], object]) -> list[str]:
    workflow = copy.deepcopy(read_workflow(WORKFLOWS[1]))
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
        (lambda w: w["jobs"]["metrics"]["steps"][1].update(run="make ${{ github.head_ref }}"), "into the shell"),
        (lambda w: w["jobs"]["metrics"]["steps"][1].update(env={"A": "${{ secrets.A }}"}), "reads a secret"),
        (lambda w: w["jobs"]["metrics"]["steps"][1].update(env={"A": "${{ github.token }}"}), "uses the token"),
        (lambda w: w["jobs"]["metrics"]["steps"][3].update({"if": "always()"}), "uses the token"),
        (lambda w: w["jobs"]["metrics"].pop("timeout-minutes"), "no time limit"),
    ],
)
def test_the_test_of_workflows_can_fail(change: Callable[[Workflow], object], words: str) -> None:
    """Each planted flaw is found."""
    assert any(words in flaw for flaw in planted(change))
