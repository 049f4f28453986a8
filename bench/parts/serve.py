"""Serving: latency of queries in torch and in ONNX, and attune in an empty environment; about 4 minutes.

    python -m bench.parts.serve [--model models/tuned] [--folder models/onnx] [--rounds 15]

All systems alternate in one process after a series of requests each, not after every request: threads of both libraries
spin for a moment after a request, and on few cores each would wait for the other's. Ratios are taken within a round,
because other load on the machine slows all alike. pip installs the wheel of this checkout into the empty environment,
from the configured package index.
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
from attune.runtime.static import StaticEncoder
from bench.alternating import Spread
from bench.parts import empty_environment
from bench.parts.ceilings import THREADS
from bench.section import ROOT, Section, Target, show, table

N_REQUESTS, N_WARM = 20, 3
PAUSE_SECONDS = 0.05  # longer than the libraries' threads spin after a request
BATCHES = (8, 32)
QUERIES = (
    "stack arrays in sequence vertically",
    "shortest path between two nodes of a weighted graph",
    "return the sorted unique elements of an array",
    "fit a linear model by ordinary least squares",
    "how do I fill missing values with the mean of each column",
)
WANTED_FP32, INT8 = 3.0, "onnx/model_quantized.onnx"
WANTED_STATIC, STATIC_NAME = 50.0, "attune.runtime, static"
Encode = Callable[[list[str]], object]


def requests(batch: int) -> list[list[str]]:
    """Returns consecutive batches of queries, cycling through QUERIES."""
    texts = cycle(QUERIES)
    return [list(islice(texts, batch)) for _ in range(N_WARM + N_REQUESTS)]


def timed(encode: Encode, batches: Sequence[list[str]]) -> list[float]:
    """Returns the milliseconds of each of the N_REQUESTS requests after the N_WARM warm-up requests."""
    milliseconds = []
    time.sleep(PAUSE_SECONDS)
    for texts in batches:
        start = time.perf_counter()
        encode(texts)
        milliseconds.append(1000 * (time.perf_counter() - start))
    return milliseconds[N_WARM:]


def latencies(encoders: Sequence[Encode], batch: int, n_rounds: int) -> np.ndarray:
    """Returns milliseconds, (n_encoders, n_rounds, N_REQUESTS); the order of encoders rotates by round."""
    milliseconds, batches = np.empty((len(encoders), n_rounds, N_REQUESTS)), requests(batch)
    for index in range(n_rounds):
        for encoder in np.roll(np.arange(len(encoders)), index).tolist():
            milliseconds[encoder, index] = timed(encoders[encoder], batches)
    return milliseconds


def competitors(options: argparse.Namespace) -> dict[str, Encode]:
    """Returns SentenceTransformer.encode and attune's runtime, by name."""
    torch.set_num_threads(options.threads)
    encoder = load_torch(options.model)
    static = options.folder / "static"  # absent with static.steps: 0
    return {
        "SentenceTransformer.encode": lambda texts: encoder.encode(texts, show_progress_bar=False),
        "attune.runtime, fp32": Embedder(options.folder, threads=options.threads).encode_query,
        "attune.runtime, int8": Embedder(options.folder, INT8, options.threads).encode_query,
        "attune.runtime, int8, 1 thread": Embedder(options.folder, INT8, 1).encode_query,
        **({STATIC_NAME: StaticEncoder(static).encode_query} if static.is_dir() else {}),
    }


def measure(section: Section, options: argparse.Namespace) -> None:
    """Measures single queries, batches, and attune in an empty environment."""
    if not (options.folder / "manifest.json").is_file():
        section.leave_out("serve: no exported encoder; run `make repro`")
        return
    encoders = competitors(options)
    section.add(f"{options.rounds} rounds of {N_REQUESTS} requests one after another, {options.threads} threads.")
    for batch in (1, *BATCHES):
        milliseconds = latencies(list(encoders.values()), batch, options.rounds)
        medians = np.median(milliseconds, axis=2)  # (n_encoders, n_rounds)
        ratios = [Spread.of(medians[0] / own) for own in medians]
        rows = [
            [name, *_cells(of_encoder, batch), ratio.cell(1)]
            for name, of_encoder, ratio in zip(encoders, milliseconds, ratios, strict=True)
        ]
        head = "one query" if batch == 1 else f"{batch} queries at once"
        section.add(table([head, "p50, ms", "p95, ms", "queries/s", "times as fast, p50"], rows))
        if batch == 1:
            fp32, is_met = ratios[1], ratios[1].median >= WANTED_FP32
            section.targets.append(
                Target("serve, one query, fp32", f">= {WANTED_FP32:g} times SentenceTransformer", fp32.cell(1), is_met)
            )
            if STATIC_NAME in encoders:
                static = Spread.of(medians[2] / medians[-1])
                is_met = static.median >= WANTED_STATIC
                section.targets.append(
                    Target("serve, one query, static", f">= {WANTED_STATIC:g} times int8", static.cell(1), is_met)
                )
    empty_environment.measure(section, options.folder)


def _cells(milliseconds: np.ndarray, batch: int) -> list[str]:
    p50, p95 = np.percentile(milliseconds, [50, 95])
    return [f"{p50:.3g}", f"{p95:.3g}", f"{1000 * batch / milliseconds.mean():,.0f}"]


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
