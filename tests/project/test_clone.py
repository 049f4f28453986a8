"""A fresh clone, without data, cache or remote, answers what a reviewer asks: what changed, and may it be merged."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from branches import GIT, ROOT, git

from attune.evaluation.checks.catalogue import catalogue

BIN = str(Path(sys.executable).parent)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository's HEAD, in another folder."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout")
    folder = tmp_path_factory.mktemp("fresh") / "clone"
    git(folder.parent, "clone", "-q", str(ROOT), str(folder))
    return folder


@pytest.fixture(scope="module")
def before(clone: Path) -> str:
    """The last commit but one that changed the figures of the tuned encoder."""
    commits = git(clone, "log", "-2", "--format=%H", "--", "metrics/tuned.json").split()
    if len(commits) < 2:
        pytest.skip("a shallow clone: no earlier figures")
    return commits[1]


@pytest.fixture(scope="module")
def baseline(clone: Path) -> str:
    """The tag `baseline` as `make baseline` makes it."""
    if run(clone, "make", "baseline", "READY=Makefile").returncode:
        pytest.skip("a shallow clone, or no commit with today's test: no baseline")
    return "baseline"


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    path = {"PATH": os.pathsep.join([BIN, os.environ.get("PATH", "")]), "PYTHONPATH": "src"}
    return subprocess.run(command, cwd=folder, env=os.environ | GIT | path, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("metrics", r"metrics/tuned\.json +ndcg@10 +\d"),
        ("params", r"params\.yaml +\w+\.\w+"),
        ("plots", r"index\.html"),
    ],
)
def test_dvc_shows_what_changed(clone: Path, baseline: str, kind: str, words: str) -> None:
    """`dvc diff`, params and metrics of two revisions work in a clone without data."""
    done = run(clone, sys.executable, "-m", "dvc", kind, "diff", baseline)
    assert done.returncode == 0, done.stderr
    assert re.search(words, done.stdout), done.stdout
    assert not (clone / "data" / "raw").exists() and not (clone / ".dvc" / "cache").exists()


def test_the_model_that_is_committed_passes_against_its_own_baseline(clone: Path, baseline: str) -> None:
    """The gate of a first pull request does not fail by this repository's own history, which has today's test."""
    done = run(clone, "make", "gate", "READY=Makefile", f"AGAINST={baseline}")
    lines = [line.split() for line in done.stdout.splitlines()]
    stopped = {code for code, status, *_ in lines if status in ("FAILED", "UNDECIDED")}
    passed = {code for code, status, *_ in lines if status == "passed"} - stopped
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"ATT021", "ATT022", "ATT023"} <= passed  # same test, regression, figures


def test_the_gate_and_the_comment_run_as_the_workflow_calls_them(clone: Path, before: str) -> None:
    """`make gate` and `make comment`, with the environment there; a revision's name runs nothing."""
    done = run(clone, "make", "gate", "READY=Makefile", f"AGAINST={before}")
    assert "attune gate: " in done.stdout, done.stdout + done.stderr
    # which checks pass is the matter of the commit; all were judged
    judged = {line.split()[0] for line in done.stdout.splitlines()}
    places = {"metrics", "dvc.lock", "revision"}
    assert {check.code for check in catalogue() if check.is_judged_in(places)} <= judged
    assert (done.returncode == 0) == (not re.search("  (FAILED|UNDECIDED) ", done.stdout))
    done = run(
        clone, "env", "AGAINST=main$(touch made)`touch made`$(shell touch made)", "make", "comment", "READY=Makefile"
    )
    assert done.returncode == 0, done.stderr
    assert "cannot tell whether this model may be merged" in done.stdout
    assert not (clone / "made").exists()
