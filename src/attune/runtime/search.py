"""Exact search: the documents whose embeddings have the largest inner product with a query's."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attune.errors import BadInput

ROWS_AT_ONCE = 16_384


class Search:
    """Embeddings in a memory-mapped .npy file, and the id of each row.

    Reads the file in slices, so memory stays small however many rows there are.

    Args:
        vectors: a .npy file of float32 (n, dim).
        ids: n document ids, in the order of the rows.

    Raises:
        BadInput: the file is missing, is no such array, or the numbers of rows and ids differ.
    """

    def __init__(self, vectors: Path | str, ids: Sequence[str]) -> None:
        try:
            self._vectors = np.load(vectors, mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise BadInput(f"{vectors}: not a readable .npy file ({error}); embed the documents again") from None
        if self._vectors.ndim != 2 or len(self._vectors) != len(ids):
            raise BadInput(f"{vectors}: shape is {self._vectors.shape}, expected ({len(ids)} ids, dim); embed again")
        self._ids = ids

    def top(self, queries: NDArray[np.float32], k: int) -> list[list[tuple[str, float]]]:
        """The k best documents of each query with their scores, best first; among equals the earlier row wins.

        Args:
            queries: (m, dim).
            k: how many; fewer come back if there are fewer documents.
        """
        scores = np.empty((len(queries), 0), dtype=np.float32)
        rows = np.empty((len(queries), 0), dtype=np.int64)
        for start in range(0, len(self._vectors), ROWS_AT_ONCE):
            found = queries @ self._vectors[start : start + ROWS_AT_ONCE].T
            scores = np.hstack([scores, found])
            rows = np.hstack([rows, np.broadcast_to(np.arange(start, start + found.shape[1]), found.shape)])
            best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            scores, rows = np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)
        return [
            [(self._ids[row], float(score)) for row, score in zip(*hits, strict=True)]
            for hits in zip(rows, scores, strict=True)
        ]
