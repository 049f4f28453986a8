"""Embeddings that may be larger than memory: opened as memory maps, read in blocks, refused where invalid."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attune.errors import BadInput
from attune.runtime.arrays import Float32, Int64

BLOCK_BYTES = 2**28  # of a block of the corpus: bounds memory, and is large enough for fast matrix products


def load_embeddings(path: Path, n_rows: int, table: str) -> Float32:
    """Opens (n_rows, dim) embeddings without reading them into memory.

    Raises:
        BadInput: the file is missing or damaged, or its number of rows differs from the table's.
    """
    try:
        array: Float32 = np.load(path, mmap_mode="r")
    except FileNotFoundError:
        raise BadInput(f"{path}: not found; run `dvc repro` to make it") from None
    except (ValueError, EOFError) as error:
        raise BadInput(f"{path}: not a readable array ({error}); delete it and run `dvc repro`") from None
    if array.ndim != 2 or len(array) != n_rows:
        raise BadInput(
            f"{path}: shape {array.shape}, expected {n_rows} rows as in {table}; embed again with `dvc repro`"
        )
    return array


def blocks(corpus: Float32, among: Int64 | None) -> Iterator[tuple[Int64, Float32]]:
    """Yields the corpus, or the rows `among` of it, in blocks: row numbers (n,) and vectors (n, dim).

    Without `among`, blocks of a memory-mapped float32 corpus are views and not copies.
    """
    size = max(1, BLOCK_BYTES // (4 * max(1, corpus.shape[1])))
    n = len(corpus) if among is None else len(among)
    for start in range(0, n, size):
        place = slice(start, min(start + size, n))
        rows = np.arange(place.start, place.stop) if among is None else among[place]
        yield rows, np.ascontiguousarray(corpus[place if among is None else rows], dtype=np.float32)


def validate(queries: Float32, corpus: Float32) -> None:
    """Refuses embeddings that cannot be searched.

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


def _finite(block: Float32) -> NDArray[np.bool_]:
    """Returns for each row whether all its values are finite, (n,).

    A finite sum has finite terms and is computed many times faster; other rows are read value by value, because large
    finite values may overflow their sum.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        is_finite: NDArray[np.bool_] = np.isfinite(block @ np.ones(block.shape[1], np.float32))
    doubtful = ~is_finite
    is_finite[doubtful] = np.isfinite(block[doubtful]).all(axis=1)
    return is_finite
