"""Seconds and memory of stages collect, prepare and split at 10^4, 10^5 and 10^6 documents, a query each.

    python -m bench.parts.scale [N ...]

Generates data sets in BEIR's layout (words distributed by Zipf's law, one text in twenty a near-duplicate of an earlier
one), runs the three stages on each as the pipeline does, and prints seconds, peak memory and the growth exponent.
"""

import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from attune.stage import all_params
from bench.rivals.environments import module
from bench.section import ROOT

miniature = module("tests/miniature.py")
VOCABULARY = 300_000
DOCUMENT_WORDS, QUERY_WORDS = 80, 9  # mean lengths
NEAR_DUPLICATES = 20  # every 20th text is an earlier one with one word changed
SIZES = (10_000, 100_000, 1_000_000)


def texts(n: int, mean_words: int, random: np.random.Generator) -> Iterator[str]:
    """Yields n texts of words distributed by Zipf's law (exponent 1), one in twenty a near-duplicate."""
    ranks = np.arange(1, VOCABULARY + 1)
    cumulative = np.cumsum(1 / ranks) / (1 / ranks).sum()
    earlier: list[list[str]] = []
    for row in range(n):
        if earlier and row % NEAR_DUPLICATES == 0:
            words = list(earlier[int(random.integers(len(earlier)))])
            words[int(random.integers(len(words)))] = f"w{random.integers(VOCABULARY)}"
        else:
            ranks_drawn = np.searchsorted(cumulative, random.random(max(3, int(random.poisson(mean_words)))))
            words = [f"w{word}" for word in ranks_drawn]
            if row % 10 == 1:
                earlier.append(words)
        yield " ".join(words)


def write_data(folder: Path, n: int) -> None:
    """Writes a BEIR folder of n documents and n queries."""
    (folder / "qrels").mkdir(parents=True)
    for name, prefix, mean_words in (("corpus", "d", DOCUMENT_WORDS), ("queries", "q", QUERY_WORDS)):
        random = np.random.default_rng(7 + mean_words)
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for row, text in enumerate(texts(n, mean_words, random)):
                file.write(json.dumps({"_id": f"{prefix}{row}", "text": text}) + "\n")
    with (folder / "qrels" / "all.tsv").open("w", encoding="utf-8") as file:
        file.write("query-id\tcorpus-id\tscore\n")
        file.writelines(f"q{row}\td{row}\t1\n" for row in range(n))


def stage(folder: Path, name: str, *options: str) -> tuple[float, float]:
    """Runs a stage in a folder; returns its seconds and its peak memory in GB."""
    start = time.perf_counter()
    environment = os.environ | {"PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", f"attune.stages.{name}", *options, "--receipt", f"metrics/{name}.json"]
    process = subprocess.Popen(command, cwd=folder, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{name} failed in {folder}")
    # at least the memory of this process when it started the stage, a few MB
    return time.perf_counter() - start, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def measure(n: int, folder: Path) -> dict[str, tuple[float, float]]:
    """Returns seconds and peak GB by stage for n documents."""
    write_data(folder / "own", n)
    miniature.write_params(folder, {"collect": {"source": "beir", "path": "own"}})
    near = all_params(folder / "params.yaml")["prepare"]
    names = ("query_shingle", "document_shingle", "similar_query", "similar_document")
    options = [word for name in names for word in (f"--{name.replace('_', '-')}", str(near[name]))]
    return {
        "collect": stage(folder, "collect", "--out", "data/raw"),
        "prepare": stage(folder, "prepare", "--raw", "data/raw", "--out", "data/prepared"),
        "split": stage(folder, "split", "--prepared", "data/prepared", "--out", "data/splits", *options),
    }


def main() -> None:
    """Prints the table."""
    sizes = [int(size) for size in sys.argv[1:]] or list(SIZES)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print("| documents and queries | stage | seconds | peak GB | growth exponent |\n|---:|---|---:|---:|---:|")
    before: tuple[int, dict[str, tuple[float, float]]] | None = None
    for n in sizes:
        with tempfile.TemporaryDirectory() as folder:
            costs = measure(n, Path(folder))
        for name, (seconds, gigabytes) in costs.items():
            exponent = ""
            if before:
                exponent = f"{math.log(seconds / before[1][name][0]) / math.log(n / before[0]):.2f}"
            print(f"| {n:,} | {name} | {seconds:.1f} | {gigabytes:.2f} | {exponent} |", flush=True)
        before = n, costs


if __name__ == "__main__":
    main()
