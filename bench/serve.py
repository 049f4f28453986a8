"""What a service pays: one query at a time in torch and in ONNX, and attune alone in an empty environment.

    python bench/serve.py [MODEL [FOLDER]]      default models/tuned models/onnx

Both encoders and both graphs take turns, query by query, in one process with one number of threads: whatever else the
machine does slows all alike, so ratios hold where times do not. The empty environment gets the wheel that this checkout
builds, by pip, from the package index that pip is set up for.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from attune.encoders import load_torch
from attune.runtime import Embedder

ROOT = Path(__file__).resolve().parent.parent
N_ROUNDS, N_WARM, THREADS = 200, 10, 2
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


def latencies(encoders: dict[str, Callable[[list[str]], object]]) -> dict[str, np.ndarray]:
    """Milliseconds of each query by each encoder, in turns: (n rounds,) each."""
    taken: dict[str, list[float]] = {name: [] for name in encoders}
    for place in range(N_WARM + N_ROUNDS):
        query = QUERIES[place % len(QUERIES)]
        for name, encode in encoders.items():
            start = time.perf_counter()
            encode([query])
            taken[name].append(1000 * (time.perf_counter() - start))
    return {name: np.array(values[N_WARM:]) for name, values in taken.items()}


def print_latencies(model: Path, folder: Path) -> None:
    """The table of p50 and p95, with how many times as fast as torch."""
    torch.set_num_threads(THREADS)
    encoder = load_torch(model)
    int8 = Embedder(folder, "onnx/model_quantized.onnx", THREADS)
    found = latencies(
        {
            "SentenceTransformer.encode": lambda texts: encoder.encode(texts, show_progress_bar=False),
            "attune.runtime, fp32": Embedder(folder, threads=THREADS).encode,
            "attune.runtime, int8": int8.encode,
        }
    )
    p50, p95 = ({name: float(np.percentile(ms, q)) for name, ms in found.items()} for q in (50, 95))
    slow = next(iter(found))
    print("| one query | p50, ms | p95, ms | times as fast, p50 | p95 |\n| --- | ---: | ---: | ---: | ---: |")
    for name in found:
        ratios = f"{p50[slow] / p50[name]:.1f} | {p95[slow] / p95[name]:.1f}"
        print(f"| {name} | {p50[name]:.1f} | {p95[name]:.1f} | {ratios} |")


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
