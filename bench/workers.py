"""Runs each system in its own process, with its own memory, threads and, where needed, packages.

A worker is a script that answers lines of JSON on stdin with lines on stdout. It times itself, so that its seconds
exclude the pipe. This module imports the standard library only, because some environments hold nothing else.
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
    """Raised when a worker ends without an answer; its message is on stderr."""


class Worker:
    """Client side of a worker process; the worker is loaded when `ready` returns.

    Args:
        name: name of the system in messages.
        program: arguments of the interpreter: ("-m", module) or a file.
        python: path of the interpreter.
    """

    def __init__(self, name: str, program: Sequence[str], *arguments: str, python: str | Path = sys.executable) -> None:
        self.name = name
        self.peak_bytes = 0
        self.facts: dict[str, Any] = {}
        command: Sequence[str] = [str(python), *program, *arguments]
        quiet = os.environ | {"TQDM_DISABLE": "1"}  # no progress bars between the tables
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, cwd=ROOT, env=quiet, stdin=pipe, stdout=pipe, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.close()

    def ready(self) -> float:
        """Waits for the worker's next answer, the first of which follows loading; returns the seconds it reports.

        Raises:
            Gone: the worker ended.
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
        """Makes the worker do its work once; returns the seconds it reports.

        Raises:
            Gone: the worker ended.
        """
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # `ready` raises Gone
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        return self.ready()

    def close(self) -> None:
        """Ends the worker; kills it after 10 seconds."""
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
    """Worker side of the pipe; redirects everything that libraries print to stderr."""

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def tell(self, seconds: float, **facts: object) -> None:
        """Sends an answer: seconds, peak memory, and further facts by name."""
        answer = {"seconds": seconds, "peak_bytes": peak_bytes(), "facts": facts}
        print(json.dumps(answer), file=self._answers, flush=True)

    def wait(self) -> dict[str, Any] | None:
        """Returns the next request; None at the end of the input."""
        line = sys.stdin.readline()
        return json.loads(line) if line else None


def obey(prepare: Callable[[], Callable[..., object]]) -> None:
    """Prepares the work, reports the seconds that took, then does the work for each request.

    Keys of a request are arguments of the work. A dictionary that the work returns is sent as facts.
    """
    line = Line()
    start = time.perf_counter()
    work = prepare()
    line.tell(time.perf_counter() - start)
    while (request := line.wait()) is not None:
        start = time.perf_counter()
        result = work(**request)
        seconds = time.perf_counter() - start
        line.tell(seconds, **(result if isinstance(result, dict) else {}))


def peak_bytes() -> int:
    """Returns the peak memory of this process, in bytes."""
    try:
        # getrusage also counts the parent's memory before exec
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
