"""Runs ranx in its own environment: ranx_worker.py FILE, where FILE is JSON with qrels, run and measures."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from ranx import Qrels, Run, evaluate  # type: ignore[import-not-found]

from bench.workers import obey


def prepare() -> Callable[..., object]:
    """Reads the file; returns a function that computes the measures, which alone is timed."""
    content = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    qrels, run = Qrels(content["qrels"]), Run(content["run"])
    return lambda: {name: float(value) for name, value in evaluate(qrels, run, content["measures"]).items()}


if __name__ == "__main__":
    obey(prepare)
