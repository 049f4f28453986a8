"""Measures documents per second and core: `python measure.py MODEL CORPUS`, and engines beside it: `... ray spark`."""

import argparse
import importlib
import tempfile
import time
from datetime import date
from pathlib import Path
from statistics import mean, median
from typing import NamedTuple

import pyarrow.parquet as pq
from jobs import Encode, Job, corpus_files, embedder, job_arguments, job_of, read

ROUNDS = 3
SIZES = (1, 8, 32)
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")  # that decide how fast a CPU encodes


class Turn(NamedTuple):
    """Seconds that the engine takes to start, and the documents per second of the engine and of one process."""

    start: float
    engine: float
    alone: float


def batches(job: Job, files: list[str]) -> str:
    """Returns the table of one process by the size of its batches: its rate, and the bytes of its vectors."""
    texts = job.texts(read(files, job))
    encoder = embedder(job.model, job.precision, job.release)
    encoder.encode_document(texts[:100])
    seconds: dict[int, list[float]] = {size: [] for size in SIZES}
    vectors = {}
    for _ in range(ROUNDS):
        for size in SIZES:
            started = time.process_time()  # of the core, whatever else the machine does
            vectors[size] = encoder.encode_document(texts, batch_size=size)
            seconds[size].append(time.process_time() - started)
    lines = [
        "| texts in a batch | documents per second of one core | vectors with other bytes than alone |",
        "|---:|---:|---:|",
    ]
    for size in SIZES:
        share = (vectors[size] != vectors[SIZES[0]]).any(axis=1).mean()
        lines.append(f"| {size} | {len(texts) / median(seconds[size]):.0f} | {share:.0%} |")
    return "\n".join(lines)


def turns(encode: Encode, job: Job, files: list[str]) -> list[Turn]:
    """Encodes files by an engine and in this process, in turns.

    The engine's start is the time that it takes for one document. It does not grow with the corpus, so it is left out
    of the engine's rate.
    """
    documents = read(files, job)
    job.encode(documents.slice(0, 100))  # loads the encoder
    found = []
    with tempfile.TemporaryDirectory() as folder:
        single = f"{folder}/single.parquet"
        pq.write_table(documents.slice(0, 1), single)
        for turn in range(ROUNDS):
            started = time.perf_counter()
            encode(job, [single], f"{folder}/start-{turn}")
            start = time.perf_counter() - started
            encode(job, files, f"{folder}/whole-{turn}")
            whole = time.perf_counter() - started - start
            started = time.perf_counter()
            job.encode(documents)
            alone = time.perf_counter() - started
            found.append(Turn(start, len(documents) / whole, len(documents) / alone))
    return found


def row(name: str, n_cores: int, found: list[Turn]) -> str:
    """Returns an engine's row of the table: medians of the turns."""
    start, rate, alone = (median(values) for values in zip(*found, strict=True))
    share = median(turn.engine / n_cores / turn.alone for turn in found)
    return f"| {name} | {n_cores} | {rate:.0f} | {rate / n_cores:.0f} | {alone:.0f} | {share:.2f} | {start:.1f} |"


def cpu() -> str:
    """Returns the CPU's name and those of its flags that count; Linux alone tells them."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return "unknown CPU"
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    values = {key.strip(): value.split() for key, value in fields.items()}
    has = [flag for flag in FLAGS if flag in values.get("flags", [])]
    return f"{' '.join(values.get('model name', ['unknown CPU']))} ({', '.join(has)})"


def main() -> None:
    """Prints tables in Markdown: of batches if no engine is named, else of the engines."""
    parser = argparse.ArgumentParser(description="Measures documents per second and core.")
    job_arguments(parser)
    parser.add_argument("engines", nargs="*", help="ray, spark")
    given = parser.parse_args()
    job, files = job_of(given), [str(file) for file in corpus_files(given.corpus.resolve())]
    texts = job.texts(read(files, job))
    tokens = mean(len(row) for row in embedder(job.model, job.precision, job.release).token_ids(texts, "document"))
    what = f"{job.precision}, {len(texts)} documents of {tokens:.0f} tokens on average"
    print(f"{date.today()}, {cpu()}, {what}, medians of {ROUNDS} turns\n", flush=True)
    if not given.engines:
        print(batches(job, files))
        return
    print("| engine | cores | documents/s | per core | one process | share of it | start, s |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name in given.engines:
        engine = importlib.import_module(f"with_{name}")
        try:
            print(row(name, engine.start(), turns(engine.encode, job, files)), flush=True)
        finally:
            engine.stop()


if __name__ == "__main__":
    main()
