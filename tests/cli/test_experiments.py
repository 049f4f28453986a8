"""A small sweep: queued, run, and compared in one table of changed parameters and of figures to choose by."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import branches
import pytest


def run(folder: Path, *command: str) -> str:
    """Runs a command as a user would, with this interpreter as `python` and the folder's own code."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = (
        {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | branches.GIT | {"PATH": path}
    )
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_queued_sweep_ends_in_one_table_of_changes(finished: Path, tmp_path: Path) -> None:
    """Two values of BM25's b: two rows beside main's, with the parameter and the dev figures only."""
    folder = branches.committed(finished, tmp_path / "sweep")
    shutil.copytree(finished / ".dvc" / "cache", folder / ".dvc" / "cache", symlinks=True)
    shutil.copy(branches.ROOT / "Makefile", folder / "Makefile")
    run(folder, "dvc", "checkout", "-q")
    run(folder, "dvc", "exp", "run", "--queue", "-n", "sweep", "-S", "advanced.yaml:evaluate.bm25_b=0.3,0.9")
    run(folder, "dvc", "exp", "run", "--run-all")
    rows = run(folder, "make", "-s", "experiments", "-o", ".venv/ready").splitlines()
    table = [[cell.strip() for cell in row.strip("| ").split("|")] for row in rows if row.startswith("|")]
    head, body = table[0], {re.sub(r".*\[(.*)\]", r"\1", row[0]): row[1:] for row in table[2:]}
    assert head == [
        "Experiment", "metrics/bm25.json:dev_recall@10", "metrics/bm25.json:dev_ndcg@10", "evaluate.bm25_b"
    ]  # fmt: skip
    assert {name: row[-1] for name, row in body.items()} == {"main": "0.75", "sweep-1": "0.3", "sweep-2": "0.9"}
    assert len({row[1] for row in body.values()}) == 3
    assert "metrics/bm25.json" in run(folder, "dvc", "metrics", "diff", "main", "sweep-2")
    assert attune_gate(folder) == 0  # b concerns BM25 only: the shipped model is the same


def attune_gate(folder: Path) -> int:
    """Returns the gate's exit code against an experiment, whose name is a revision."""
    done = branches.attune(folder, "gate", "--against", "sweep-1")
    assert "pass  same test: the test split and the corpus are those of sweep-1" in done.stdout, done.stdout
    return done.returncode
