"""fastembed over an exported encoder's fp32 graph, timed in a process of its own environment."""

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from attune.errors import BadInput
from attune.export.folder import FP32
from attune.runtime import Embedder

PYTHON = Path("scratch/consumers/fastembed_0_9/bin/python")
WORKER = Path(__file__).with_name("fastembed_worker.py")
MAX_ABS_DIFF = 1e-5  # of a number of its vectors to one of attune's
Seconds = Callable[[Sequence[str]], float]  # what embedding these texts once takes of the CPU


@contextmanager
def fastembed(folder: Path, dim: int, threads: int) -> Iterator[dict[str, Seconds]]:
    """By its name and version, how long it takes; nothing, and a line that says so, where it is not installed."""
    if not PYTHON.is_file():
        print(f"fastembed is left out: no {PYTHON}; `make test-consumers` installs it")
        yield {}
        return
    command = [PYTHON, WORKER, folder, FP32, str(dim), str(threads)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, text=True, env={"HF_HUB_OFFLINE": "1"}, stdin=pipe, stdout=pipe) as process:
        assert process.stdin and process.stdout
        ask, reply = process.stdin, process.stdout

        def seconds(texts: Sequence[str]) -> float:
            ask.write(json.dumps(list(texts)) + "\n")
            ask.flush()
            answer = _answer(reply)
            found = np.array(answer["vectors"])
            expected = Embedder(folder, FP32, threads).encode(texts[: len(found)])
            np.testing.assert_allclose(found, expected, atol=MAX_ABS_DIFF)  # or it is not the same encoder
            return float(answer["seconds"])

        yield {f"fastembed {_answer(reply)['version']}, fp32": seconds}
        ask.close()


def _answer(reply: IO[str]) -> dict[str, Any]:
    line = reply.readline()
    if not line:
        raise BadInput(f"{PYTHON}: fastembed ended; its message is above")
    found: dict[str, Any] = json.loads(line)
    return found
