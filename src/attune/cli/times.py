"""Measures how long a query takes in each system, and collects what the stages took; writes metrics/times.json.

A query is embedded and its best documents are looked up, one query after another as a service does with a single user;
its embedding is timed once more, alone, as a service in front of a vector database has it. Systems alternate, because
other load on the machine slows all alike.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from attune.cli.demo.comparison import Fuse, index_of, with_bm25
from attune.cli.demo.systems import ADAPTER, BASE, MODEL
from attune.cli.repro import seconds_file
from attune.errors import BadInput
from attune.evaluation.page.cpu import cpu_class
from attune.evaluation.report.times import Times, write_times
from attune.evaluation.report.ways import WAYS
from attune.retrieval.passages import read_passages
from attune.runtime import Embedder
from attune.runtime.arrays import Float32
from attune.runtime.manifest import TOKENIZER
from attune.runtime.search import Search
from attune.runtime.static import VECTORS, StaticEncoder, is_on
from attune.stage import PARAMS_FILE, Machine, all_params
from attune.tables import CORPUS, SPLIT_QUERIES, read

FP32, INT8, MAP = "onnx/model.onnx", "onnx/model_quantized.onnx", "onnx/query_adapter.onnx"
N_QUERIES, N_ROUNDS, N_RESULTS = 40, 3, 10
PAUSE_SECONDS = 0.05  # longer than the libraries' threads spin after a request

Ask = Callable[[str], object]
Encode = Callable[[list[str]], Float32]


@dataclass(frozen=True)
class Dense:
    """A system that searches vectors.

    Attributes:
        encode: embeds queries, (n texts, dim).
        index: of its documents.
        folder: of its encoder.
        files: of the folder that embedding a query reads.
    """

    encode: Encode
    index: Search
    folder: Path
    files: Sequence[str]

    def ask(self, query: str) -> object:
        """Embeds a query and returns its first N_RESULTS documents."""
        return self.index.top_passages(self.encode([query]), N_RESULTS)

    def embed(self, query: str) -> object:
        """Embeds a query."""
        return self.encode([query])

    @property
    def n_bytes(self) -> int:
        """Bytes of its files."""
        return sum((self.folder / name).stat().st_size for name in self.files)


def medians(
    asks: Mapping[str, Ask], queries: Sequence[str], clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Returns the median milliseconds of a query by system, with three digits after the point.

    Args:
        asks: by system; each is called with one query.
        queries: asked N_ROUNDS times; the first of each series is not counted.
        clock: in seconds.
    """
    milliseconds: dict[str, list[float]] = {system: [] for system in asks}
    for _ in range(N_ROUNDS):
        for system, ask in asks.items():
            time.sleep(PAUSE_SECONDS)
            ask(queries[0])
            for query in queries:
                start = clock()
                ask(query)
                milliseconds[system].append(1000 * (clock() - start))
    return {system: round(median(values), 3) for system, values in milliseconds.items()}


def dense_systems(root: Path, threads: int) -> dict[str, Dense]:
    """Returns the systems that search vectors.

    Raises:
        BadInput: the pipeline has not run, or its outputs do not belong together.
    """
    passages = read_passages(root / "data/prepared", read(root / "data/prepared/corpus.parquet", CORPUS))
    base, tuned = Embedder(root / BASE, threads=threads), Embedder(root / MODEL, threads=threads)
    adapter, int8 = Embedder(root / ADAPTER, threads=threads), Embedder(root / MODEL, INT8, threads)
    folder = root / "data/embeddings"
    of_base, of_tuned = (
        index_of(folder / name, one.encode_query, passages) for name, one in (("base", base), ("tuned", tuned))
    )
    found = {
        "base": Dense(base.encode_query, of_base, root / BASE, (FP32, TOKENIZER)),
        "adapter": Dense(partial(adapter.encode_query, adapter=True), of_base, root / ADAPTER, (FP32, MAP, TOKENIZER)),
        "tuned": Dense(tuned.encode_query, of_tuned, root / MODEL, (FP32, TOKENIZER)),
        "tuned_int8": Dense(int8.encode_query, of_tuned, root / MODEL, (INT8, TOKENIZER)),
    }
    for name, index in (("base", of_base), ("tuned", of_tuned)):
        if is_on(place := folder_of(root, name)):
            found[f"static_{name}"] = Dense(StaticEncoder(place).encode_query, index, place, (VECTORS, TOKENIZER))
    return found


def asks_of(root: Path, dense: Mapping[str, Dense]) -> dict[str, Ask]:
    """Returns what answers a query, by system: BM25, the dense systems, and their hybrids.

    Raises:
        BadInput: the pipeline has not run, or its outputs do not belong together.
    """
    corpus = read(root / "data/prepared/corpus.parquet", CORPUS)
    depth, fused = all_params(root / PARAMS_FILE)["evaluate"]["depth"], ("base", "adapter", "tuned")
    asks: dict[str, Ask] = {"bm25": partial(_lexical, with_bm25(root, corpus, ("base",))[0])}
    asks |= {name: system.ask for name, system in dense.items()}
    for name, fuse in zip(fused, with_bm25(root, corpus, fused), strict=True):
        asks[f"hybrid_{name}"] = partial(_hybrid, dense[name], fuse, depth)
    return asks


def folder_of(root: Path, name: str) -> Path:
    """Returns the folder of the static encoder over the documents of base or of tuned."""
    return root / "models" / "static" / name


def _lexical(fuse: Fuse, query: str) -> object:
    return fuse(query, [], N_RESULTS)


def _hybrid(dense: Dense, fuse: Fuse, depth: int, query: str) -> object:
    return fuse(query, dense.index.top_passages(dense.encode([query]), depth)[0], depth)


def stage_seconds(root: Path) -> dict[str, float]:
    """Returns the seconds of the stages that make a system, as the last run of each took them in `make repro`."""
    file = seconds_file(root)
    if not file.is_file():
        return {}
    try:
        seconds = {str(name): float(value) for name, value in json.loads(file.read_text(encoding="utf-8")).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise BadInput(f"{file}: not what make repro writes ({error}); delete it and run a stage again") from None
    named = {stage for way in WAYS for stage in way.stages}
    return {name: value for name, value in sorted(seconds.items()) if named & {name, name.partition("@")[0]}}


def measure_times(root: Path) -> Times:
    """Measures, writes metrics/times.json, and returns what is in it.

    Raises:
        BadInput: the pipeline has not run.
    """
    threads = Machine.model_validate(all_params(root / PARAMS_FILE)["machine"]).threads
    queries = read(root / "data/splits/test/queries.parquet", SPLIT_QUERIES)["text"].head(N_QUERIES).to_list()
    if not queries:
        raise BadInput("data/splits/test/queries.parquet: no query to measure with; run `make repro`")
    dense = dense_systems(root, threads)
    found = Times(
        cpu=cpu_class(),
        threads=threads,
        seconds=stage_seconds(root),
        milliseconds=medians(asks_of(root, dense), queries),
        embedding_milliseconds=medians({name: system.embed for name, system in dense.items()}, queries),
        model_bytes={name: system.n_bytes for name, system in dense.items()},
    )
    write_times(root / "metrics", found)
    return found
