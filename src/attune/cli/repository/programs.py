"""git and dvc, as a new or upgraded repository calls them."""

import os
import subprocess
import sys
from pathlib import Path

from attune.errors import BadInput

NOBODY = ("-c", "user.name=attune", "-c", "user.email=attune@localhost")  # where git knows no author


def run(folder: Path, *command: str) -> str:
    """Runs a program in a folder; returns its output.

    Raises:
        BadInput: it is missing or fails; the line has what it said.
    """
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise BadInput(f"{command[0]} is missing; install it and run again") from None
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip()
        said = said or f"exit code {done.returncode}"
        raise BadInput(f"{' '.join(command[:4])} in {folder}: {said}; mend that and run again")
    return done.stdout.strip()


def git(folder: Path, *arguments: str) -> str:
    """Runs git; returns its output."""
    return run(folder, "git", *arguments)


def dvc(folder: Path, *arguments: str) -> str:
    """Runs the dvc of this environment; returns its output."""
    return run(folder, sys.executable, "-m", "dvc", *arguments)


def is_in_git(folder: Path) -> bool:
    """Says if a folder belongs to a git repository."""
    return _succeeds(folder, "rev-parse", "--is-inside-work-tree")


def dvc_root(folder: Path) -> Path | None:
    """Returns the DVC repository that a folder lies in, as part of one git repository; None where there is none."""
    if not is_in_git(folder):
        return None
    top = Path(git(folder, "rev-parse", "--show-toplevel"))
    above = (path for path in (folder, *folder.parents) if path.is_relative_to(top))
    return next((path for path in above if (path / ".dvc").is_dir()), None)


def commit(folder: Path, message: str) -> None:
    """Commits all files of a folder, by the user's name where git knows it."""
    git(folder, "add", "--", ".")
    author = () if _succeeds(folder, "config", "user.email") or "GIT_AUTHOR_EMAIL" in os.environ else NOBODY
    try:
        git(folder, *author, "commit", "-q", "-m", message, "--", ".")
    except BaseException:  # a hook refuses: the user's next commit must not take these files along
        _succeeds(folder, "reset", "-q", "--", ".")
        raise


def _succeeds(folder: Path, *arguments: str) -> bool:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, check=False).returncode == 0
