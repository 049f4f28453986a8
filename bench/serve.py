"""What a service pays: one query at a time in torch and in ONNX, and attune alone in an empty environment.

    python bench/serve.py [MODEL [FOLDER]]      default models/tuned models/onnx

All take turns in one process, each with a run of queries, as a service gets them: the threads of both libraries go on
spinning for a moment after a query, and query by query each would be waiting for the other's on few cores. Ratios are
of one round, so whatever else the machine does slows all alike; their least, median and largest are shown. The empty
environment gets the wheel that this checkout builds, by pip, from the package index that pip is set up for.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from attune.encoders import load_torch
from attune.runtime import Embedder

ROOT = Path(__file__).resolve().parent.parent
N_ROUNDS, N_QUERIES, N_WARM, THREADS = 15, 20, 3, 2
PAUSE_SECONDS = 0.05  # longer than a library's threads spin
QUERIES = (
    "stack arrays in sequence vertically",
    "shortest path between two nodes of a weighted graph",
    "return the sorted unique elements of an array",
    "fit a linear model by ordinary least squares",
    "how do I fill missing values with the mean of each column",
)
# what a service does first, timed inside the empty environment
FIRST = """
import json, sys, time
start = time.perf_counter()
from attune.runtime import Embedder
imported = time.perf_counter()
embedder = Embedder(sys.argv[1])
embedder.encode_query(["stack arrays in sequence vertically"])
print(json.dumps([imported - start, time.perf_counter() - start]))
"""


Encode = Callable[[list[str]], object]


def timed(encode: Encode) -> list[float]:
    """Milliseconds of each query of a run, once warm."""
    taken = []
    time.sleep(PAUSE_SECONDS)
    for place in range(N_WARM + N_QUERIES):
        query = QUERIES[place % len(QUERIES)]
        start = time.perf_counter()
        encode([query])
        taken.append(1000 * (time.perf_counter() - start))
    return taken[N_WARM:]


def latencies(encoders: Sequence[Encode]) -> np.ndarray:
    """Milliseconds: (n encoders, n rounds, n queries); who is first changes by the round."""
    found = np.empty((len(encoders), N_ROUNDS, N_QUERIES))
    for place in range(N_ROUNDS):
        for encoder in np.roll(np.arange(len(encoders)), place):
            found[encoder, place] = timed(encoders[encoder])
    return found


def print_latencies(model: Path, folder: Path) -> None:
    """The table of p50 and p95, with how many times as fast as torch the p50 is."""
    torch.set_num_threads(THREADS)
    encoder, int8 = load_torch(model), "onnx/model_quantized.onnx"
    encoders: dict[str, Encode] = {
        "SentenceTransformer.encode": lambda texts: encoder.encode(texts, show_progress_bar=False),
        "attune.runtime, fp32": Embedder(folder, threads=THREADS).encode_query,
        "attune.runtime, int8": Embedder(folder, int8, THREADS).encode_query,
        "attune.runtime, int8, 1 thread": Embedder(folder, int8, 1).encode_query,
    }
    found = latencies(list(encoders.values()))
    medians = np.median(found, axis=2)  # of each round
    ratios = medians[0] / medians
    print(f"{N_ROUNDS} rounds of {N_QUERIES} queries, {THREADS} threads\n")
    print("| one query | p50, ms | p95, ms | times as fast, p50: least | median | largest |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, every, ratio in zip(encoders, found, ratios, strict=True):
        times = " | ".join(f"{value:.1f}" for value in (ratio.min(), np.median(ratio), ratio.max()))
        print(f"| {name} | {np.median(every):.1f} | {np.percentile(every, 95):.1f} | {times} |")


def size(folder: Path) -> float:
    """Megabytes of all files."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def print_empty_environment(folder: Path) -> None:
    """Builds the wheel, installs it where nothing else is, and times the first answer there."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
        subprocess.run([*pip, "wheel", "--no-deps", "-w", str(place), str(ROOT)], check=True)
        wheel = next(place.glob("attune-*.whl"))
        venv.create(place / "venv", with_pip=True)
        python = place / "venv" / "bin" / "python"
        packages = next((place / "venv" / "lib").glob("python*")) / "site-packages"
        before = size(packages)
        # without PYTHONPATH, by which pip would find this checkout and take it for installed
        bare = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        command = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-compile"]
        subprocess.run([*command, "-c", str(ROOT / "constraints.txt"), str(wheel)], env=bare, check=True)
        installed = sorted({path.name.split("-")[0] for path in packages.glob("*.dist-info")} - {"pip"})
        print(
            f"\nwheel {wheel.stat().st_size / 1000:.0f} kB; installed {size(packages) - before:.0f} MB, of which attune"
        )
        print(f"itself {size(packages / 'attune'):.1f} MB; packages: {', '.join(installed)}")
        for when in ("first run (compiles)", "second run"):
            done = subprocess.run(
                [python, "-c", FIRST, folder.resolve()], cwd=place, env=bare, capture_output=True, text=True, check=True
            )
            imported, answered = json.loads(done.stdout)
            print(f"{when}: import {imported:.2f} s, first answer after {answered:.2f} s")


def main() -> None:
    """Prints both parts as Markdown."""
    defaults = [ROOT / "models/tuned", ROOT / "models/onnx"]
    given = [Path(argument) for argument in sys.argv[1:3]]
    model, folder = [*given, *defaults[len(given) :]]
    print_latencies(model, folder)
    print_empty_environment(folder)


if __name__ == "__main__":
    main()
