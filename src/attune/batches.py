"""Batches in which every other row is a true negative: no two rows of one cluster, in an order that a seed decides."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from sentence_transformers.base.sampler import DefaultBatchSampler

WINDOW = (
    16  # batches whose rows are sorted by length together: wide enough to save padding, narrow enough to stay random
)


class ClusterBatchSampler(DefaultBatchSampler):
    """Draws full batches without two members of a cluster, each of texts of like length.

    Rows that find no place in an epoch (`n_rows % batch_size` of them, or members of a very large cluster) wait for the
    next, which shuffles anew; so the number of batches is known beforehand and the same in each epoch.
    """

    def __init__(self, dataset: Dataset, clusters: Sequence[str], lengths: Sequence[int], **settings: Any) -> None:  # noqa: ANN401
        super().__init__(dataset, **settings)
        self.clusters = np.unique(np.asarray(clusters), return_inverse=True)[1]
        self.lengths = np.asarray(lengths)

    def __len__(self) -> int:
        """Batches per epoch: at least one, even of fewer rows than a batch."""
        return max(1, len(self.clusters) // int(self.batch_size))

    def __iter__(self) -> Iterator[list[int]]:
        """The batches of the current epoch, as rows of the dataset."""
        random = np.random.default_rng([self.seed, self.epoch])
        batches = self._fill(self._order(random))
        for index in random.permutation(len(batches)):
            yield batches[index]

    def _order(self, random: np.random.Generator) -> NDArray[np.int64]:
        shuffled = random.permutation(len(self.clusters))
        # chance, not length, decides which rows are left over
        drawn, spare = np.split(shuffled, [len(self) * self.batch_size])
        width = WINDOW * self.batch_size
        windows = [drawn[start : start + width] for start in range(0, len(drawn), width)]
        return np.concatenate([*(window[np.argsort(self.lengths[window], kind="stable")] for window in windows), spare])

    def _fill(self, order: NDArray[np.int64]) -> list[list[int]]:
        batches: list[list[int]] = []
        waiting = [int(row) for row in order]
        while waiting and len(batches) < len(self):
            batch: list[int] = []
            taken: set[int] = set()
            later: list[int] = []
            for position, row in enumerate(waiting):
                if len(batch) == self.batch_size:
                    later += waiting[position:]
                    break
                if self.clusters[row] in taken:
                    later.append(row)
                else:
                    batch.append(row)
                    taken.add(self.clusters[row])
            batches.append(batch)
            waiting = later
        return batches
