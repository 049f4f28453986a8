"""Seconds and memory of search, mining, evaluation and each index at 10^4, 10^5 and 10^6 embeddings.

    python -m bench.parts.scale_search [N ...]

Writes a file of clustered embeddings (dim 384) with the spectrum of a small sentence encoder. Exact search (top 100),
mining, evaluation (search and measures) and each type of index run on the memory-mapped file, each in its own process.
Seconds are wall time, so the machine should be idle. The last rows are extrapolated, not measured.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np

from attune.evaluation.scoring.measures import measure
from attune.retrieval.exact import top_k
from attune.runtime.indexes import KINDS, build, factory, recall, search
from attune.stage import Machine
from attune.tuning.mining.candidates import Pairs, cosines
from attune.tuning.mining.mine import MiningInput, mine_negatives
from attune.tuning.mining.rules import MineParams
from bench.clustered_embeddings import DIM, SEED, write_embeddings
from bench.section import ROOT, Section, Target, show, table
from bench.workers import peak_bytes

THREADS, DEPTH = 2, 100
SIZES = (10_000, 100_000, 1_000_000)
N_QUERIES, N_INDEX_QUERIES = 10_000, 200  # queries of search, mining and evaluation; queries of each index
HNSW_UP_TO = 100_000  # built by one thread, which at 10^6 would take longer than all other measurements
TASKS = ("search", "mine", "evaluate", *KINDS)
WANTED_GB = 4

Figures = dict[int, dict[str, dict[str, float]]]  # figures by number of embeddings and by measurement


def clocked(work: Callable[[], object]) -> float:
    """Returns the wall seconds of the work."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def mine(corpus: np.ndarray, queries: np.ndarray, answers: np.ndarray) -> None:
    """Runs the mining function of stage mine with fixed parameters close to the defaults."""
    document_rows, query_rows = np.arange(len(corpus)), np.arange(len(queries))
    no_negatives = Pairs(np.empty(0, np.int64), np.empty(0, np.int64))
    machine = Machine(threads=THREADS, precision="auto", batch_tokens=4096)
    params = MineParams(
        n_negatives=1, lexical_share=0, depth=50, index="flat", first_rank=0,
        max_share_of_positive=0.95, min_margin=0, same_query=0.95, reranker="", n_sample=0,
        positive_passage="nearest", machine=machine,
    )  # fmt: skip
    positives = Pairs(query_rows, answers)
    rows, none = document_rows, no_negatives
    documents = corpus, rows
    data = MiningInput(
        [], [], queries, *documents, query_rows, rows, rows, positives, own_texts=none, own_negatives=none
    )
    mine_negatives(data, params, cosines(queries, corpus))


def evaluate(corpus: np.ndarray, queries: np.ndarray, answers: np.ndarray) -> None:
    """Runs exact search and the measures."""
    _, rows = top_k(queries, corpus, DEPTH, THREADS)
    measure(rows, np.column_stack([np.arange(len(queries)), answers, np.ones_like(answers)]))


def plain(corpus: np.ndarray, queries: np.ndarray) -> None:
    """Runs FAISS's exact search alone, in blocks: the lower bound for search, mining and evaluation."""
    for start in range(0, len(corpus), 100_000):
        faiss.knn(queries, np.ascontiguousarray(corpus[start : start + 100_000]), DEPTH, faiss.METRIC_INNER_PRODUCT)


def index(kind: str, corpus: np.ndarray, queries: np.ndarray) -> dict[str, object]:
    """Builds and searches an index; returns seconds to build, milliseconds per query, recall@10 and description."""
    description, sample = factory(kind, *corpus.shape), queries[:: len(queries) // N_INDEX_QUERIES]
    built: list[object] = []
    neighbours: list[np.ndarray] = []
    seconds = clocked(lambda: built.append(build(description, corpus, np.arange(len(corpus)), SEED, THREADS)))
    searching = min(clocked(lambda: neighbours.append(search(built[0], sample, 10, THREADS)[1])) for _ in range(3))
    exact = top_k(sample, corpus, 10, THREADS)[1]
    return {
        "seconds": seconds,
        "milliseconds": searching / len(sample) * 1000,
        "recall": recall(neighbours[0], exact),
        "index": description,
    }


def task(name: str, folder: Path) -> dict[str, object]:
    """Returns the figures of one measurement; peak memory in GB includes the pages read from the mapped file."""
    corpus = np.load(folder / "corpus.npy", mmap_mode="r")
    queries, answers = np.load(folder / "queries.npy"), np.load(folder / "answers.npy")
    faiss.omp_set_num_threads(THREADS)
    if name in KINDS:
        figures = index(name, corpus, queries)
    elif name == "search":
        figures = {"seconds": clocked(lambda: top_k(queries, corpus, DEPTH, THREADS))}
    else:
        work = {"mine": mine, "evaluate": evaluate}[name]
        figures = {"seconds": clocked(lambda: work(corpus, queries, answers))}
    figures["gigabytes"] = peak_bytes() / 1e9
    if name == "search":  # after reading the peak memory, which it must not raise
        figures["plain"] = clocked(lambda: plain(corpus, queries))
    return figures


def measured(n: int) -> dict[str, dict[str, float]]:
    """Returns the figures of every measurement for n embeddings, by its name."""
    with tempfile.TemporaryDirectory() as folder:
        write_embeddings(Path(folder), n, N_QUERIES)
        figures = {}
        for name in TASKS:
            if name == "hnsw" and n > HNSW_UP_TO:
                continue
            command = [sys.executable, "-m", "bench.parts.scale_search", name, folder]
            ran = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
            figures[name] = json.loads(ran.stdout.splitlines()[-1])
            print(n, name, figures[name], file=sys.stderr, flush=True)
        return figures


def exponent(now: float, before: float | None, growth: float) -> str:
    """Returns the growth exponent of the time; 1 is linear."""
    return f"{math.log(now / before) / math.log(growth):.2f}" if before else ""


def work(figures: Figures) -> str:
    """Returns the table of search, mining and evaluation; the last rows extrapolate linearly to 10^7."""
    head = [
        f"what, {N_QUERIES:,} queries",
        "embeddings",
        "seconds",
        "of which FAISS alone",
        "peak GB",
        "growth exponent",
    ]
    rows = []
    sizes = list(figures)
    for place, n in enumerate(sizes):
        for name in ("search", "mine", "evaluate"):
            row = figures[n][name]
            before = figures[sizes[place - 1]][name]["seconds"] if place else None
            grown = exponent(row["seconds"], before, n / sizes[place - 1])
            alone = f"{row['plain']:.2f}" if name == "search" else ""
            rows.append([name, f"{n:,}", f"{row['seconds']:.2f}", alone, f"{row['gigabytes']:.2f}", grown])
    last = sizes[-1]
    times, grown_gb = 10_000_000 / last, (10_000_000 - last) * DIM * 4 / 1e9
    for name in ("search", "mine", "evaluate"):
        row = figures[last][name]
        memory = f"{row['gigabytes']:.1f}, and {grown_gb:.0f} of file that may leave memory"
        rows.append([name, "10,000,000 (plan)", f"{row['seconds'] * times:.0f}", "", memory, ""])
    return table(head, rows)


def indexes(figures: Figures) -> str:
    """Returns the table of seconds, memory and recall of each type of index."""
    head = [
        "index",
        "in FAISS's words",
        "embeddings",
        "build, seconds",
        f"one of {N_INDEX_QUERIES} queries, ms",
        "recall@10",
    ]
    rows = []
    for n, measured in figures.items():
        for kind in (kind for kind in KINDS if kind in measured):
            row = measured[kind]
            cells = [f"{row['seconds']:.1f}", f"{row['milliseconds']:.2f}", f"{row['recall']:.3f}"]
            rows.append([kind, str(row["index"]), f"{n:,}", *cells, f"{row['gigabytes']:.2f}"])
    return table([*head, "peak GB"], rows, n_text=2)


def measure_all(section: Section, options: argparse.Namespace) -> None:
    """Adds both tables and the target for memory."""
    figures = {n: measured(n) for n in options.sizes}
    section.add(
        f"Clustered embeddings of {DIM} numbers; {THREADS} threads, but HNSW, which one builds. Plan: arithmetic.",
        work(figures),
        indexes(figures),
    )
    peak = max(row["gigabytes"] for row in figures[max(figures)].values())
    what, wanted = f"search, mine, evaluate, any index: {max(figures):,} embeddings", f"within {WANTED_GB} GB"
    section.targets.append(Target(what, wanted, f"**{peak:.1f}** GB at most", peak <= WANTED_GB))


def main() -> None:
    """Runs one measurement in this process, or measures all and prints the tables."""
    if sys.argv[1:2] and sys.argv[1] in TASKS:
        print(json.dumps(task(sys.argv[1], Path(sys.argv[2]))))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=list(SIZES))
    show("scale_search", "Scale", parser, measure_all)


if __name__ == "__main__":
    main()
