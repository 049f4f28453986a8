"""A run against a revision's: the same bytes, another class of CPU, a fault, or nothing to compare with."""

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from branches import ROOT, attune, git
from numpy.typing import NDArray
from ruamel.yaml import YAML
from shipped_params import PANEL

from attune.cli.review.gate import reader
from attune.cli.review.locks import changed, equal_on_all_cpus, inputs, stages_of
from attune.cli.review.same import Difference, _largest
from attune.evaluation.scoring.groups import COLUMNS, KEPT

CPU, ANOTHER = "AMD AVX2", "Intel AMX"
REPORT, DRIFT, SPLIT, SEEDS = (f"metrics/{name}.json" for name in ("report", "drift", "split", "seeds"))
GROUPS = "metrics/plots/groups/tuned.csv"

Floats = NDArray[np.float64]


def groups(shifts: Floats) -> str:
    """Returns scores of 100 groups of 10 queries as csv, .5 and a shift each."""
    rows = [(place, 10, *(f"{0.5 + shift:.6f}" for _ in KEPT)) for place, shift in enumerate(shifts)]
    return "\n".join(",".join(map(str, row)) for row in [COLUMNS, *rows]) + "\n"


class Project:
    """A project as a run leaves it: dvc.lock, metrics/ and parameters, committed to git.

    Stage split reads no section `machine`; train does, and report reads what train made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outs = {"data/splits": "5" * 32, "models/tuned": "7" * 32}
        self.machine = {"threads": 2}
        (folder / ".dvc").mkdir(parents=True)
        (folder / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
        for name in ("params.yaml", "advanced.yaml"):
            shutil.copy(PANEL.with_name(name), folder / name)
        self.write(SPLIT, json.dumps({"n_test_queries": 1000}))
        drift = {"is_drifted": False, "is_decided": True, "verdict": "Not drifted.", "is_reindex_needed": True}
        self.write(DRIFT, json.dumps(drift))
        self.write(SEEDS, json.dumps({"n_seeds": 1}))
        self.write(REPORT, json.dumps({"cpu": CPU, "verdict": "Better: .1"}))
        self.write(GROUPS, groups(np.zeros(100)))
        self.lock()

    def write(self, path: str, text: str) -> None:
        """Writes a file."""
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(text)

    def lock(self) -> None:
        """Writes dvc.lock as a run does, with the hashes of the files as they are."""
        stages: dict[str, Any] = {
            "split": {"cmd": "split", "params": {"params.yaml": {"split": {"by": "cluster"}}}},
            "train": {"cmd": "train", "params": {"params.yaml": {"machine": self.machine}}},
            "report": {"cmd": "report", "deps": [self.entry("models/tuned"), {"path": "src/x.py", "md5": "1" * 32}]},
        }
        made = {"split": ["data/splits", SPLIT], "train": ["models/tuned"], "report": [DRIFT, GROUPS, REPORT, SEEDS]}
        stages = {name: {**stage, "outs": [self.entry(path) for path in made[name]]} for name, stage in stages.items()}
        with (self.folder / "dvc.lock").open("w") as file:
            YAML(typ="safe").dump({"schema": "2.0", "stages": stages}, file)

    def entry(self, path: str) -> dict[str, str]:
        """Returns the entry of an output in dvc.lock."""
        known = self.outs.get(path)
        return {"path": path, "md5": known or hashlib.md5((self.folder / path).read_bytes()).hexdigest()}

    def commit(self) -> "Project":
        """Commits all to branch main of a new repository."""
        git(self.folder, "init", "-q")
        git(self.folder, "add", "-A")
        git(self.folder, "commit", "-q", "-m", "main")
        return self

    def runs_elsewhere(self, shifts: Floats, cpu: str = ANOTHER) -> None:
        """Makes the run on a CPU of this class: other weights, and scores that differ by these shifts."""
        self.outs["models/tuned"] = "8" * 32
        self.changes(REPORT, cpu=cpu)
        self.write(GROUPS, groups(shifts))
        self.lock()

    def changes(self, path: str, **values: object) -> None:
        """Changes a receipt, and its hash in dvc.lock."""
        self.write(path, json.dumps(json.loads((self.folder / path).read_text()) | values))
        self.lock()

    def same(self, *arguments: str) -> tuple[int, str]:
        """Runs `attune same`; returns its exit code and its only line."""
        done = attune(self.folder, "same", *arguments)
        line = (done.stdout + done.stderr).removesuffix("\n")
        assert "\n" not in line and line.startswith("attune same: "), line
        return done.returncode, line.removeprefix("attune same: ")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A committed run."""
    return Project(tmp_path / "project").commit()


def by_chance(size: float) -> Floats:
    """Returns 100 shifts around 0, the mean of which is below 2 standard errors."""
    return size * np.random.default_rng(3).standard_normal(100)


def test_the_run_of_the_last_commit_is_the_same(project: Project) -> None:
    """One line, exit code 0, whatever the name of the revision."""
    assert project.same() == (0, "the same bytes as HEAD")
    assert project.same("main") == (0, "the same bytes as main")


def test_another_class_of_cpu_is_named_with_the_largest_difference(project: Project) -> None:
    """Other weights and scores, but the same texts, splits and verdicts: exit code 0."""
    project.runs_elsewhere(by_chance(0.03))
    code, line = project.same()
    assert code == 0, line
    assert re.fullmatch(
        r"another class of CPU \(Intel AMX here, AMD AVX2 at HEAD\): every verdict the same, "
        r"largest difference \.00\d \(recall@10 of tuned\), within what seeds do",
        line,
    )


def test_a_cpu_that_was_not_recorded_is_no_fault(project: Project) -> None:
    """Reports of earlier revisions name none; the same unknown class is not taken for the same class."""
    project.changes(REPORT, cpu="")
    git(project.folder, "commit", "-q", "-a", "-m", "earlier")
    project.runs_elsewhere(by_chance(0.03), cpu="")
    code, line = project.same()
    assert code == 0 and "(not recorded here, not recorded at HEAD)" in line


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p.runs_elsewhere(by_chance(0.03) - 0.02), r"recall@10 of tuned -0\.0\d\d, .*, beyond what seeds do"),
        (
            lambda p: p.runs_elsewhere(by_chance(0.03) + 0.02),
            r"recall@10 of tuned \+0\.0\d\d, .*, beyond what seeds do",
        ),
        (
            lambda p: p.runs_elsewhere(by_chance(0.03), cpu=CPU),
            r"same class of CPU \(AMD AVX2\) in metrics/plots/groups",
        ),
        (lambda p: p.outs.update({"data/splits": "6" * 32}), "other bytes in data/splits, which no CPU changes"),
        (lambda p: p.changes(SPLIT, n_test_queries=999), "other bytes in metrics/split.json, which no CPU changes"),
        (lambda p: p.changes(DRIFT, is_drifted=True), r"ATT011 drift \(passed there, failed here\)"),
        (lambda p: p.changes(DRIFT, is_reindex_needed=False), r"re-index \(needed there, not needed here\)"),
        (lambda p: p.changes(REPORT, verdict="Worse: .1"), r"ATT001 .* \(passed there, failed here\)"),
    ],
)
def test_what_no_other_cpu_does_is_a_fault(project: Project, change: Callable[[Project], None], words: str) -> None:
    """A loss or gain beyond chance, other bytes on the same class, other splits, a verdict that turned: exit code 1."""
    project.runs_elsewhere(by_chance(0.03))
    change(project)
    project.lock()
    code, line = project.same()
    assert code == 1 and line.startswith("a fault, compared with HEAD: "), line
    assert re.search(words, line), line


def test_figures_edited_by_hand_are_a_fault(project: Project) -> None:
    """A file in metrics/ that is not as dvc.lock records it, or is gone."""
    project.write(SEEDS, json.dumps({"n_seeds": 5}))
    code, line = project.same()
    assert code == 1 and "metrics/seeds.json is not as dvc.lock records it (edited by hand?)" in line
    (project.folder / SEEDS).unlink()
    code, line = project.same()
    assert code == 1 and "metrics/seeds.json is missing" in line


def test_a_verdict_that_only_one_side_could_tell_is_named_and_no_fault(project: Project) -> None:
    """An interval around a limit may lie on either side of it by chance."""
    project.runs_elsewhere(by_chance(0.03))
    project.changes(REPORT, verdict="No clear change: .1")
    code, line = project.same()
    assert code == 0 and re.search(r"every verdict the same but ATT001 .* \(passed there, undecided here\), larg", line)


def test_other_inputs_cannot_be_compared(project: Project) -> None:
    """Other parameters or code make another model: exit code 2, and the line names what changed."""
    project.machine = {"threads": 4}
    project.runs_elsewhere(by_chance(0.03) - 0.1)
    code, line = project.same()
    assert code == 2 and line.startswith("other inputs than HEAD: params.yaml: machine.threads; "), line


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("folder", r"nothing to compare with: .* is not a git repository; run in a git repository with a commit"),
        ("empty", "nothing to compare with: no commit yet; commit first"),
        ("unknown", "revision 'main~9': not found here; git fetch it .*"),
        ("no lock", r"nothing to compare with: no dvc\.lock at HEAD; run `dvc repro`"),
        ("no run", r"nothing to compare with: no dvc\.lock here; run `dvc repro`"),
        ("damaged", r"dvc\.lock \(here\): expected stages in YAML, got .*"),
    ],
)
def test_where_there_is_no_earlier_run_one_line_says_so(tmp_path: Path, place: str, line: str) -> None:
    """Exit code 2, after which `make repro` succeeds."""
    project = Project(tmp_path / "project")
    if place == "empty":
        git(project.folder, "init", "-q")
    elif place != "folder":
        lock = project.folder / "dvc.lock"
        text = lock.read_text()
        if place == "no lock":
            lock.unlink()
        project.commit()
        lock.write_text(text if place != "damaged" else "[")
        if place == "no run":
            lock.unlink()
    code, said = project.same(*(["main~9"] if place == "unknown" else []))
    assert code == 2 and re.fullmatch(line, said), said


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (1, 2), (2, 0)])
def test_make_repro_ends_with_the_line(tmp_path: Path, code: int, expected: int) -> None:
    """Only a fault fails it (make's own code is 2): where there is nothing to compare with, it succeeds."""
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("Makefile", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    (programs.parent / "ready").touch()
    for name, script in (("python", "echo python $*"), ("attune", f"echo attune $*: a line; exit {code}")):
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    done = subprocess.run(["make", "repro"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == expected
    assert done.stdout.splitlines()[-1] == "attune same: a line"


def test_no_cpu_changes_texts_and_splits() -> None:
    """Of the committed pipeline: all but what encodes, computes or reads what does."""
    stages = stages_of((ROOT / "dvc.lock").read_text(), "here")
    equal = equal_on_all_cpus(stages)
    assert {
        "data/raw",
        "data/prepared",
        "data/splits",
        "data/near_domain",
        "metrics/split.json",
    } <= equal
    moved = {
        "models/base",
        "data/embeddings/base",
        "data/mined/r1",
        "models/tuned",
        "models/onnx",
        "metrics/report.json",
    }
    assert not equal & moved
    assert {path.partition("/")[0] for path in equal} == {"data", "metrics"}


def test_inputs_are_code_data_and_parameters() -> None:
    """Outputs of other stages are none, also below or above a path that dvc.lock names."""
    made = inputs(stages_of((ROOT / "dvc.lock").read_text(), "here"))
    assert made["params.yaml: train.seeds"] and made["src/attune/stages/train.py"] and made["the command of train@r1"]
    assert not {"data/splits", "data/splits/test", "data/runs", "metrics/probe"} & made.keys()
    assert changed({"a": 1, "b": 1, "c": None}, {"a": 1, "b": 2}) == ["b", "c"]


def test_the_figures_here_are_those_of_the_last_commit_or_of_another_cpu() -> None:
    """After `make repro` on another class of CPU, or in the middle of an experiment, nothing but a fault fails."""
    done = attune(ROOT, "same")
    assert done.returncode in (0, 2), done.stdout + done.stderr
    assert reader(ROOT)("dvc.lock")


@pytest.mark.parametrize(("key", "is_equal"), [("machine", False), ("machine.threads", False), ("split", True)])
def test_what_reads_a_key_of_machine_may_differ(key: str, is_equal: bool) -> None:
    """DVC records a tracked key with its section; such a stage computes, and its bytes depend on the CPU."""
    stage = {"params": {"params.yaml": {key: 2}}, "outs": [{"path": "models/base", "md5": "1" * 32}]}
    assert equal_on_all_cpus({"base": stage}) == ({"models/base"} if is_equal else set())


def test_a_large_difference_that_chance_explains_is_not_said_to_be_what_seeds_do() -> None:
    """Beyond SEED_SHIFT the line gives the interval: so few queries cannot tell a loss from chance."""
    found = [Difference("recall@10 of tuned", -0.2, -0.41, 0.01), Difference("mrr@10 of tuned", 0.001, -0.1, 0.1)]
    assert _largest(found) == (
        "largest difference .200 (recall@10 of tuned), interval -0.410 to +0.010: these queries cannot tell it from "
        "chance"
    )
    assert _largest(found[1:]).endswith("within what seeds do")
