"""ranx in an environment of its own: ranx_worker.py FILE, whose JSON holds qrels, a run and the measures to take."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from ranx import Qrels, Run, evaluate  # type: ignore[import-not-found]

from bench.workers import obey


def prepare() -> Callable[..., object]:
    """Reads all, so that only the measures are timed."""
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    qrels, run = Qrels(given["qrels"]), Run(given["run"])
    return lambda: {name: float(value) for name, value in evaluate(qrels, run, given["measures"]).items()}


if __name__ == "__main__":
    obey(prepare)
