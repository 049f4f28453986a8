"""Embeddings that may be larger than memory: opened without reading them, taken in blocks, refused where unfit."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attune.errors import BadInput

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

BLOCK_BYTES = 2**28  # of the corpus at a time: bounds memory, and is large enough for fast matrix products


def load_embeddings(path: Path, n_rows: int, table: str) -> FloatArray:
    """Opens (n_rows, dim) embeddings without reading them into memory.

    Raises:
        BadInput: the file is missing or damaged, or holds another number of rows than the table it belongs to.
    """
    try:
        array: FloatArray = np.load(path, mmap_mode="r")
    except FileNotFoundError:
        raise BadInput(f"{path}: not found; run `dvc repro` to make it") from None
    except (ValueError, EOFError) as error:
        raise BadInput(f"{path}: not a readable array ({error}); delete it and run `dvc repro`") from None
    if array.ndim != 2 or len(array) != n_rows:
        raise BadInput(
            f"{path}: shape {array.shape}, expected {n_rows} rows as in {table}; embed again with `dvc repro`"
        )
    return array


def blocks(corpus: FloatArray, among: IntArray | None) -> Iterator[tuple[IntArray, FloatArray]]:
    """The corpus in pieces, with their rows; a memory-mapped float32 one is not copied where all of it counts."""
    size = max(1, BLOCK_BYTES // (4 * max(1, corpus.shape[1])))
    n = len(corpus) if among is None else len(among)
    for start in range(0, n, size):
        place = slice(start, min(start + size, n))
        rows = np.arange(place.start, place.stop) if among is None else among[place]
        yield rows, np.ascontiguousarray(corpus[place if among is None else rows], dtype=np.float32)


def check(queries: FloatArray, corpus: FloatArray) -> None:
    """Refuses what has no neighbours.

    Raises:
        BadInput: the corpus is empty, the dimensions differ, or a value is NaN or infinite.
    """
    if len(corpus) == 0:
        raise BadInput("retrieval: the corpus has no embeddings; at least one document is needed")
    if queries.shape[1] != corpus.shape[1]:
        raise BadInput(
            f"retrieval: queries have {queries.shape[1]} dimensions, the corpus {corpus.shape[1]}; "
            "embed both with the same encoder"
        )
    for name, array in (("query", queries), ("corpus", corpus)):
        bad = [row for rows, block in blocks(array, None) for row in rows[~_finite(block)].tolist()]
        if bad:
            raise BadInput(
                f"retrieval: {len(bad)} {name} embeddings hold NaN or infinity (first: row {bad[0]}); "
                "check the encoder and embed again"
            )


def _finite(block: FloatArray) -> NDArray[np.bool_]:
    """Which rows are finite, (n,): a sum that is finite has finite terms, and is read off many times faster."""
    with np.errstate(over="ignore", invalid="ignore"):
        sums: NDArray[np.bool_] = np.isfinite(block @ np.ones(block.shape[1], np.float32))
    doubted = ~sums  # large values may overflow a sum
    sums[doubted] = np.isfinite(block[doubted]).all(axis=1)
    return sums
