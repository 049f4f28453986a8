"""The first weeks of the simulated year (test_year.py) with DVC, git and training, in a repository of `attune new`.

The data are of the miniature's kind. The first run trains; the weeks run as far as the split, which is what decides
where a query stands. One test, because each step is the next one's input.
"""

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import miniature
import pytest
from branches import GIT, ROOT, git
from growing import miniature_pairs
from own_repository import PACKED
from ruamel.yaml import YAML
from shipped_params import write_shipped

from attune.data.assignments import moves, read_assignments

AT_FIRST, A_WEEK, WEEKS = 180, 8, 3
# in the last week a release that changes a comment, so that no stage has other code
UPGRADE, EDITS = 3, {"src/attune/stages/prepare.py": ('"""', '# a comment\n"""')}
Pair = tuple[str, str]


class Installed:
    """The attune that is installed: a copy of the sources, which an upgrade edits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        for name in PACKED:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, folder / name)
        write_shipped(folder)

    def release(self, edits: Mapping[str, tuple[str, str]]) -> None:
        """Edits the first place of a text in each file."""
        for name, (old, new) in edits.items():
            text = (self.folder / name).read_text()
            assert old in text, name
            (self.folder / name).write_text(text.replace(old, new, 1))

    def __call__(self, folder: Path, *arguments: str, code: int = 0) -> str:
        """Runs `attune`; returns all that it prints."""
        own = os.environ | GIT | {"PYTHONPATH": str(self.folder / "src")}
        command = [sys.executable, "-m", "attune", *arguments]
        done = subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, check=False)
        assert done.returncode == code, f"attune {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr


def dvc(folder: Path, *arguments: str) -> set[str]:
    """Runs DVC; returns the stages that ran."""
    done = miniature.dvc(folder, *arguments)
    return {line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")}


def gto(folder: Path, *arguments: str) -> None:
    command = [str(Path(sys.executable).with_name("gto")), *arguments]
    subprocess.run(command, cwd=folder, env=os.environ | GIT, capture_output=True, check=True)


def append(folder: Path, pairs: list[Pair]) -> None:
    """Appends rows to the data and runs as far as the split."""
    with (folder / "data/own/faq.csv").open("a", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(pairs)
    dvc(folder, "add", "-q", "data/own/faq.csv")
    dvc(folder, "repro", "split")


def commit(folder: Path, words: str) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", words)


def assigned(folder: Path) -> dict[str, str]:
    """The split of each query."""
    return read_assignments((folder / "metrics/assignments.csv").read_text())


def hashes(folder: Path) -> dict[str, str]:
    """The hash of each stage's code, of which a change runs the stage again."""
    own: dict[str, str] = YAML(typ="safe").load((folder / "libraries.yaml").read_text())["attune"]
    return {name: value for name, value in own.items() if name not in ("version", "dvc_yaml")}


def failed(gate: str) -> set[str]:
    """The checks that stop the merge."""
    return {line.split()[0] for line in gate.splitlines() if line.split()[1:2] == ["FAILED"]}


def release(folder: Path) -> None:
    """Releases the model as v1 and makes it the champion, by the commands of models/champions."""
    commit(folder, "trained")
    gto(folder, "register", "embedder-onnx", "--version", "v1.0.0")
    dvc(folder, "get", ".", "models/onnx", "--rev", "embedder-onnx@v1.0.0", "-o", "models/champions/v1")
    dvc(folder, "add", "-q", "models/champions/v1")
    miniature.change(folder, {"evaluate": {"champion": "v1"}})


def weekly(shop: Path, attune: Installed, pairs: list[Pair]) -> None:
    """Lives through the weeks but for training, and checks each."""
    for week in range(1, WEEKS + 1):
        before = assigned(shop)
        if week == UPGRADE:
            old = hashes(shop)
            attune.release(EDITS)
            attune(shop, "upgrade")
            assert hashes(shop) == old
        append(shop, pairs[A_WEEK * (week - 1) : A_WEEK * week])
        commit(shop, f"week {week}")
        assert moves(before, assigned(shop)) == ({}, len(before)) and len(assigned(shop)) > len(before)


@pytest.mark.slow
def test_first_weeks_in_a_repository_of_ones_own(
    tmp_path: Path, warm_stages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first model passes the gate and is the champion; new rows and an upgrade of comments move no query."""
    attune = Installed(tmp_path / "installed")
    monkeypatch.setenv("PYTHONPATH", str(attune.folder / "src"))
    pairs = miniature_pairs(tmp_path, 300)
    with (tmp_path / "faq.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("question", "answer"), *pairs[:AT_FIRST]])
    named = ("--column", "query=question", "--column", "document=answer")
    attune(tmp_path, "new", "shop", "--data", "faq.csv", *named)
    shop = tmp_path / "shop"
    recipe = YAML(typ="safe").load(miniature.MINIATURE.read_text())
    del recipe["collect"]
    miniature.change(shop, recipe)
    miniature.change(shop, miniature.ONE_THREAD)
    dvc(shop, "remote", "add", "-q", "-d", "storage", str(tmp_path / "storage"))
    dvc(shop, "repro")
    assert failed(attune(shop, "gate")) == set()
    release(shop)
    assert "champion" in attune(shop, "upgrade")
    dvc(shop, "repro")
    commit(shop, "with a champion")
    dvc(shop, "push", "-q")
    weekly(shop, attune, pairs[AT_FIRST:])
