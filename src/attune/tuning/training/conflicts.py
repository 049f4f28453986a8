"""Which training rows may share a batch, judged pair by pair, and which rows an epoch draws."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class BatchingKeys:
    """What decides in which batches the training rows go: judgments and lengths, all ids replaced by numbers from 0.

    Attributes:
        queries: number of each row's query.
        near_groups: number of each row's near_group: queries that read the same.
        documents: numbers of each row's documents: its positive and its negatives.
        relevance: of each row's positive to its query; larger is more relevant.
        lengths: characters of each row's positive, to batch texts of like length.
        relevant: for each near_group, the documents that are judged relevant to a query of it.
        max_pairs_per_query: rows of a query that an epoch draws at most, 0 for all.
    """

    queries: Sequence[int]
    near_groups: Sequence[int]
    documents: Sequence[Sequence[int]]
    relevance: Sequence[int]
    lengths: Sequence[int]
    relevant: Sequence[frozenset[int]]
    max_pairs_per_query: int

    @classmethod
    def independent(cls, lengths: Sequence[int]) -> Self:
        """Returns the keys of rows that may all share a batch.

        Args:
            lengths: characters of each row's positive.
        """
        rows = range(len(lengths))
        return cls(
            rows, rows, [(row,) for row in rows], [1] * len(rows), lengths, [frozenset((row,)) for row in rows], 0
        )

    @cached_property
    def n_rows_per_epoch(self) -> int:
        """Number of rows that an epoch draws, the same in each."""
        n_pairs = np.bincount(self.queries)
        return int(np.minimum(n_pairs, self.max_pairs_per_query or len(self.queries)).sum())

    def n_batches(self, batch_size: int) -> int:
        """Returns the number of batches per epoch: at least one, even of fewer rows than a batch."""
        return max(1, self.n_rows_per_epoch // batch_size)

    def draw(self, random: np.random.Generator) -> NDArray[np.int64]:
        """Draws the rows of an epoch: of each query the most relevant ones, among equally relevant ones by chance."""
        if not self.max_pairs_per_query:
            return np.arange(len(self.queries))
        queries = np.asarray(self.queries)
        order = np.lexsort((random.permutation(len(queries)), -np.asarray(self.relevance), queries))
        n_pairs = np.bincount(queries)
        # place of each row among those of its query, which now lie side by side
        place = np.arange(len(queries)) - np.repeat(np.cumsum(n_pairs) - n_pairs, n_pairs)
        return np.sort(order[place < self.max_pairs_per_query])


class Batch:
    """Rows that are negatives of each other, as far as is judged.

    Two rows conflict if a document of one, positive or negative, is judged relevant to the query of the other or to a
    query that reads the same, or if their queries read the same.

    Args:
        keys: of all rows.
    """

    def __init__(self, keys: BatchingKeys) -> None:
        self.keys = keys
        self.rows: list[int] = []
        self.near_groups: set[int] = set()
        self.documents: set[int] = set()
        self.relevant: set[int] = set()

    def add(self, row: int) -> bool:
        """Adds the row unless it conflicts with a row of the batch; says if it was added."""
        near_group, documents = self.keys.near_groups[row], self.keys.documents[row]
        relevant = self.keys.relevant[near_group]
        if near_group in self.near_groups or not self.relevant.isdisjoint(documents):
            return False
        if not self.documents.isdisjoint(relevant):
            return False
        self.rows.append(row)
        self.near_groups.add(near_group)
        self.documents.update(documents)
        self.relevant.update(relevant)
        return True
