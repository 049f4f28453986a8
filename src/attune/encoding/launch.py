"""Runs a stage on as many processes as its parameter `processes` says; torchrun starts and ends them.

On one host the stage calls torchrun with its own command line. On several hosts the user starts the stage's command
with torchrun on each (docs/distributed.md); the environment variables that torchrun sets tell a worker from the
launcher.
Rank 0 writes the outputs and the receipt, all or nothing. When one process fails, all end, and one of them says why.
"""

import contextlib
import logging
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import Field

from attune import stage
from attune.encoding import processes
from attune.errors import BadInput
from attune.files import discard
from attune.stage import Machine, Params, Stage

GRACE = 3.0  # seconds in which torchrun ends a process because another one has failed
START_TIMEOUT = timedelta(minutes=30)  # between the start of the first process and that of the last
SET_BY_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
LAUNCHER = "ATTUNE_LAUNCHER"  # process id of the stage that called torchrun
N_FAILURES = "attune failures"  # counter in the store of the process group


class SharedParams(Params):
    """Parameters of a stage that several processes can share.

    Attributes:
        processes: number of processes.
        machine: threads, precision and batch size of each.
    """

    processes: int = Field(ge=1, le=65536)
    machine: Machine


def call(function: Stage, params: SharedParams, receipt: Path | None, **arguments: Any) -> None:  # noqa: ANN401
    """Runs a stage as `stage.call` does, in one process or in several.

    Raises:
        BadInput: a process was killed, or torchrun started another number of processes than `processes`.
        SystemExit: a process failed and has said why.
    """
    if all(name in os.environ for name in SET_BY_TORCHRUN):
        _run_worker(function, params, receipt, arguments)
    elif params.processes > 1:
        _launch(function, params, receipt, arguments)
    else:
        stage.call(function, params, receipt, **arguments)


def run_on_rank(function: Stage, params: SharedParams, receipt: Path | None, arguments: Mapping[str, Any]) -> None:
    """Runs a stage in one process of a process group; rank 0 writes its outputs and receipt."""
    if processes.is_rank_0():
        stage.call(function, params, receipt, **arguments)
    else:
        stage.run_unfinished(function, params, arguments)


def _launch(function: Stage, params: SharedParams, receipt: Path | None, arguments: Mapping[str, Any]) -> None:
    """Runs this program's command line through torchrun on this host."""
    from torch.distributed import run as torchrun  # noqa: PLC0415
    from torch.distributed.elastic.multiprocessing.api import SignalException  # noqa: PLC0415
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415

    module = sys.modules["__main__"].__spec__
    program = ["-m", module.name] if module else [sys.argv[0]]
    options = ["--standalone", f"--nproc-per-node={params.processes}", "--local-addr=127.0.0.1"]
    os.environ[LAUNCHER] = str(os.getpid())
    os.environ.setdefault("OMP_NUM_THREADS", str(params.machine.threads))
    if loopback := [name for _, name in socket.if_nameindex() if name.startswith("lo")]:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback[0])
    logging.disable(logging.CRITICAL)  # the failed process says why; torchrun would add a report of its own
    try:
        torchrun.main([*options, *program, *sys.argv[1:]])
    except ChildFailedError as error:
        raise _reason({rank: failure.exitcode for rank, failure in error.failures.items()}, params.processes) from None
    except SignalException as error:
        raise SystemExit(128 + error.sigval) from None
    finally:
        logging.disable(logging.NOTSET)
        for path in stage.unfinished(function, receipt, arguments):
            discard(path)


def _reason(exit_codes: Mapping[int, int], n_processes: int) -> BaseException:
    """Returns an error that names the killed process, or SystemExit(1) if a process already printed why it failed.

    Args:
        exit_codes: exit code of each process that failed, by rank; -n if signal n ended it. torchrun ends the other
            processes by SIGTERM.
        n_processes: number of all processes.
    """
    by_signal = {rank: signal.Signals(-code) for rank, code in sorted(exit_codes.items()) if code < 0}
    killed = {rank: number for rank, number in by_signal.items() if number != signal.SIGTERM}
    if not killed and len(by_signal) < len(exit_codes):
        return SystemExit(1)
    rank, number = next(iter((killed or by_signal).items()))
    why = ", perhaps for want of memory" if number == signal.SIGKILL else ""
    return BadInput(f"process {rank + 1} of {n_processes} was ended by {number.name}{why}; run again")


def _run_worker(function: Stage, params: SharedParams, receipt: Path | None, arguments: Mapping[str, Any]) -> None:
    """Runs a stage in a process that torchrun has started."""
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if world_size != params.processes:
        if rank > 0:
            time.sleep(GRACE)
            raise SystemExit(1)
        where = stage.named(f"{function.__name__}.processes")
        raise BadInput(f"{where}: got {params.processes}, but torchrun started {world_size}; set it to {world_size}")
    if world_size == 1:
        return stage.call(function, params, receipt, **arguments)
    from torch.distributed.rendezvous import rendezvous  # noqa: PLC0415

    processes.exit_with(int(os.environ.get(LAUNCHER, os.getppid())))
    store, _, _ = next(rendezvous("env://", rank, world_size, timeout=START_TIMEOUT))
    try:
        with processes.process_group(rank, world_size, store, params.machine.threads):
            run_on_rank(function, params, receipt, arguments)
    except BaseException as error:
        try:
            _say_why(function.__name__, error, store)
            sys.stderr.flush()
        finally:
            os._exit(1)  # at once: a normal exit could wait for the other processes
    return None


def _say_why(name: str, error: BaseException, store: Any) -> None:  # noqa: ANN401
    """Prints why this process failed, unless another process already printed the cause.

    A RuntimeError may only be the connection that another process closed when it failed. So it is printed after the
    grace period, within which torchrun ends this process in that case.
    """
    if isinstance(error, KeyboardInterrupt):
        return
    if isinstance(error, RuntimeError):
        time.sleep(GRACE)
    if store.add(N_FAILURES, 1) > 1:
        time.sleep(GRACE)
    elif isinstance(error, stage.EXPECTED):
        with contextlib.suppress(SystemExit):
            stage.fail(name, error)
    else:
        traceback.print_exception(error)
