"""Programs that `tests/remotes/setup` installs, and functions that run them."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONSUMER = ROOT / "scratch" / "remotes" / "consumer" / "bin"  # dvc, its remotes, attune without extras: no torch
SWIFT = ROOT / "scratch" / "remotes" / "swift" / "bin"
SERVICE = ROOT / "examples" / "service"
SECONDS = 300


def run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Runs a command and returns its stdout; fails with its output if the exit code is not 0."""
    done = attempt(*command, cwd=cwd, env=env)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def attempt(
    *command: str, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a command and returns the result, whatever its exit code."""
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=SECONDS)


def environment(home: Path, keys: Path | None) -> dict[str, str]:
    """Returns the environment of a user with a home of their own: no settings or caches of this machine's user."""
    home.mkdir(parents=True, exist_ok=True)
    if keys:
        (home / ".ssh").symlink_to(keys)
    (home / ".gitconfig").write_text(
        "[user]\n\tname = tester\n\temail = tester@example.com\n[init]\n\tdefaultBranch = main\n"
    )
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "DVC_", "GIT_", "PYTHON"))
    }
    return inherited | {
        "HOME": str(home),
        "PATH": f"{CONSUMER}:{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(home / "site"),
    }


def same_files(folder: Path, model: Path) -> bool:
    """Tells whether two folders hold the same names with the same bytes, at any depth."""

    def content(root: Path) -> dict[str, bytes]:
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    return content(folder) == content(model)


def pull(url: str, revision: str, store: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs the service's pull.py."""
    return attempt(str(CONSUMER / "python"), str(SERVICE / "pull.py"), url, revision, str(store), env=env)


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    """Waits until a condition holds; fails after the given time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "not within a minute"
        time.sleep(0.05)
