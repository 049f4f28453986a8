"""Stage with two processes, one of which fails or whose launcher is killed; imports little, to start fast."""

import os
import signal
from pathlib import Path

from attune.encoding import launch, processes
from attune.encoding.launch import SharedParams
from attune.errors import BadInput
from attune.stage import Out, Receipt, run


def fail(params: SharedParams, how: str, pids: Path, out: Out) -> Receipt:
    """Begins the output on rank 0, then fails in the given way before the last barrier."""
    assert processes.world_size() == params.processes
    (pids / str(processes.rank())).write_text(str(os.getpid()))
    if processes.is_rank_0():
        out.write_text("half")
    processes.barrier()
    if how == "orphaned" and processes.is_rank_0():
        os.kill(os.getppid(), signal.SIGKILL)
    if how == "killed" and not processes.is_rank_0():
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "bad input" and not processes.is_rank_0():
        raise BadInput("rows.csv:3: got 'x', expected a number; mend it")
    if how == "bad input everywhere":
        raise BadInput("rows.csv:3: got 'x', expected a number; mend it")
    if how == "fault" and not processes.is_rank_0():
        raise KeyError("a fault of the program")
    if how == "orphaned":
        signal.pause()
    processes.barrier()
    return {}


if __name__ == "__main__":
    run(fail, launch.call)
