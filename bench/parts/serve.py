"""What a service pays: queries in torch and in ONNX, and attune alone in an empty environment; about 4 minutes.

    python -m bench.parts.serve [--model models/tuned] [--folder models/onnx] [--rounds 15]

All take turns in one process, each with a run of requests, as a service gets them: the threads of both libraries go on
spinning for a moment after a request, and request by request each would be waiting for the other's on few cores.
Ratios are of one round, so whatever else the machine does slows all alike. The empty environment gets the wheel that
this checkout builds, by pip, from the package index that pip is set up for.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch

from attune.encoding.encoders import load_torch
from attune.runtime import Embedder
from bench.alternating import Spread
from bench.parts import empty_environment
from bench.parts.ceilings import THREADS
from bench.section import ROOT, Section, Target, show, table

N_REQUESTS, N_WARM = 20, 3
PAUSE_SECONDS = 0.05  # longer than a library's threads spin
BATCHES = (8, 32)
QUERIES = (
    "stack arrays in sequence vertically",
    "shortest path between two nodes of a weighted graph",
    "return the sorted unique elements of an array",
    "fit a linear model by ordinary least squares",
    "how do I fill missing values with the mean of each column",
)
WANTED_FP32, INT8 = 3.0, "onnx/model_quantized.onnx"
Encode = Callable[[list[str]], object]


def requests(batch: int) -> list[list[str]]:
    """Batches of queries, each beginning where the one before ended."""
    texts = cycle(QUERIES)
    return [list(islice(texts, batch)) for _ in range(N_WARM + N_REQUESTS)]


def timed(encode: Encode, asked: Sequence[list[str]]) -> list[float]:
    """Milliseconds of each request of a run, once warm."""
    taken = []
    time.sleep(PAUSE_SECONDS)
    for texts in asked:
        start = time.perf_counter()
        encode(texts)
        taken.append(1000 * (time.perf_counter() - start))
    return taken[N_WARM:]


def latencies(encoders: Sequence[Encode], batch: int, n_rounds: int) -> np.ndarray:
    """Milliseconds: (n encoders, n rounds, n requests); who is first changes by the round."""
    found, asked = np.empty((len(encoders), n_rounds, N_REQUESTS)), requests(batch)
    for place in range(n_rounds):
        for encoder in np.roll(np.arange(len(encoders)), place):
            found[encoder, place] = timed(encoders[encoder], asked)
    return found


def competitors(given: argparse.Namespace) -> dict[str, Encode]:
    """Torch as most services run it, and attune's runtime."""
    torch.set_num_threads(given.threads)
    encoder = load_torch(given.model)
    return {
        "SentenceTransformer.encode": lambda texts: encoder.encode(texts, show_progress_bar=False),
        "attune.runtime, fp32": Embedder(given.folder, threads=given.threads).encode_query,
        "attune.runtime, int8": Embedder(given.folder, INT8, given.threads).encode_query,
        "attune.runtime, int8, 1 thread": Embedder(given.folder, INT8, 1).encode_query,
    }


def measure(section: Section, given: argparse.Namespace) -> None:
    """Single queries, then batches, then the empty environment."""
    if not (given.folder / "manifest.json").is_file():
        section.leave_out("serve: no exported encoder; run `make repro`")
        return
    encoders = competitors(given)
    section.add(f"{given.rounds} rounds of {N_REQUESTS} requests one after another, {given.threads} threads.")
    for batch in (1, *BATCHES):
        found = latencies(list(encoders.values()), batch, given.rounds)
        medians = np.median(found, axis=2)  # of each round
        ratios = [Spread.of(medians[0] / own) for own in medians]
        rows = [
            [name, *_cells(every, batch), ratio.cell(1)]
            for name, every, ratio in zip(encoders, found, ratios, strict=True)
        ]
        what = "one query" if batch == 1 else f"{batch} queries at once"
        section.add(table([what, "p50, ms", "p95, ms", "queries/s", "times as fast, p50"], rows))
        if batch == 1:
            fp32, is_met = ratios[1], ratios[1].median >= WANTED_FP32
            section.targets.append(
                Target("serve, one query, fp32", f">= {WANTED_FP32:g} times SentenceTransformer", fp32.cell(1), is_met)
            )
    empty_environment.measure(section, given.folder)


def _cells(milliseconds: np.ndarray, batch: int) -> list[str]:
    p50, p95 = np.percentile(milliseconds, [50, 95])
    return [f"{p50:.1f}", f"{p95:.1f}", f"{1000 * batch / milliseconds.mean():,.0f}"]


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "models/tuned")
    parser.add_argument("--folder", type=Path, default=ROOT / "models/onnx")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=THREADS)
    show("serve", "Serve", parser, measure)


if __name__ == "__main__":
    main()
