"""A team's days, as docs/team.md tells them: merge, rollback, garbage collection, and two domains in one repository.

`dvc` is a fork of the warm process, of which these tests start dozens.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import miniature
import pytest
from branches import GIT, git

pytestmark = pytest.mark.usefixtures("warm_stages")
BIN = Path(sys.executable).parent
PIPELINE = """stages:
  one:
    cmd: cp params.yaml one.txt && cp params.yaml metrics/one.json
    params: [one]
    outs: [one.txt]
    metrics: [metrics/one.json: {cache: false}]
  two:
    cmd: cp params.yaml two.txt && cp params.yaml metrics/two.json
    params: [two]
    outs: [two.txt]
    metrics: [metrics/two.json: {cache: false}]
  all:
    cmd: cp params.yaml metrics/all.json
    deps: [one.txt, two.txt]
    metrics: [metrics/all.json: {cache: false}]
"""


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command of this environment in a folder."""
    path = [os.environ[miniature.PYTHON_FOLDER], str(BIN), os.environ.get("PATH", "")]
    environment = os.environ | GIT | {"PATH": os.pathsep.join(path)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def done(folder: Path, *command: str) -> str:
    """Runs a command that has to succeed; returns all that it prints."""
    finished = run(folder, *command)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout + finished.stderr


def project(folder: Path) -> Path:
    """A repository of DVC with a default branch of another name than main."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q", "--initial-branch", "trunk")
    done(folder, "dvc", "init", "-q")
    done(folder, "dvc", "config", "core.analytics", "false")
    return folder


def write_pipeline(folder: Path) -> None:
    (folder / "metrics").mkdir(parents=True)
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "params.yaml").write_text('{"one": 1, "two": 1}\n')
    (folder / ".gitignore").write_text("/one.txt\n/two.txt\n")


def commit(folder: Path, words: str) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", words)


def ran(output: str) -> list[str]:
    """Returns the stages that DVC ran."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


def test_two_branches_merge_by_one_side_s_lock_and_a_run(tmp_path: Path) -> None:
    """Both changed the lock and the figures: one side's are taken, and repro runs what the other side changed."""
    folder = project(tmp_path)
    write_pipeline(folder)
    assert ran(done(folder, "dvc", "repro")) == ["one", "two", "all"]
    commit(folder, "trunk")
    for branch, params in (("first", '{"one": 2,\n\n\n"two": 1}\n'), ("second", '{"one": 1,\n\n\n"two": 2}\n')):
        git(folder, "checkout", "-q", "-b", branch, "trunk")
        (folder / "params.yaml").write_text(params)
        done(folder, "dvc", "repro")
        commit(folder, branch)
    git(folder, "checkout", "-q", "first")
    assert run(folder, "git", "merge", "second").returncode != 0
    (folder / "params.yaml").write_text('{"one": 2, "two": 2}\n')  # what both meant
    refused = run(folder, sys.executable, "-m", "attune.cli.repro")
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1
    assert "dvc.lock:" in refused.stderr and "got a merge's conflict markers" in refused.stderr
    done(folder, "git", "checkout", "--ours", "dvc.lock", "metrics")
    assert "all" in ran(done(folder, "dvc", "repro"))  # two comes from the run cache, as the other branch has run it
    assert (folder / "metrics" / "all.json").read_text() == '{"one": 2, "two": 2}\n'
    commit(folder, "merged")
    assert "up to date" in done(folder, "dvc", "repro")
    assert git(folder, "status", "--porcelain") == ""


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory, warm_stages: Path) -> Path:
    """A folder with the repository `released` and its remote (read-only)."""
    team = tmp_path_factory.mktemp("team")
    folder = project(team / "repository")
    (folder / "dvc.yaml").write_text("artifacts:\n  embedder-onnx: {path: model, type: model}\n")
    (team / "remote").mkdir()
    done(folder, "dvc", "remote", "add", "-q", "-d", "storage", "../remote")
    for version in ("v1.0.0", "v1.1.0"):
        (folder / "model").mkdir(exist_ok=True)
        (folder / "model" / "weights").write_text(version)
        done(folder, "dvc", "add", "-q", "model")
        commit(folder, version)
        done(folder, "gto", "register", "embedder-onnx", "--version", version)
        done(folder, "gto", "assign", "embedder-onnx", "--version", version, "--stage", "prod")
        done(folder, "dvc", "push", "-q")
    return team


@pytest.fixture
def released(team: Path, tmp_path: Path) -> Path:
    """Versions 1.0.0 and 1.1.0 of a model, the second in production; a remote beside the repository holds both."""
    return Path(shutil.copytree(team, tmp_path / "team", symlinks=True)) / "repository"


def in_production(folder: Path) -> str:
    return done(folder, "gto", "show", "embedder-onnx#prod", "--ref").strip()


def test_a_rollback_assigns_the_earlier_version_by_force(released: Path) -> None:
    """Without --force gto refuses, as the version had the stage before; with it the earlier one is in production."""
    assert in_production(released) == "embedder-onnx@v1.1.0"
    back = ("gto", "assign", "embedder-onnx", "--version", "v1.0.0", "--stage", "prod")
    assert run(released, *back).returncode != 0
    assert in_production(released) == "embedder-onnx@v1.1.0"
    done(released, *back, "--force")
    assert in_production(released) == "embedder-onnx@v1.0.0"
    done(released, "dvc", "get", ".", "model", "--rev", "embedder-onnx@v1.0.0", "-o", "champion")
    assert (released / "champion" / "weights").read_text() == "v1.0.0"


def test_garbage_collection_keeps_released_models_by_all_tags(released: Path, tmp_path: Path) -> None:
    """With --workspace alone the earlier release is gone from the remote (planted); with --all-tags it is there."""
    for options, is_kept in ((("--workspace", "--all-tags"), True), (("--workspace",), False)):
        done(released, "dvc", "gc", *options, "--cloud", "--force")
        shutil.rmtree(released / ".dvc" / "cache", ignore_errors=True)
        command = ("dvc", "get", ".", "model", "--rev", "embedder-onnx@v1.0.0", "-o", f"model{is_kept}")
        assert (run(released, *command).returncode == 0) == is_kept


def test_two_domains_are_two_folders_that_one_command_runs(tmp_path: Path) -> None:
    """`dvc repro -R` runs both pipelines, then only the one that changed; `dvc metrics show` has both in one table."""
    folder = project(tmp_path)
    for name in ("shop", "help"):
        write_pipeline(folder / name)
    (folder / "help" / "params.yaml").write_text(
        '{"one": 5, "two": 5}\n'
    )  # else DVC's run cache brings the other's outputs
    assert sorted(ran(done(folder, "dvc", "repro", "-R", "."))) == sorted(
        f"{name}/dvc.yaml:{stage}" for name in ("shop", "help") for stage in ("one", "two", "all")
    )
    commit(folder, "both")
    assert ran(done(folder, "dvc", "repro", "-R", ".")) == []
    (folder / "shop" / "params.yaml").write_text('{"one": 1, "two": 3}\n')
    assert ran(done(folder, "dvc", "repro", "-R", ".")) == ["shop/dvc.yaml:two", "shop/dvc.yaml:all"]
    shown = done(folder, "dvc", "metrics", "show")
    assert "shop/metrics/all.json" in shown and "help/metrics/all.json" in shown
