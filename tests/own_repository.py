"""Wheels of attune, environments in which one is installed, and repositories that `attune new` makes there."""

import os
import shutil
import site
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

from branches import GIT, ROOT
from shipped_params import write_shipped

PARTS = ("src", "setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")
PACKED = ("dvc.yaml", "params.yaml", "advanced.yaml", "libraries.yaml", "constraints.txt", "data/general")
ASKED = ("cancel", "change", "track", "return", "exchange", "print", "find", "pay", "delete", "extend", "repair")
THINGS = ("order", "parcel", "refund", "invoice", "address", "password", "delivery", "voucher", "battery", "screen")


def copy_sources(folder: Path, edits: Mapping[str, tuple[str, str]] | None = None) -> Path:
    """Copies the files that attune is built from to a folder, with its parameters as shipped; returns it.

    Args:
        folder: for the copy.
        edits: by path, a text there and the one that takes its place.
    """
    for name in (*PARTS, *PACKED):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(ROOT / name, folder / name)
    write_shipped(folder)
    for name, (old, new) in (edits or {}).items():
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text, f"{name} lacks {old!r}"
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")
    return folder


def build_wheel(folder: Path, edits: Mapping[str, tuple[str, str]] | None = None) -> Path:
    """Builds attune's wheel from a copy of the sources, without network; returns its path.

    Args:
        folder: for the copy and the wheel.
        edits: by path, a text there and the one that takes its place.
    """
    copy = copy_sources(folder / "sources", edits)
    options = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "-w", str(folder))
    run(folder, sys.executable, "-m", "pip", "wheel", *options, str(copy))
    return next(folder.glob("attune-*.whl"))


def environment(folder: Path) -> Path:
    """Makes an environment that sees the libraries of this one, but no attune; returns its interpreter."""
    run(folder.parent, sys.executable, "-m", "venv", "--without-pip", str(folder))
    python = folder / "bin" / "python"
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    # a .pth in a folder that a .pth adds is not read, so an editable attune of this environment stays out
    (packages / "libraries.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return python


def install(python: Path, requirement: Path | str) -> None:
    """Installs a wheel, or what a requirement of pip names, in place of the attune that is there."""
    options = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--force-reinstall")
    command = (sys.executable, "-m", "pip", "--python", str(python), "install", *options, "--no-warn-script-location")
    run(python.parent, *command, str(requirement))


def run(
    folder: Path, *command: str, check: bool = True, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a program, without this project's sources on the path of Python; with more variables, if any are given."""
    own = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    # behind the program's own folder that of this interpreter: DVC's queue starts the program `dvc`
    path = os.pathsep.join([str(Path(command[0]).parent), str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        command,
        cwd=folder,
        env=own | GIT | {"PATH": path} | dict(variables or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    assert not check or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


def write_questions(file: Path, things: Sequence[str] = THINGS) -> Path:
    """Writes a csv of questions and answers, each pair unlike the others."""
    rows = [
        f"how do I {verb} my {thing},To {verb} a {thing} open its page; number {7 * i + j} of the {verb} list has it"
        for i, verb in enumerate(ASKED)
        for j, thing in enumerate(things)
    ]
    file.write_text("\n".join(["question,answer", *rows]) + "\n")
    return file
