"""Times fastembed on the fp32 graph of an exported encoder, in a process with its own environment."""

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
MAX_ABS_DIFF = 1e-5  # between elements of its vectors and attune's
Seconds = Callable[[Sequence[str]], float]  # CPU-seconds of embedding these texts once


@contextmanager
def fastembed(folder: Path, dim: int, threads: int) -> Iterator[dict[str, Seconds]]:
    """Yields the timing function by system name; prints a line and yields nothing where fastembed is not installed."""
    if not PYTHON.is_file():
        print(f"fastembed is left out: {PYTHON} not found; `make test-consumers` installs it")
        yield {}
        return
    command = [str(PYTHON), str(WORKER), str(folder), FP32, str(dim), str(threads)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, text=True, env={"HF_HUB_OFFLINE": "1"}, stdin=pipe, stdout=pipe) as process:
        assert process.stdin and process.stdout
        requests, replies = process.stdin, process.stdout

        def seconds(texts: Sequence[str]) -> float:
            requests.write(json.dumps(list(texts)) + "\n")
            requests.flush()
            answer = _answer(replies)
            vectors = np.array(answer["vectors"])
            expected = Embedder(folder, FP32, threads).encode(texts[: len(vectors)])
            np.testing.assert_allclose(vectors, expected, atol=MAX_ABS_DIFF)  # checks that both run the same encoder
            return float(answer["seconds"])

        yield {f"fastembed {_answer(replies)['version']}, fp32": seconds}
        requests.close()


def _answer(replies: IO[str]) -> dict[str, Any]:
    line = replies.readline()
    if not line:
        raise BadInput(f"{PYTHON}: fastembed ended; its message is above")
    answer: dict[str, Any] = json.loads(line)
    return answer
