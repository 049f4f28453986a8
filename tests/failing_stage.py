"""A stage for `attune.launch` whose second process fails, or whose parent dies; it imports little, to start soon."""

import os
import signal
from pathlib import Path

from attune.encoding import processes
from attune.encoding.launch import SharedParams
from attune.errors import BadInput
from attune.stage import Out, Receipt


def fail(_: SharedParams, how: str, pids: Path, out: Out) -> Receipt:
    """The first process has begun to write, and waits for the second, which will not come."""
    (pids / str(processes.number())).write_text(str(os.getpid()))
    if processes.is_first():
        out.write_text("half")
    processes.wait()
    if how == "orphaned" and processes.is_first():
        os.kill(os.getppid(), signal.SIGKILL)
    if how == "killed" and not processes.is_first():
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "bad input" and not processes.is_first():
        raise BadInput("rows.csv:3: got 'x', expected a number; mend it")
    if how == "fault" and not processes.is_first():
        raise KeyError("a fault of the program")
    if how == "orphaned":
        signal.pause()
    processes.wait()
    return {}
