"""Conflicts between training rows, which then may not share a batch, and the draw of an epoch's rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from attune.tuning.training import grouping


@dataclass(frozen=True)
class BatchingKeys:
    """Judgments and lengths of the training rows, by which batches are filled; all ids are replaced by numbers from 0.

    Attributes:
        queries: number of each row's query.
        near_groups: number of each row's near_group: queries that read the same.
        documents: numbers of each row's documents: its positive and its negatives.
        relevance: of each row's positive to its query; larger is more relevant.
        lengths: characters of each row's positive, to batch texts of like length.
        relevant: for each near_group, the documents that are judged relevant to a query of it, or have its text.
        max_pairs_per_query: rows of a query that an epoch draws at most, 0 for all.
        neighbours: for each row, the rows that should share its batch; () where batches are drawn by length.
    """

    queries: Sequence[int]
    near_groups: Sequence[int]
    documents: Sequence[Sequence[int]]
    relevance: Sequence[int]
    lengths: Sequence[int]
    relevant: Sequence[frozenset[int]]
    max_pairs_per_query: int
    neighbours: Sequence[Sequence[int]] = ()

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

    def grouped(self) -> Self:
        """Returns the keys of rows that leave their negatives out, and share batches with those that hold them."""
        return replace(
            self, documents=[own[:1] for own in self.documents], neighbours=grouping.neighbours(self.documents)
        )

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


class Judgments:
    """Judgments of the rows as arrays, so that a thousand rows are tried at once.

    Args:
        keys: of all rows.
    """

    def __init__(self, keys: BatchingKeys) -> None:
        self.near_groups = np.asarray(keys.near_groups)
        # rows with fewer documents than the most repeat their first
        n_columns = max(map(len, keys.documents))
        self.documents = np.array([(*own, *own[:1] * (n_columns - len(own))) for own in map(tuple, keys.documents)])
        self.relevant = [np.fromiter(own, np.int64, len(own)) for own in keys.relevant]
        pairs = np.concatenate([self.documents.ravel(), *self.relevant])
        self.n_documents = 1 + int(pairs.max())
        near_groups = np.repeat(np.arange(len(self.relevant)), [len(own) for own in self.relevant])
        judged = np.concatenate([np.empty(0, np.int64), *self.relevant])
        starts = np.cumsum(np.bincount(judged, minlength=self.n_documents))[:-1]
        # for each document, the near_groups that it is relevant to
        self.near_groups_of = np.split(near_groups[np.argsort(judged, kind="stable")], starts)


class Batch:
    """Rows that are negatives of each other, as far as is judged.

    Two rows conflict if a document of one, positive or negative, is judged relevant to the query of the other or to a
    query that reads the same, or has its text, or if their queries read the same.

    Args:
        judgments: of all rows.
    """

    def __init__(self, judgments: Judgments) -> None:
        self.judgments = judgments
        self.rows: list[int] = []
        # those whose rows conflict with the batch
        self.near_groups = np.zeros(len(judgments.relevant), bool)
        self.documents = np.zeros(judgments.n_documents, bool)

    def accepts(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Says of each row if it conflicts with no row of the batch: (n rows,) -> (n rows,)."""
        is_refused: NDArray[np.bool_] = self.documents[self.judgments.documents[rows]].any(axis=1)
        is_refused |= self.near_groups[self.judgments.near_groups[rows]]
        return ~is_refused

    def add(self, row: int) -> bool:
        """Adds the row unless it conflicts with a row of the batch; says if it was added."""
        near_group, documents = self.judgments.near_groups[row], self.judgments.documents[row]
        if self.near_groups[near_group] or self.documents[documents].any():
            return False
        self.rows.append(row)
        self.near_groups[near_group] = True
        for document in documents.tolist():
            self.near_groups[self.judgments.near_groups_of[document]] = True
        self.documents[self.judgments.relevant[near_group]] = True
        return True


class WaitingRows:
    """Queue of rows that found no place yet.

    Args:
        n: most rows that it can hold.
    """

    def __init__(self, n: int) -> None:
        self.ring = np.zeros(n, np.int64)
        self.first, self.n = 0, 0

    def next(self, n: int) -> NDArray[np.int64]:
        """Returns the first n rows, or all where there are fewer."""
        return self.ring.take(np.arange(self.first, self.first + min(n, self.n)), mode="wrap")

    def remove(self, n: int) -> None:
        """Removes the first n rows."""
        self.first, self.n = self.first + n, self.n - n

    def append(self, rows: NDArray[np.int64]) -> None:
        """Appends rows."""
        end = self.first + self.n
        self.ring.put(np.arange(end, end + len(rows)), rows, mode="wrap")
        self.n += len(rows)
