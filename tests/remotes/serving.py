"""Storage servers as processes of these tests, and the remotes that they serve."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

START_SECONDS = 60


@dataclass(frozen=True)
class Remote:
    """Settings of a repository's storage in .dvc/config, and direct access to its objects without DVC."""

    server: str  # name and version, for the table
    settings: dict[str, str]  # of all users, in .dvc/config
    read: Callable[[str], bytes]  # returns an object by its path in the remote
    write: Callable[[str, bytes], object]
    writers: dict[str, str] = field(default_factory=dict)  # of users who push, in .dvc/config.local
    environment: dict[str, str] = field(default_factory=dict)  # credentials
    keys: Path | None = None  # content of a user's ~/.ssh
    slow: str = ""  # address of the same objects at 20 kB a second


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(command: list[str], port: int, log: Path) -> Iterator[None]:
    """Runs a server for the length of a block, which begins when the server listens."""
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            _wait_for(process, port, log)
            yield
        finally:
            process.terminate()
            process.wait(timeout=START_SECONDS)


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args} does not listen on {port}:\n{log.read_text()}")
        time.sleep(0.1)


def version(*command: str) -> str:
    # these programs print their version to stderr, with any status
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip()
