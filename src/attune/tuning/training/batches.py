"""Batches in which every other row is a true negative, as far as clusters can tell, in an order that a seed decides."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from sentence_transformers.base.sampler import DefaultBatchSampler
from transformers import TrainerCallback, TrainerState

from attune.encoding import processes
from attune.errors import BadInput

WINDOW = (
    16  # batches whose rows are sorted by length together: wide enough to save padding, narrow enough to stay random
)


@dataclass(frozen=True)
class Rows:
    """What batching needs to know of each training row.

    Attributes:
        clusters: the cluster of its query and its positive.
        negative_clusters: the clusters of its mined negatives.
        lengths: how long its positive is, to batch like with like.
    """

    clusters: Sequence[Hashable]
    negative_clusters: Sequence[Sequence[Hashable]]
    lengths: Sequence[int]


class Batch:
    """Rows that are negatives of each other: no two of one cluster, no row's negative from another row's cluster."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.own: set[Hashable] = set()
        self.negative: set[Hashable] = set()

    def take(self, row: int, own: Hashable, negative: Sequence[Hashable]) -> bool:
        """Adds the row if it is a negative to all others and they to it; says whether it was."""
        if own in self.own or own in self.negative or not self.own.isdisjoint(negative):
            return False
        self.rows.append(row)
        self.own.add(own)
        self.negative.update(negative)
        return True


class ClusterBatchSampler(DefaultBatchSampler):
    """Draws batches of texts of like length that are full, as long as there are enough clusters to fill them.

    Rows that find no place in an epoch (`n_rows % batch_size` of them, or members of a very large cluster) wait for the
    next, which shuffles anew; so the number of batches is known beforehand and the same in each epoch.
    """

    def __init__(self, dataset: Dataset, rows: Rows, **settings: Any) -> None:  # noqa: ANN401
        super().__init__(dataset, **settings)
        self.rows = rows
        self.lengths = np.asarray(rows.lengths)

    def __len__(self) -> int:
        """Batches per epoch: at least one, even of fewer rows than a batch."""
        return max(1, len(self.lengths) // int(self.batch_size))

    def __iter__(self) -> Iterator[list[int]]:
        """The batches of the current epoch, as rows of the dataset."""
        random = np.random.default_rng([self.seed, self.epoch])
        batches = self._fill(iter(self._order(random).tolist()))
        for index in random.permutation(len(batches)):
            yield batches[index]

    def _order(self, random: np.random.Generator) -> NDArray[np.int64]:
        shuffled = random.permutation(len(self.lengths))
        # chance, not length, decides which rows are left over
        drawn, spare = np.split(shuffled, [len(self) * self.batch_size])
        width = WINDOW * self.batch_size
        windows = [drawn[start : start + width] for start in range(0, len(drawn), width)]
        return np.concatenate([*(window[np.argsort(self.lengths[window], kind="stable")] for window in windows), spare])

    def _fill(self, order: Iterator[int]) -> list[list[int]]:
        """Fills batch after batch, those first that an earlier batch had to refuse."""
        batches: list[list[int]] = []
        waiting: list[int] = []
        while len(batches) < len(self):
            batch = Batch()
            refused = [row for row in waiting if len(batch.rows) == self.batch_size or not self._take(batch, row)]
            while len(batch.rows) < self.batch_size and (row := next(order, None)) is not None:
                if not self._take(batch, row):
                    refused.append(row)
            batches.append(batch.rows)
            waiting = refused
        return batches

    def _take(self, batch: Batch, row: int) -> bool:
        return batch.take(row, self.rows.clusters[row], self.rows.negative_clusters[row])


class SharedBatches:
    """The batches of a sampler cut into parts, one for each process, for accelerate, which deals them out in turn.

    A step's parts together are the batch that one process would have taken: the same rows, free of the same conflicts.
    """

    batch_size = None  # parts differ in size; accelerate would pass over those that are not full
    drop_last = False

    def __init__(self, sampler: ClusterBatchSampler) -> None:
        self.sampler = sampler

    def __len__(self) -> int:
        """Parts per epoch."""
        return len(self.sampler) * processes.world_size()

    def __iter__(self) -> Iterator[list[int]]:
        """The parts of the current epoch's batches, as rows of the dataset.

        Raises:
            BadInput: a batch has fewer rows than there are processes.
        """
        for batch in self.sampler:
            if len(batch) < processes.world_size():
                raise BadInput(
                    f"params.yaml: train.processes: got {processes.world_size()}, but too few clusters leave a batch of "
                    f"{len(batch)} rows; expected at most so many processes, or a smaller train.batch_size"
                )
            yield from processes.parts(batch, processes.world_size())  # type: ignore[misc]


class Epochs(TrainerCallback):
    """Makes the batches, and tells them of each epoch.

    The trainer tells them, too, but not through what a run that goes on in the middle of an epoch wraps around shared
    ones: it would draw the first epoch's again.
    """

    sampler: ClusterBatchSampler | None = None

    def batches(
        self,
        dataset: Dataset,
        *,
        rows: Rows,
        **settings: Any,  # noqa: ANN401
    ) -> ClusterBatchSampler | SharedBatches:
        """What a trainer draws from: whole batches, or parts of them where processes share the training."""
        self.sampler = ClusterBatchSampler(dataset, rows=rows, **settings)
        return self.sampler if processes.world_size() == 1 else SharedBatches(self.sampler)

    def on_epoch_begin(self, _args: object, state: TrainerState, _control: object, **_: object) -> None:
        """The epoch by the steps taken so far, those before a kill included."""
        assert self.sampler is not None
        self.sampler.set_epoch(state.global_step // len(self.sampler))
