"""Where `tests/remotes/setup` puts the programs of these tests, and one way to run them."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONSUMER = ROOT / "scratch" / "remotes" / "consumer" / "bin"  # dvc, its remotes, attune without extras: no torch
SWIFT = ROOT / "scratch" / "remotes" / "swift" / "bin"
SECONDS = 300


def run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """What the command prints; an error shows what it said."""
    done = attempt(*command, cwd=cwd, env=env)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def attempt(
    *command: str, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The command's outcome, whatever it is."""
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=SECONDS)


def environment(home: Path) -> dict[str, str]:
    """A user of the consumer's environment with a home of their own: no settings or caches of this machine's user."""
    home.mkdir(parents=True, exist_ok=True)
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
