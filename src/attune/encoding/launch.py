"""Runs a stage on as many processes as its parameter `processes` says.

On one host the stage starts them itself. On several, `torchrun` starts the same command on each, which is seen by the
variables that it sets. The first process writes the outputs and the receipt, all or nothing as ever; when one fails,
all end, and one line says why.
"""

import json
import logging
import os
import signal
import socket
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from attune import stage
from attune.encoding import processes
from attune.errors import BadInput
from attune.stage import Machine, Params, Stage

GRACE = 3.0  # seconds that the others have to notice a failure themselves, before they are ended
TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


class SharedParams(Params):
    """The parameters of a stage that several processes can share."""

    processes: int = Field(ge=1, le=65536)
    machine: Machine


def call(function: Stage, params: SharedParams, receipt: Path | None, **arguments: Any) -> None:  # noqa: ANN401
    """Runs a stage as `stage.call` does, in one process or in several.

    Raises:
        BadInput: what a process raised, or that one was killed; torchrun started another number than `processes`.
        RuntimeError: the traceback of a fault in a process.
    """
    if all(name in os.environ for name in TORCHRUN):
        _as_one_of_torchruns(function, params, receipt, arguments)
    elif params.processes > 1:
        _start(function, params, receipt, arguments)
    else:
        stage.call(function, params, receipt, **arguments)


def take_part(function: Stage, params: SharedParams, receipt: Path | None, arguments: Mapping[str, Any]) -> None:
    """Runs a stage in one of the processes that share it; the first writes."""
    if processes.is_first():
        stage.call(function, params, receipt, **arguments)
    else:
        stage.run_unfinished(function, params, arguments)


def _as_one_of_torchruns(
    function: Stage, params: SharedParams, receipt: Path | None, arguments: Mapping[str, Any]
) -> None:
    place, n = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if n != params.processes:
        where = f"params.yaml: {function.__name__}.processes"
        line = BadInput(f"{where}: got {params.processes}, but torchrun started {n}; set it to {n}")
        raise line if place == 0 else SystemExit(1)
    if n == 1:
        return stage.call(function, params, receipt, **arguments)
    from torch.distributed.rendezvous import rendezvous  # noqa: PLC0415

    processes.end_with(os.getppid())
    store, _, _ = next(rendezvous("env://", place, n, timeout=processes.PATIENCE))
    try:
        with processes.joined(place, n, store, params.machine.threads):
            take_part(function, params, receipt, arguments)
    except stage.EXPECTED:
        if store.add("attune failures", 1) > 1:  # all of them met it: one line is enough
            raise SystemExit(1) from None
        raise
    except RuntimeError:
        if store.add("attune failures", 0):  # another process has said why, and closed its connections
            raise SystemExit(1) from None
        raise
    return None


def _start(function: Stage, params: SharedParams, receipt: Path | None, arguments: Mapping[str, Any]) -> None:
    from torch.multiprocessing.spawn import ProcessException, start_processes  # noqa: PLC0415

    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)  # it tells of each process that it ends
    with tempfile.TemporaryDirectory(prefix="attune-") as folder:
        work = (function, params, receipt, dict(arguments), Path(folder), os.getpid())
        context = start_processes(  # type: ignore[no-untyped-call]
            _work, work, nprocs=params.processes, join=False, start_method="spawn"
        )
        try:
            while not context.join(grace_period=GRACE):
                pass
        except ProcessException:
            raise _reason([process.exitcode for process in context.processes], Path(folder)) from None
        finally:
            for process in context.processes:
                process.kill()
                process.join()
            for path in stage.unfinished(function, receipt, arguments):
                stage.discard(path)


def _work(
    place: int,
    function: Stage,
    params: SharedParams,
    receipt: Path | None,
    arguments: Mapping[str, Any],
    folder: Path,
    parent: int,
) -> None:
    """One of the processes on this host: does its part, or leaves word why it could not."""
    from torch.distributed import FileStore  # type: ignore[attr-defined]  # noqa: PLC0415

    processes.end_with(parent)
    n = params.processes
    # accelerate looks for these, as set by torchrun
    os.environ |= {"RANK": str(place), "LOCAL_RANK": str(place), "WORLD_SIZE": str(n), "LOCAL_WORLD_SIZE": str(n)}
    if loopback := [name for _, name in socket.if_nameindex() if name.startswith("lo")]:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback[0])
    try:
        with processes.joined(place, n, FileStore(str(folder / "store"), n), params.machine.threads):
            take_part(function, params, receipt, arguments)
    except stage.EXPECTED as error:
        _leave_word(folder, place, lines=stage.lines(error))
    except Exception:
        _leave_word(folder, place, traceback=traceback.format_exc())


def _leave_word(folder: Path, place: int, **word: str | list[str]) -> None:
    writing = folder / f"{place}.partial"
    writing.write_text(json.dumps(word))
    writing.replace(folder / f"{place}.json")
    os._exit(1)  # at once: a normal end could wait for the other processes


def _reason(codes: list[int | None], folder: Path) -> Exception:
    """Why the processes ended: a kill explains lost connections, and so does bad input; then a fault of the program."""
    for place, code in enumerate(codes):
        if code is not None and code < 0 and code != -signal.SIGTERM:
            name = signal.Signals(-code).name
            why = ", perhaps for want of memory" if -code == signal.SIGKILL else ""
            return BadInput(f"process {place + 1} of {len(codes)} was ended by {name}{why}; run again")
    # in the order in which they were left: what came first made the others lose their connections
    files = sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
    words = [json.loads(file.read_text()) for file in files]
    for word in words:
        if "lines" in word:
            return BadInput(*word["lines"])
    faults = [word["traceback"] for word in words]
    return RuntimeError(faults[0] if faults else f"the processes ended with {codes}")
