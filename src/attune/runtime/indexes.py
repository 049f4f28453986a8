"""FAISS indexes by name: their cost and recall, the number of rows that training needs, and how they are built.

| kind | bytes per row | neighbours it returns | choose it |
|---|---|---|---|
| flat | 4 dim | all | up to about 10^5 rows, and wherever a miss is an error |
| ivf | 4 dim | most: reads the nearest sixteenth of k-means' cells | many rows in enough memory |
| hnsw | 4 dim + 256 | nearly all, in a millisecond from millions of rows | a service; slow to build |
| sq8 | dim | nearly all: numbers of 8 bits | a quarter of the memory; no faster than flat |
| pq | dim / 4 | most: 4 bits for two numbers (Jégou et al., 2011; scanned as by André et al., 2017) | least memory |

Builds are reproducible to the byte: FAISS seeds its k-means with a constant, the training rows are a seeded sample, and
HNSW is built by one thread, because several would race for the order of its links.
"""

import math
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from attune.errors import BadInput, one_line
from attune.runtime.arrays import Float32, Int64
from attune.runtime.faiss_settings import faiss_settings

_reading = threading.Lock()  # FAISS's limits of reading are variables of the process

KINDS = ("flat", "ivf", "hnsw", "sq8", "pq")

POINTS_PER_CELL = 39  # training points per k-means centre that FAISS asks for; with fewer it warns
MIN_TRAINING_ROWS = 16 * POINTS_PER_CELL  # with fewer rows ivf and pq cannot be trained
MAX_POINTS_PER_CELL = 64  # training points per centre that are used: more make k-means slower, not better
KMEANS_ITERATIONS = 10  # more change the cells, but hardly the neighbours
CELLS_PER_PROBE = 16  # one cell in so many is read
EF_SEARCH = 64  # length of the candidate list of an HNSW search
N_SAMPLE = 200  # queries that recall is measured on
MAX_LINKS = 512  # of a row in HNSW; ten times what pays
SHOWN = 200  # characters of FAISS's message
BLOCK_BYTES = 2**26  # size of the blocks in which rows are copied
BLAS_THRESHOLD = 1536  # numbers in a batch of queries: four queries of 384 numbers take as long as one


def factory(kind: str, n: int, dim: int) -> str:
    """Returns the description of an index for faiss.index_factory; `Flat` where n rows are too few to train it.

    Args:
        kind: one of KINDS; anything else is taken for such a description already.
        n: number of rows that the index will hold.
        dim: length of the rows.
    """
    if kind in ("ivf", "pq") and n < MIN_TRAINING_ROWS:
        return "Flat"
    # a subquantizer has dim / m numbers: two, or, for odd dim, the smallest divisor
    m = next(m for m in range(max(1, dim // 2), 0, -1) if dim % m == 0)
    cells = min(int(4 * math.sqrt(n)), max(1, n // POINTS_PER_CELL))  # 4 sqrt(n): FAISS's own advice
    return {"flat": "Flat", "ivf": f"IVF{cells},Flat", "hnsw": "HNSW32", "sq8": "SQ8", "pq": f"PQ{m}x4fs"}.get(
        kind, kind
    )


def build(description: str, vectors: Float32, among: Int64, seed: int, threads: int) -> Any:  # noqa: ANN401  no types
    """Trains and fills an index for inner products; memory-mapped vectors are read a block at a time.

    Args:
        description: returned by `factory`.
        vectors: (n_rows, dim).
        among: (n,) the rows to index, in this order; the index numbers them from 0.
        seed: of the sample of training rows.
        threads: CPU threads of FAISS. HNSW is always built by one.

    Raises:
        ValueError: FAISS has no such index, or cannot train it with so few rows or so many numbers.
    """
    faiss = load_faiss()
    links = re.search(r"HNSW(\d+)", description)
    if links and not 2 <= int(links[1][:9]) <= MAX_LINKS:  # FAISS itself ends the process
        raise ValueError(f"index {description!a}: HNSW takes 2 to {MAX_LINKS} links a row; change the number")
    try:
        return _filled(faiss, description, vectors, among, seed, threads)
    except (RuntimeError, MemoryError) as error:  # FAISS's own, with the place in its C++ code
        shape = f"{len(among)} rows of {vectors.shape[1]} numbers"
        raise ValueError(
            f"index {description!a} cannot be built for {shape} ({reason(error)}); use one of {', '.join(KINDS)}"
        ) from None


def _filled(faiss: ModuleType, description: str, vectors: Float32, among: Int64, seed: int, threads: int) -> Any:  # noqa: ANN401
    """Builds the index that `build` describes."""
    with faiss_settings(faiss, BLAS_THRESHOLD, 1 if "HNSW" in description else threads):
        index = faiss.index_factory(vectors.shape[1], description, faiss.METRIC_INNER_PRODUCT)
        cells = _configure(faiss, index)
        if not index.is_trained:
            index.train(vectors[among[_sample(len(among), max(2**16, MAX_POINTS_PER_CELL * cells), seed)]])
        for block in blocks(vectors, among):
            index.add(block)
    return index


def read(path: Path) -> Any:  # noqa: ANN401  faiss has no types
    """Reads an index that may come from elsewhere into memory.

    A number in the file cannot make FAISS allocate more than the file is long. Inverted lists in a file of their own
    are looked for in the index's folder only. Memory-mapping would save the memory, but FAISS's reader of maps ends the
    process where a file is shorter than it says.

    Raises:
        BadInput: the file is no index of FAISS.
    """
    faiss, n_bytes = load_faiss(), path.stat().st_size
    with _reading:
        before = faiss.get_deserialization_vector_byte_limit(), faiss.get_deserialization_loop_limit()
        faiss.set_deserialization_vector_byte_limit(n_bytes)
        faiss.set_deserialization_loop_limit(n_bytes)
        try:
            return faiss.read_index(str(path), faiss.IO_FLAG_ONDISK_SAME_DIR)
        except (RuntimeError, MemoryError) as error:  # FAISS's own
            raise BadInput(f"{path}: not an index ({reason(error)}); fetch or build the index again") from None
        finally:
            faiss.set_deserialization_vector_byte_limit(before[0])
            faiss.set_deserialization_loop_limit(before[1])


def reason(error: Exception) -> str:
    """Returns FAISS's message without the place in its C++ code."""
    return one_line(re.sub(r"(?s)^Error in .*? at \S+:\d+: (Error: )?", "", str(error)))[:SHOWN]


def search(index: Any, queries: Float32, k: int, threads: int | None = None) -> tuple[Float32, Int64]:  # noqa: ANN401
    """Searches an index: the scores and rows of the k best of each query, (m, k) each; rows are -1 where it found less.

    Args:
        index: built by `build`, or read from a file.
        queries: (m, dim).
        k: number of neighbours.
        threads: CPU threads of FAISS; None takes the caller's.
    """
    with faiss_settings(load_faiss(), BLAS_THRESHOLD, threads):
        result: tuple[Float32, Int64] = index.search(np.ascontiguousarray(queries, dtype=np.float32), k)
    return result


def blocks(vectors: Float32, among: Int64) -> Iterator[Float32]:
    """Yields the given rows as float32, in blocks of at most BLOCK_BYTES."""
    size = max(1, BLOCK_BYTES // (4 * vectors.shape[1]))
    for start in range(0, len(among), size):
        yield np.ascontiguousarray(vectors[among[start : start + size]], dtype=np.float32)


def require_finite(kind: str, vectors: Float32) -> None:
    """Refuses vectors with NaN or infinite numbers; memory-mapped ones are read a block at a time.

    Args:
        kind: of vectors, for the message: "embedding", "query".
        vectors: (n, dim).

    Raises:
        ValueError: a vector has such a number; names the row of the first one.
    """
    first = 0
    for block in blocks(vectors, np.arange(len(vectors))):
        bad = ~np.isfinite(block).all(axis=1)
        if bad.any():
            row = first + int(bad.argmax())
            raise ValueError(f"{kind} {row} holds NaN or infinite numbers, expected finite ones; embed its text again")
        first += len(block)


def recall(retrieved: Int64, exact: Int64) -> float:
    """Returns the share of the exact neighbours that were retrieved, over all queries.

    Args:
        retrieved, exact: (n_queries, k) rows, none twice for a query; negative numbers are no neighbours.
    """
    query = np.arange(len(exact))[:, None] << 32
    hits = np.isin(query + exact, query + retrieved)[exact >= 0]
    return float(hits.mean()) if hits.size else 1.0


def measured_recall(index: Any, vectors: Float32, queries: Float32 | None, k: int) -> float:  # noqa: ANN401  no types
    """Returns the recall@k of an index against exact search, on a sample of queries.

    Args:
        index: holds all the vectors.
        vectors: (n, dim).
        queries: (m, dim) to sample from; None samples the vectors, which do not count as neighbours of themselves.
        k: number of neighbours.
    """
    source = vectors if queries is None else queries
    rows = _sample(len(source), N_SAMPLE, 0)
    sample = np.ascontiguousarray(source[rows], dtype=np.float32)
    k = min(k + (queries is None), len(vectors))
    retrieved, exact = search(index, sample, k)[1], _exact(sample, vectors, k)
    if queries is None:
        retrieved, exact = (np.where(found == rows[:, None], -1, found) for found in (retrieved, exact))
    return recall(retrieved, exact)


def _exact(queries: Float32, vectors: Float32, k: int) -> Int64:
    faiss = load_faiss()
    scores, rows, first = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64), 0
    for block in blocks(vectors, np.arange(len(vectors))):
        with faiss_settings(faiss, BLAS_THRESHOLD):
            best, places = faiss.knn(queries, block, min(k, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
        scores, rows, first = np.hstack([scores, best]), np.hstack([rows, places + first]), first + len(block)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores, rows = np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
    return rows


def load_faiss() -> ModuleType:
    """Returns FAISS, an extra that is imported at first use.

    Raises:
        ImportError: FAISS is not installed.
    """
    try:
        import faiss  # noqa: PLC0415  an extra, and slow to import
    except ImportError:
        raise ImportError("attune.runtime.search needs FAISS; pip install faiss-cpu") from None
    module: ModuleType = faiss
    return module


def _configure(faiss: ModuleType, index: Any) -> int:  # noqa: ANN401  faiss has no types
    """Sets the search effort, which is saved with the index; returns the number of cells to train."""
    ivf = faiss.try_extract_index_ivf(index)
    if ivf:
        ivf.nprobe = max(1, ivf.nlist // CELLS_PER_PROBE)
        ivf.cp.niter = KMEANS_ITERATIONS
        ivf.cp.max_points_per_centroid = MAX_POINTS_PER_CELL
        return int(ivf.nlist)
    if isinstance(index, faiss.IndexHNSW):
        index.hnsw.efSearch = EF_SEARCH
    return 0


def _sample(n: int, size: int, seed: int) -> Int64:
    """Returns at most `size` of the numbers below n, ascending."""
    if n <= size:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, size, replace=False))
