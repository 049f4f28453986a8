"""Commits the finished miniature to a git repository and makes the changes of a pull request to it."""

import csv
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from command_lines import Finished, run_here

from attune.cli.main import main
from attune.evaluation.scoring.groups import COLUMNS, KEPT

ROOT = Path(__file__).resolve().parent.parent
IN_GIT = (
    *("dvc.yaml", "dvc.lock", "params.yaml", "advanced.yaml", "libraries.yaml", "constraints.txt", ".dvcignore"),
    *("src", "metrics"),
)
FOLDERS_IN_GIT = ("data/own", "data/general", "data/tasks", "models/champions", "models/rerankers")
# ignores the user's settings; sets an author, which git requires
GIT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    **{f"GIT_{who}_{what}": "nobody@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


def git(folder: Path, *arguments: str) -> str:
    """Runs git in a folder; returns its output."""
    command = ["git", "-c", "init.defaultBranch=main", *arguments]
    done = subprocess.run(command, cwd=folder, env=os.environ | GIT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def committed(finished: Path, folder: Path) -> Path:
    """Commits the finished pipeline, without data, models and cache, as branch main of a new repository."""
    folder.mkdir(parents=True)
    for name in (*IN_GIT, *FOLDERS_IN_GIT):
        source, target = finished / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    shutil.copy(ROOT / ".gitignore", folder / ".gitignore")
    (folder / ".dvc").mkdir()
    (folder / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "main")
    return folder


def attune(folder: Path, *arguments: str) -> Finished:
    """Runs the command `attune` in a folder, with this tree's code."""
    return run_here(main, folder, *arguments)


def write_as_run(file: Path, text: str, folder: Path) -> None:
    """Rewrites a file and, as a run does, its hash in dvc.lock, where it is an output and a dependency."""
    md5 = hashlib.md5(text.encode()).hexdigest()
    file.write_text(text)
    lock = folder / "dvc.lock"
    name = re.escape(file.relative_to(folder).as_posix())
    pattern = rf"(path: {name}\n +hash: md5\n +md5: )\w+(\n +size: )\d+"
    changed, n = re.subn(pattern, rf"\g<1>{md5}\g<2>{len(text.encode())}", lock.read_text())
    assert n > 0, f"{file} is not in dvc.lock"
    lock.write_text(changed)


def rewrite(folder: Path, receipt: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes a receipt and its hash in dvc.lock."""
    file = folder / "metrics" / f"{receipt}.json"
    content = json.loads(file.read_text())
    change(content)
    write_as_run(file, json.dumps(content, indent=2) + "\n", folder)


def shift(folder: Path, system: str, by: float, n_groups: int | None = None) -> None:
    """Shifts a system's scores in the first n_groups groups of test queries, in its table of groups and its receipt."""
    file = folder / "metrics" / "plots" / "groups" / f"{system}.csv"
    rows = list(csv.DictReader(io.StringIO(file.read_text())))
    total = sum(int(row["n"]) for row in rows)
    moved = 0.0
    for place, row in enumerate(rows[:n_groups]):
        step = by * (0.5 + place / len(rows))  # differs by group, because an interval needs spread
        moved += int(row["n"]) * step / total
        row.update({key: f"{float(row[key]) + step:.6f}" for key in KEPT})
    lines = [",".join(COLUMNS), *(",".join(row[name] for name in COLUMNS) for row in rows)]
    write_as_run(file, "\n".join(lines) + "\n", folder)
    rewrite(folder, system, lambda receipt: receipt.update({key: round(receipt[key] + moved, 6) for key in KEPT}))
