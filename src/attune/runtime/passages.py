"""Documents by their best passage, from rankings of passages."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from attune.runtime.arrays import Float32, Int64

EXTRA, DEEPER = 16, 4  # passages beyond those searched for, and times as many where they are of too few documents


class Hit(NamedTuple):
    """A document that was found.

    Attributes:
        document_id: its id.
        score: inner product of the query with its best passage.
        start, stop: range of characters of this passage in the document; None where documents are whole.
        probability: that the document is relevant, where `Search.probable` gave it.
    """

    document_id: str
    score: float
    start: int | None
    stop: int | None
    probability: float | None = None


def best_of_documents(
    search: Callable[[int], tuple[Float32, Int64]], ids: Sequence[str], k: int
) -> list[tuple[int, float]]:
    """Returns row and score of the best passage of the k best documents, best first; ties go to the earlier row.

    Args:
        search: returns scores and rows, (n,) each, of the n nearest passages of one query; row -1 for none.
        ids: the document of each row.
        k: number of documents; fewer where the index finds no more.
    """
    n = min(k + EXTRA, len(ids))
    while True:
        scores, rows = search(n)
        is_hit = rows >= 0
        scores, rows = scores[is_hit], rows[is_hit]
        best: dict[str, tuple[int, float]] = {}
        for place in np.lexsort((rows, -scores)).tolist():
            best.setdefault(ids[rows[place]], (int(rows[place]), float(scores[place])))
        if len(best) >= k or n == len(ids):
            return list(best.values())[:k]
        n = min(n * DEEPER, len(ids))
