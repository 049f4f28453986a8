"""What search, mining and evaluation cost from embeddings as the corpus grows: 10^4, 10^5 and 10^6 of them.

    python -m bench.parts.scale_search [N ...]

Makes clustered embeddings of 384 numbers in a file, whose spectrum falls as that of a small sentence encoder does, and
runs on them, memory-mapped and each in a process of its own: exact search (top 100), the mining function, evaluation
(search and measures), and each type of index. Seconds are the clock's: leave the machine alone. The last rows are
arithmetic, no measurement.
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
N_QUERIES, N_ASKED = 10_000, 200  # for search, mining and evaluation; for each index
HNSW_UP_TO = 100_000  # it is built by one thread: at 10^6 that alone would take longer than all else
TASKS = ("search", "mine", "evaluate", *KINDS)
WANTED_GB = 4

Found = dict[int, dict[str, dict[str, float]]]  # by number of embeddings, then by measurement


def clocked(work: Callable[[], object]) -> float:
    """Seconds, by the clock."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def mine(corpus: np.ndarray, queries: np.ndarray, answers: np.ndarray) -> None:
    """The mine stage's function, with the knobs of params.yaml."""
    documents, asked = np.arange(len(corpus)), np.arange(len(queries))
    nothing = Pairs(np.empty(0, np.int64), np.empty(0, np.int64))
    machine = Machine(threads=THREADS, precision="auto", batch_tokens=4096)
    params = MineParams(
        n_negatives=1, max_own_negatives=0, lexical_share=0, depth=50, index="flat", first_rank=0,
        max_share_of_positive=0.95, min_margin=0, same_query=0.95, reranker="", n_sample=0, machine=machine,
    )  # fmt: skip
    positives = Pairs(asked, answers)
    data = MiningInput([], [], queries, corpus, answers, documents, documents, documents, positives, nothing)
    mine_negatives(data, params, cosines(queries, corpus))


def evaluate(corpus: np.ndarray, queries: np.ndarray, answers: np.ndarray) -> None:
    """Search and measures."""
    _, rows = top_k(queries, corpus, DEPTH, THREADS)
    measure(rows, np.column_stack([np.arange(len(queries)), answers, np.ones_like(answers)]))


def plain(corpus: np.ndarray, queries: np.ndarray) -> None:
    """FAISS alone, in blocks: what search, mining and evaluation cannot do without."""
    for start in range(0, len(corpus), 100_000):
        faiss.knn(queries, np.ascontiguousarray(corpus[start : start + 100_000]), DEPTH, faiss.METRIC_INNER_PRODUCT)


def index(kind: str, corpus: np.ndarray, queries: np.ndarray) -> dict[str, object]:
    """Seconds to build and to search, and recall@10."""
    description, asked, found = factory(kind, *corpus.shape), queries[:: len(queries) // N_ASKED], []
    made: list[object] = []
    seconds = clocked(lambda: made.append(build(description, corpus, np.arange(len(corpus)), SEED, THREADS)))
    searching = min(clocked(lambda: found.append(search(made[0], asked, 10, THREADS)[1])) for _ in range(3))
    exact = top_k(asked, corpus, 10, THREADS)[1]
    return {
        "seconds": seconds,
        "milliseconds": searching / len(asked) * 1000,
        "recall": recall(found[0], exact),
        "index": description,
    }


def task(name: str, folder: Path) -> dict[str, object]:
    """One measurement, with its peak memory in GB (the pages of the mapped file that were read are part of it)."""
    corpus = np.load(folder / "corpus.npy", mmap_mode="r")
    queries, answers = np.load(folder / "queries.npy"), np.load(folder / "answers.npy")
    faiss.omp_set_num_threads(THREADS)
    if name in KINDS:
        found = index(name, corpus, queries)
    elif name == "search":
        found = {"seconds": clocked(lambda: top_k(queries, corpus, DEPTH, THREADS))}
    else:
        work = {"mine": mine, "evaluate": evaluate}[name]
        found = {"seconds": clocked(lambda: work(corpus, queries, answers))}
    found["gigabytes"] = peak_bytes() / 1e9
    if name == "search":  # after the peak was read
        found["plain"] = clocked(lambda: plain(corpus, queries))
    return found


def measured(n: int) -> dict[str, dict[str, float]]:
    """Every measurement at one size."""
    with tempfile.TemporaryDirectory() as folder:
        write_embeddings(Path(folder), n, N_QUERIES)
        found = {}
        for name in TASKS:
            if name == "hnsw" and n > HNSW_UP_TO:
                continue
            command = [sys.executable, "-m", "bench.parts.scale_search", name, folder]
            ran = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
            found[name] = json.loads(ran.stdout.splitlines()[-1])
            print(n, name, found[name], file=sys.stderr, flush=True)
        return found


def exponent(now: float, before: float | None, growth: float) -> str:
    """How the time grows: 1 is linear."""
    return f"{math.log(now / before) / math.log(growth):.2f}" if before else ""


def work(found: Found) -> str:
    """Search, mining and evaluation; last what 10^7 would take if time and the mapped file go on growing so."""
    head = [
        f"what, {N_QUERIES:,} queries",
        "embeddings",
        "seconds",
        "of which FAISS alone",
        "peak GB",
        "growth exponent",
    ]
    rows = []
    sizes = list(found)
    for place, n in enumerate(sizes):
        for name in ("search", "mine", "evaluate"):
            row = found[n][name]
            before = found[sizes[place - 1]][name]["seconds"] if place else None
            grown = exponent(row["seconds"], before, n / sizes[place - 1])
            alone = f"{row['plain']:.2f}" if name == "search" else ""
            rows.append([name, f"{n:,}", f"{row['seconds']:.2f}", alone, f"{row['gigabytes']:.2f}", grown])
    last = sizes[-1]
    times, grown_gb = 10_000_000 / last, (10_000_000 - last) * DIM * 4 / 1e9
    for name in ("search", "mine", "evaluate"):
        row = found[last][name]
        memory = f"{row['gigabytes']:.1f}, and {grown_gb:.0f} of file that may leave memory"
        rows.append([name, "10,000,000 (plan)", f"{row['seconds'] * times:.0f}", "", memory, ""])
    return table(head, rows)


def indexes(found: Found) -> str:
    """What each type of index costs and finds."""
    head = ["index", "in FAISS's words", "embeddings", "build, seconds", f"one of {N_ASKED} queries, ms", "recall@10"]
    rows = []
    for n, measured in found.items():
        for kind in (kind for kind in KINDS if kind in measured):
            row = measured[kind]
            cells = [f"{row['seconds']:.1f}", f"{row['milliseconds']:.2f}", f"{row['recall']:.3f}"]
            rows.append([kind, str(row["index"]), f"{n:,}", *cells, f"{row['gigabytes']:.2f}"])
    return table([*head, "peak GB"], rows, n_text=2)


def measure_all(section: Section, given: argparse.Namespace) -> None:
    """Both tables, and a target for memory."""
    found = {n: measured(n) for n in given.sizes}
    section.add(
        f"Clustered embeddings of {DIM} numbers; {THREADS} threads, but HNSW, which one builds. Plan: arithmetic.",
        work(found),
        indexes(found),
    )
    peak = max(row["gigabytes"] for row in found[max(found)].values())
    what, wanted = f"search, mine, evaluate, any index: {max(found):,} embeddings", f"within {WANTED_GB} GB"
    section.targets.append(Target(what, wanted, f"**{peak:.1f}** GB at most", peak <= WANTED_GB))


def main() -> None:
    """One measurement in a process of its own, or the tables."""
    if sys.argv[1:2] and sys.argv[1] in TASKS:
        print(json.dumps(task(sys.argv[1], Path(sys.argv[2]))))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=list(SIZES))
    show("scale_search", "Scale", parser, measure_all)


if __name__ == "__main__":
    main()
