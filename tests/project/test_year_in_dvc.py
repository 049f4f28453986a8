"""A simulated year of a user's repository with DVC and git: appends, upgrades, two clones that merge, rollback, gate.

The data are of the miniature's kind. The first week, the last one and a planted ruined one train; the others run as far
as the split, which is what decides where a query stands. One test, because each step is the next one's input.
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

from attune.data.assignments import moves, read_assignments

AT_FIRST, A_WEEK, WEEKS = 180, 8, 12
COLLEAGUES, ROLLED_BACK = 5, 10
PAGE, KEYS = "src/attune/evaluation/page/provenance.py", "src/attune/cli/repository/keys.py"
# by week: what the release changes in attune's own files, and the stages whose code is another one
UPGRADES: dict[int, tuple[dict[str, tuple[str, str]], set[str]]] = {
    3: ({"src/attune/stages/prepare.py": ('"""', '# a comment\n"""')}, set()),
    6: ({PAGE: ("run `dvc repro` to make it", "run `dvc repro`, which makes it")}, {"report"}),
    9: (
        {
            KEYS: ("RENAMED: dict[str, str] = {}", 'RENAMED = {"demo.port": "demo.door"}'),
            "advanced.yaml": ("  port: 8765", "  door: 8765"),
        },
        set(),
    ),
}
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


def assigned(folder: Path, revision: str = "") -> dict[str, str]:
    """The split of each query, here or at a revision."""
    file = "metrics/assignments.csv"
    return read_assignments(git(folder, "show", f"{revision}:{file}") if revision else (folder / file).read_text())


def hashes(folder: Path) -> dict[str, str]:
    """The hash of each stage's code, of which a change runs the stage again."""
    own: dict[str, str] = YAML(typ="safe").load((folder / "libraries.yaml").read_text())["attune"]
    return {name: value for name, value in own.items() if name not in ("version", "dvc_yaml")}


def failed(gate: str) -> set[str]:
    """The checks that stop the merge."""
    return {line.split()[0] for line in gate.splitlines() if line.split()[1:2] == ["FAILED"]}


def merge(ours: Path, theirs: Path, pairs: list[Pair]) -> None:
    """Merges a colleague's branch as docs/team.md says; `pairs` are the colleague's rows."""
    git(ours, "fetch", "-q", str(theirs), "HEAD:theirs")
    refused = subprocess.run(
        ["git", "merge", "theirs"], cwd=ours, env=os.environ | GIT, capture_output=True, check=False
    )
    assert refused.returncode != 0  # dvc.lock, metrics/ and the data's .dvc file
    git(ours, "checkout", "--ours", "dvc.lock", "metrics", "data/own/faq.csv.dvc")
    append(ours, pairs)
    commit(ours, "merged")


def release(folder: Path) -> None:
    """Releases the model as v1 and makes it the champion, by the commands of models/champions."""
    commit(folder, "trained")
    gto(folder, "register", "embedder-onnx", "--version", "v1.0.0")
    dvc(folder, "get", ".", "models/onnx", "--rev", "embedder-onnx@v1.0.0", "-o", "models/champions/v1")
    dvc(folder, "add", "-q", "models/champions/v1")
    miniature.change(folder, {"evaluate": {"champion": "v1"}})


def weekly(shop: Path, attune: Installed, pairs: list[Pair], folder: Path) -> None:
    """Lives through the weeks 1 to 12 but for training, and checks each."""
    for week in range(1, WEEKS + 1):
        new = pairs[A_WEEK * (week - 1) : A_WEEK * week]
        before = assigned(shop)
        if week in UPGRADES:
            edits, expected = UPGRADES[week]
            old = hashes(shop)
            attune.release(edits)
            attune(shop, "upgrade")
            assert {name for name, own in hashes(shop).items() if old[name] != own} == expected
        if week == COLLEAGUES:
            for name in ("ann", "ben"):
                git(folder, "clone", "-q", str(shop), name)
                dvc(folder / name, "pull", "-q", "--allow-missing", "data/own/faq.csv", "collect", "prepare", "split")
                append(folder / name, new[::2] if name == "ann" else new[1::2])
                commit(folder / name, name)
            sides = [assigned(folder / name) for name in ("ann", "ben")]
            merge(folder / "ann", folder / "ben", new[1::2])
            assert all(moves(side, assigned(folder / "ann"))[0] == {} for side in sides)
            dvc(folder / "ann", "push", "-q", "data/own/faq.csv", "collect", "prepare", "split")
            git(shop, "pull", "-q", "--ff-only", str(folder / "ann"), "HEAD")
            dvc(shop, "pull", "-q", "data/own/faq.csv", "collect", "prepare", "split")
        else:
            append(shop, new)
            commit(shop, f"week {week}")
        assert moves(before, assigned(shop)) == ({}, len(before)) and len(assigned(shop)) > len(before)
        if week == COLLEAGUES - 1:
            dvc(shop, "push", "-q", "data/own/faq.csv", "collect", "prepare", "split")
        if week == ROLLED_BACK:
            git(shop, "revert", "--no-edit", "HEAD")
            dvc(shop, "checkout", "-q", "data/own/faq.csv", "collect", "prepare", "split")
            assert assigned(shop) == before and dvc(shop, "repro", "split") == set()


@pytest.mark.slow
def test_a_year_in_a_repository_of_ones_own(tmp_path: Path, warm_stages: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """No query moves; upgrades run what changed; the gate stops grown data alone and a worse model, not a fair one."""
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
    miniature.change(shop, {"demo": {"port": 9000}})
    dvc(shop, "remote", "add", "-q", "-d", "storage", str(tmp_path / "storage"))

    dvc(shop, "repro")
    assert failed(attune(shop, "gate")) == set()
    release(shop)
    assert "champion" in attune(shop, "upgrade")
    dvc(shop, "repro")
    commit(shop, "with a champion")
    git(shop, "tag", "first")
    dvc(shop, "push", "-q")
    weekly(shop, attune, pairs[AT_FIRST:], tmp_path)
    assert "  door: 9000" in (shop / "advanced.yaml").read_text()

    dvc(shop, "repro")
    commit(shop, "a year")
    judged = attune(shop, "gate", "--against", "first")
    assert failed(judged) == set()
    assert "champion v1 is scored on today's test" in judged and "none of" in judged
    miniature.change(shop, {"evaluate": {"champion": ""}})
    attune(shop, "upgrade")
    dvc(shop, "repro", "report")
    assert "ATT021" in failed(attune(shop, "gate", "--against", "first", code=1))
    git(shop, "checkout", "-q", "--", ".")
    miniature.change(shop, {"train": {"learning_rate": 1.0e-2, "epochs": 3}, "merge": {"keep": "last"}})
    dvc(shop, "repro")
    assert "ATT046" in failed(attune(shop, "gate", "--against", "first", code=1))
