"""Competitors in processes of their own: each has its own memory, its own threads and, if it must, its own packages.

A worker is a script that answers lines of JSON on stdin with lines on stdout. It times itself, so that what the pipe
and the waiting cost is nobody's. Only the standard library is imported: environments may hold nothing else.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[1]


class Gone(Exception):
    """A worker ended without an answer; its own words are on stderr."""


class Worker:
    """A script at work, from the side that asks it. The script has begun when `ready` returns.

    Args:
        name: as it is called in messages.
        program: what the interpreter runs: ("-m", module) or a file.
        python: the interpreter, of whatever environment.
    """

    def __init__(self, name: str, program: Sequence[str], *arguments: str, python: str | Path = sys.executable) -> None:
        self.name = name
        self.peak_bytes = 0
        self.facts: dict[str, Any] = {}
        command: Sequence[str] = [str(python), *program, *arguments]
        quiet = os.environ | {"TQDM_DISABLE": "1"}  # no bars between the tables
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, cwd=ROOT, env=quiet, stdin=pipe, stdout=pipe, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.close()

    def ready(self) -> float:
        """Waits until it has loaded all it needs; the seconds that took.

        Raises:
            Gone: it failed.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Gone(f"{self.name} ended with exit code {self._process.wait()}, see above")
        answer = json.loads(line)
        self.peak_bytes = answer["peak_bytes"]
        self.facts |= answer["facts"]
        return float(answer["seconds"])

    def ask(self, **request: object) -> float:
        """Has it do its work once; its own seconds.

        Raises:
            Gone: it failed.
        """
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the answer says what became of it
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        return self.ready()

    def close(self) -> None:
        """Ends it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class Line:
    """The line to whoever asks, from the worker's side. What libraries print goes to stderr from here on."""

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def tell(self, seconds: float, **facts: object) -> None:
        """Answers; facts are whatever else the other side wants to know."""
        answer = {"seconds": seconds, "peak_bytes": peak_bytes(), "facts": facts}
        print(json.dumps(answer), file=self._answers, flush=True)

    def wait(self) -> dict[str, Any] | None:
        """The next request; None when there is none to come."""
        line = sys.stdin.readline()
        return json.loads(line) if line else None


def obey(prepare: Callable[[], Callable[..., object]]) -> None:
    """Prepares, says so, then does the work for each request, whose keys are its arguments.

    What the work returns, if it is a dictionary, are facts for the other side.
    """
    line = Line()
    start = time.perf_counter()
    work = prepare()
    line.tell(time.perf_counter() - start)
    while (request := line.wait()) is not None:
        start = time.perf_counter()
        found = work(**request)
        seconds = time.perf_counter() - start
        line.tell(seconds, **(found if isinstance(found, dict) else {}))


def peak_bytes() -> int:
    """The most memory that this process has had."""
    try:
        # getrusage also counts what the parent had before it became this program
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
