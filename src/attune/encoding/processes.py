"""Rank, world size and collectives of the processes that share a stage (torch.distributed).

A stage that runs alone has rank 0 and world size 1, and imports no torch for it. Where several share one, gloo carries
tensors in main memory and nccl those on GPUs. All processes must see the same files (one host, or a shared disk).
"""

import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from typing import Any, TypeVar

from attune.errors import BadInput

# Limit of one collective: a rank may wait for a whole evaluation or for a model being written. A rank that dies is
# noticed at once, as its connections close.
TIMEOUT = timedelta(hours=12)

T = TypeVar("T")


def _distributed() -> Any:  # noqa: ANN401
    """Returns torch.distributed if it is imported and initialised, else None."""
    dist = sys.modules.get("torch.distributed")
    return dist if dist is not None and dist.is_available() and dist.is_initialized() else None


def rank() -> int:
    """Returns the rank of this process, 0 where it runs alone."""
    dist = _distributed()
    return int(dist.get_rank()) if dist else 0


def world_size() -> int:
    """Returns the number of processes, 1 where this one runs alone."""
    dist = _distributed()
    return int(dist.get_world_size()) if dist else 1


def is_rank_0() -> bool:
    """Says if this is the process that writes outputs and shows progress."""
    return rank() == 0


def own_part(rows: Sequence[T]) -> Sequence[T]:
    """Returns this rank's consecutive part of the rows."""
    return parts(rows, world_size())[rank()]


def parts(rows: Sequence[T], n: int) -> list[Sequence[T]]:
    """Cuts rows into n consecutive parts whose sizes differ by at most one, the longer ones first."""
    size, longer = divmod(len(rows), n)
    starts = [size * i + min(i, longer) for i in range(n + 1)]
    return [rows[start:end] for start, end in pairwise(starts)]


def broadcast(decide: Callable[[], T]) -> T:
    """Calls `decide` on rank 0 alone and broadcasts its result (any object that pickles)."""
    if (dist := _distributed()) is None:
        return decide()
    values = [decide() if is_rank_0() else None]
    dist.broadcast_object_list(values, src=0)
    return values[0]  # type: ignore[return-value]


def same_on_all_ranks(run_id: T) -> T:
    """Returns the run id; fails if processes disagree.

    Raises:
        BadInput: this process has another run id than rank 0.
    """
    if broadcast(lambda: run_id) != run_id:
        raise BadInput(
            f"process {rank() + 1} has other data, code, libraries or hardware than process 1; "
            "give all hosts the same folder and environment, and set machine.precision to fp32 or bf16"
        )
    return run_id


def barrier() -> None:
    """Waits until every process has come here."""
    if dist := _distributed():
        dist.barrier()


@contextmanager
def process_group(rank: int, world_size: int, store: Any, threads: int) -> Iterator[None]:  # noqa: ANN401
    """Makes this process a member of a process group within the block.

    Args:
        rank: of this process, from 0.
        world_size: number of processes; all must join.
        store: key-value store of torch.distributed through which they find each other.
        threads: CPU threads of each process.
    """
    import torch  # noqa: PLC0415
    import torch.distributed as dist  # noqa: PLC0415

    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # else accelerate chooses a number of its own
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    # sentence-transformers turns off an option of DDP that is about to be renamed
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=TIMEOUT)
    yield
    dist.destroy_process_group()  # not after an error: it could wait for the process that failed


def exit_with(parent: int) -> None:
    """Ends this process within a second of the death of its parent, SIGKILL included.

    Args:
        parent: process id of the parent.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
