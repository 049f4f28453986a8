"""`make baseline` tags a commit of today's test only: a clone's own data are not set against this project's history."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from branches import GIT, ROOT, git

LOCK = """stages:
  seeds:
    deps:
    - path: data/splits/test
      hash: md5
      md5: {test}.dir
    - path: models/seeds
      md5: 999
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Three commits: untuned on test a, untuned on test b, tuned on test b."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    git(tmp_path, "init", "-q", "--initial-branch", "trunk")
    for number, (epochs, test) in enumerate((("0", "a"), ("0  # none", "b"), ("auto", "b"))):
        (tmp_path / "params.yaml").write_text(f"train:\n  epochs: {epochs}\n")
        (tmp_path / "dvc.lock").write_text(LOCK.format(test=test))
        git(tmp_path, "add", "-A")
        git(tmp_path, "commit", "-q", "-m", f"commit {number}")
    return tmp_path


def baseline(folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["make", "baseline", "READY=Makefile"]
    return subprocess.run(command, cwd=folder, env=os.environ | GIT, capture_output=True, text=True, check=False)


def test_the_last_untuned_commit_with_today_s_test_is_tagged(repository: Path) -> None:
    """An earlier one with the same test is found behind a later one with another."""
    assert baseline(repository).returncode == 0
    assert git(repository, "log", "-1", "--format=%s", "baseline") == "commit 1"
    (repository / "dvc.lock").write_text(LOCK.format(test="a"))
    assert baseline(repository).returncode == 0
    assert git(repository, "log", "-1", "--format=%s", "baseline") == "commit 0"


def test_another_test_is_not_compared_and_says_so(repository: Path) -> None:
    """New data: no tag is made, and the line names the commit and the command that needs none."""
    (repository / "dvc.lock").write_text(LOCK.format(test="c"))
    done = baseline(repository)
    assert done.returncode != 0 and git(repository, "tag") == ""
    assert "commit 1 has train.epochs: 0 but another test, not compared" in done.stderr and "make diff" in done.stderr


def test_without_an_untuned_commit_the_line_names_what_needs_none(repository: Path) -> None:
    """As in a shallow clone."""
    git(repository, "checkout", "-q", "--orphan", "fresh")
    git(repository, "commit", "-q", "-m", "one")
    done = baseline(repository)
    assert done.returncode != 0 and "no commit here has train.epochs: 0" in done.stderr and "make diff" in done.stderr
