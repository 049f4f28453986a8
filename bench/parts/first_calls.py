"""How often the first square roots of a process differ from the same ones again: with threads set in two ways.

Processes alternate: one sets torch's threads alone, three by `set_torch_threads`. Each takes square roots twice, as an
optimizer's first two steps do, and compares their bytes. More threads than cores make a difference likelier. Processes
are forks, which begin before any thread has started.
"""

import argparse
import os
from collections.abc import Callable, Iterator

import numpy as np
import torch

from attune.encoding.torch_threads import set_torch_threads
from attune.runtime.arrays import Float32

TURNS: tuple[tuple[str, Callable[[int], None]], ...] = (
    ("torch.set_num_threads", torch.set_num_threads),
    *(("set_torch_threads", set_torch_threads),) * 3,
)
SHARE = 2048  # fewest numbers that torch gives a thread


def differs(set_threads: Callable[[int], None], threads: int, numbers: Float32) -> bool:
    """Tells whether the first and second square roots of a new process differ."""
    process_id = os.fork()
    if not process_id:
        set_threads(threads)
        squares = torch.from_numpy(numbers)
        _ = squares * 2  # starts the threads, so that they begin their shares of the roots together
        first, second = squares.sqrt(), squares.sqrt()
        os._exit(not torch.equal(first, second))
    code = os.waitstatus_to_exitcode(os.waitpid(process_id, 0)[1])
    if code not in (0, 1):
        raise RuntimeError(f"a process ended with {code}")
    return code == 1


def compared(processes: int, threads: int) -> Iterator[tuple[str, bool]]:
    """Yields of each process the way in which it set its threads, and whether its square roots differed."""
    numbers = np.random.default_rng(0).random(threads * SHARE, dtype=np.float32)
    for number in range(processes):
        name, set_threads = TURNS[number % len(TURNS)]
        yield name, differs(set_threads, threads, numbers)


def main() -> None:
    """Prints processes and differences of both ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=4000, help="a quarter of them the old way")
    parser.add_argument("--threads", type=int, default=8)
    options = parser.parse_args()
    counts = {name: [0, 0] for name, _ in TURNS}
    for name, is_different in compared(options.processes, options.threads):
        counts[name][0] += 1
        counts[name][1] += is_different
    for name, (n, n_different) in counts.items():
        print(f"{name}: {n_different} of {n} processes took other square roots at first")


if __name__ == "__main__":
    main()
