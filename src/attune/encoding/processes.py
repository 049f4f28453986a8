"""The processes that share a stage's work: which of them this is, its part, what all agree on, waiting for all.

A stage that runs alone is process 0 of 1, and none of this costs it anything. Several are joined by torch.distributed:
gloo carries what is in main memory, nccl what is on GPUs. They must see the same files (one host, or a shared disk).
"""

import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from typing import Any, TypeVar

from attune.errors import BadInput

# Who waits does so for a whole evaluation or a model being written, which may take long. A process that died is not
# waited for: its connections close, which the others see at once, and whoever started them ends them.
PATIENCE = timedelta(hours=12)

T = TypeVar("T")
_place = {"number": 0, "count": 1}


def number() -> int:
    """Which process this is, from 0."""
    return _place["number"]


def count() -> int:
    """How many there are."""
    return _place["count"]


def is_first() -> bool:
    """Whether this is the one that writes what there is only one of."""
    return number() == 0


def part(rows: Sequence[T]) -> Sequence[T]:
    """This process's share of what all do together; the shares of all, in their order, are the rows in their order."""
    return parts(rows, count())[number()]


def parts(rows: Sequence[T], n: int) -> list[Sequence[T]]:
    """Cuts rows into n consecutive parts, the first of which may be longer by one."""
    size, longer = divmod(len(rows), n)
    starts = [size * i + min(i, longer) for i in range(n + 1)]
    return [rows[start:end] for start, end in pairwise(starts)]


def agreed(decide: Callable[[], T]) -> T:
    """What the first process decides; the others do not look for themselves."""
    if count() == 1:
        return decide()
    import torch.distributed as dist  # noqa: PLC0415

    told = [decide() if is_first() else None]
    dist.broadcast_object_list(told, src=0)
    return told[0]  # type: ignore[return-value]


def same_for_all(run: T) -> T:
    """What names a run, if it names the same one in all processes.

    Raises:
        BadInput: this process would do another run than the first.
    """
    if agreed(lambda: run) != run:
        raise BadInput(
            f"process {number() + 1} has other data, code, libraries or hardware than process 1; "
            "give all hosts the same folder and environment, and set precision to fp32 or bf16"
        )
    return run


def wait() -> None:
    """Until all are here."""
    if count() > 1:
        import torch.distributed as dist  # noqa: PLC0415

        dist.barrier()


@contextmanager
def joined(place: int, of: int, store: Any, threads: int) -> Iterator[None]:  # noqa: ANN401
    """Joins the processes that share a store of torch.distributed's; in the block this is one of them.

    Args:
        place: which one, from 0.
        of: how many there are; all must join.
        store: where they find each other.
        threads: CPU threads of each process.
    """
    import torch  # noqa: PLC0415
    import torch.distributed as dist  # noqa: PLC0415

    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # else accelerate chooses a number of its own
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    # sentence-transformers turns off what DDP is about to rename
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
    dist.init_process_group(backend(), store=store, rank=place, world_size=of, timeout=PATIENCE)
    _place.update(number=place, count=of)
    try:
        yield
        dist.destroy_process_group()  # not after an error: it could wait for those that the error came from
    finally:
        _place.update(number=0, count=1)


def backend() -> str:
    """What carries the messages: nccl between GPUs, gloo for all else."""
    import torch  # noqa: PLC0415

    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"


def end_with(parent: int) -> None:
    """Ends this process within a second of its parent's death, however that came: nobody would collect its work."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
