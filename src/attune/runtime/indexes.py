"""FAISS indexes by name: what each costs and misses, when there are too few rows to train one, and how well it recalls.

| kind | bytes per row | finds | choose it |
|---|---|---|---|
| flat | 4 dim | all | up to about 10^5 rows, and wherever a miss is an error |
| ivf | 4 dim | most: reads the nearest sixteenth of k-means' cells | many rows in enough memory |
| hnsw | 4 dim + 256 | nearly all, in a millisecond from millions of rows | a service; slow to build |
| sq8 | dim | nearly all: numbers of 8 bits | a quarter of the memory; no faster than flat |
| pq | dim / 4 | most: 4 bits for two numbers (Jégou et al., 2011; scanned as by André et al., 2017) | least memory |

A build is the same bytes each time: FAISS seeds its k-means with a constant, the rows that it sees are a seeded draw,
and HNSW is built by one thread (two would race for the order of its links).
"""

import math
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]

KINDS = ("flat", "ivf", "hnsw", "sq8", "pq")

PER_CELL = 39  # points that FAISS asks for to train each centre; with fewer it warns
FEWEST = 16 * PER_CELL  # rows below which ivf and pq cannot be trained
AT_MOST = 64  # points per centre that are used: more make k-means slower, not better
ROUNDS = 10  # of k-means: more change the cells, hardly what is found
PROBED = 16  # one cell in so many is read
EF_SEARCH = 64  # candidates that HNSW keeps while it looks
N_SAMPLE = 200  # queries that recall is measured on
BLOCK_BYTES = 2**26  # of rows copied at a time


def factory(kind: str, n: int, dim: int) -> str:
    """The index of a kind in the language of faiss.index_factory; `Flat` where n rows are too few to train it.

    Args:
        kind: one of KINDS; anything else is taken to be in that language already.
        n: how many rows it will hold.
        dim: their length.
    """
    if kind in ("ivf", "pq") and n < FEWEST:
        return "Flat"
    # each subquantizer has dim / m numbers: two, or, where dim is odd, as many as divide it
    m = next(m for m in range(max(1, dim // 2), 0, -1) if dim % m == 0)
    cells = min(int(4 * math.sqrt(n)), max(1, n // PER_CELL))  # 4 sqrt(n): FAISS's own advice
    return {"flat": "Flat", "ivf": f"IVF{cells},Flat", "hnsw": "HNSW32", "sq8": "SQ8", "pq": f"PQ{m}x4fs"}.get(
        kind, kind
    )


def build(description: str, vectors: Vectors, among: Rows, seed: int, threads: int) -> Any:  # noqa: ANN401  no types
    """Trains and fills an index for inner products; memory-mapped vectors are read a block at a time.

    Args:
        description: what `factory` returns.
        vectors: (n_rows, dim).
        among: the rows to index, in this order; the index numbers them from 0.
        seed: of the draw of rows to train on.
        threads: of FAISS. HNSW is built by one, whatever this is.
    """
    faiss = load_faiss()
    faiss.omp_set_num_threads(1 if "HNSW" in description else threads)
    index = faiss.index_factory(vectors.shape[1], description, faiss.METRIC_INNER_PRODUCT)
    cells = _tuned(faiss, index)
    if not index.is_trained:
        index.train(vectors[among[_drawn(len(among), max(2**16, AT_MOST * cells), seed)]])
    for block in blocks(vectors, among):
        index.add(block)
    faiss.omp_set_num_threads(threads)
    return index


def blocks(vectors: Vectors, among: Rows) -> Iterator[Vectors]:
    """Some rows as float32, in blocks of at most BLOCK_BYTES."""
    size = max(1, BLOCK_BYTES // (4 * vectors.shape[1]))
    for start in range(0, len(among), size):
        yield np.ascontiguousarray(vectors[among[start : start + size]], dtype=np.float32)


def recall(found: Rows, exact: Rows) -> float:
    """The share of the exact neighbours that were found, over all queries.

    Args:
        found, exact: (n_queries, k) rows, none twice for a query; what is below 0 is no neighbour.
    """
    query = np.arange(len(exact))[:, None] << 32
    hits = np.isin(query + exact, query + found)[exact >= 0]
    return float(hits.mean()) if hits.size else 1.0


def measured_recall(index: Any, vectors: Vectors, queries: Vectors | None, k: int) -> float:  # noqa: ANN401  no types
    """Recall@k of an index against exact search, on a sample of queries.

    Args:
        index: holds all the vectors.
        vectors: (n, dim).
        queries: (m, dim) to draw from; None draws from the vectors, which do not count as neighbours of themselves.
        k: how many neighbours.
    """
    asked = vectors if queries is None else queries
    own = _drawn(len(asked), N_SAMPLE, 0)
    asked = np.ascontiguousarray(asked[own], dtype=np.float32)
    k = min(k + (queries is None), len(vectors))
    found, exact = index.search(asked, k)[1], _exact(asked, vectors, k)
    if queries is None:
        found, exact = (np.where(rows == own[:, None], -1, rows) for rows in (found, exact))
    return recall(found, exact)


def _exact(queries: Vectors, vectors: Vectors, k: int) -> Rows:
    faiss = load_faiss()
    scores, rows, first = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64), 0
    for block in blocks(vectors, np.arange(len(vectors))):
        found, places = faiss.knn(queries, block, min(k, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
        scores, rows, first = np.hstack([scores, found]), np.hstack([rows, places + first]), first + len(block)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores, rows = np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)
    return rows


def load_faiss() -> ModuleType:
    """FAISS, an extra that is imported at the first use.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import faiss  # noqa: PLC0415  an extra, and slow to import
    except ImportError:
        raise ImportError("attune.runtime.search needs FAISS; pip install faiss-cpu") from None
    # numbers in a batch of queries from which FAISS multiplies matrices, in flat indexes and to find cells: so four
    # queries of 384 numbers take as long as one; its own 128,000 makes 300 queries slower than 1000
    faiss.cvar.distance_compute_blas_threshold = 1536
    module: ModuleType = faiss
    return module


def _tuned(faiss: ModuleType, index: Any) -> int:  # noqa: ANN401  faiss has no types
    """Sets how much of an index a search reads, which is saved with it; returns how many cells there are to train."""
    ivf = faiss.try_extract_index_ivf(index)
    if ivf:
        ivf.nprobe = max(1, ivf.nlist // PROBED)
        ivf.cp.niter = ROUNDS
        ivf.cp.max_points_per_centroid = AT_MOST
        return int(ivf.nlist)
    if isinstance(index, faiss.IndexHNSW):
        index.hnsw.efSearch = EF_SEARCH
    return 0


def _drawn(n: int, most: int, seed: int) -> Rows:
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, most, replace=False))
