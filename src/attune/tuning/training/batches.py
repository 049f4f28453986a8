"""Batches in which all other rows are true negatives, as far as clusters can tell, in an order that a seed decides."""

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
from attune.stage import named

WINDOW = 16  # batches whose rows are sorted by length together: enough to save padding, few enough to stay random


@dataclass(frozen=True)
class BatchingKeys:
    """Clusters and lengths of the training rows, by which they are put into batches.

    Attributes:
        clusters: cluster of each row's query and positive.
        negative_clusters: clusters of each row's mined negatives.
        lengths: characters of each row's positive, to batch texts of like length.
    """

    clusters: Sequence[Hashable]
    negative_clusters: Sequence[Sequence[Hashable]]
    lengths: Sequence[int]


class Batch:
    """Rows that are negatives of each other: no two of one cluster, no row's negative from another row's cluster."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.clusters: set[Hashable] = set()
        self.negative_clusters: set[Hashable] = set()

    def add(self, row: int, cluster: Hashable, negatives: Sequence[Hashable]) -> bool:
        """Adds the row unless it conflicts with a row of the batch; says if it was added.

        Args:
            row: number of the row.
            cluster: of the row's query and positive.
            negatives: clusters of the row's mined negatives.
        """
        if cluster in self.clusters or cluster in self.negative_clusters or not self.clusters.isdisjoint(negatives):
            return False
        self.rows.append(row)
        self.clusters.add(cluster)
        self.negative_clusters.update(negatives)
        return True


class ClusterBatchSampler(DefaultBatchSampler):
    """Draws batches of texts of like length that are full, as long as there are enough clusters to fill them.

    Rows that find no place in an epoch (`n_rows % batch_size` of them, or members of a very large cluster) wait for the
    next, which shuffles anew; so the number of batches is known beforehand and the same in each epoch.
    """

    def __init__(self, dataset: Dataset, keys: BatchingKeys, **settings: Any) -> None:  # noqa: ANN401
        super().__init__(dataset, **settings)
        self.keys = keys
        self.lengths = np.asarray(keys.lengths)

    def __len__(self) -> int:
        """Returns the number of batches per epoch: at least one, even of fewer rows than a batch."""
        return max(1, len(self.lengths) // int(self.batch_size))

    def __iter__(self) -> Iterator[list[int]]:
        """Yields the batches of the current epoch, as row numbers of the dataset."""
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
        """Fills one batch after another; rows that an earlier batch had to refuse come first."""
        batches: list[list[int]] = []
        waiting: list[int] = []
        while len(batches) < len(self):
            batch = Batch()
            refused = [row for row in waiting if len(batch.rows) == self.batch_size or not self._add(batch, row)]
            while len(batch.rows) < self.batch_size and (row := next(order, None)) is not None:
                if not self._add(batch, row):
                    refused.append(row)
            batches.append(batch.rows)
            waiting = refused
        return batches

    def _add(self, batch: Batch, row: int) -> bool:
        return batch.add(row, self.keys.clusters[row], self.keys.negative_clusters[row])


class SharedBatches:
    """Cuts each batch of a sampler into one part per process; accelerate deals the parts out in turn.

    The parts of a step together are the batch that a single process would train on.
    """

    batch_size = None  # parts differ in size; accelerate would pass over those that are not full
    drop_last = False

    def __init__(self, sampler: ClusterBatchSampler) -> None:
        self.sampler = sampler

    def __len__(self) -> int:
        """Returns the number of parts per epoch."""
        return len(self.sampler) * processes.world_size()

    def __iter__(self) -> Iterator[list[int]]:
        """Yields the parts of the current epoch's batches, as row numbers of the dataset.

        Raises:
            BadInput: a batch has fewer rows than there are processes.
        """
        for batch in self.sampler:
            if len(batch) < processes.world_size():
                raise BadInput(
                    f"{named('train.processes')}: got {processes.world_size()}, but too few clusters leave a batch "
                    f"of {len(batch)} rows; expected at most so many processes, or a smaller train.batch_size"
                )
            yield from processes.parts(batch, processes.world_size())  # type: ignore[misc]


class EpochCallback(TrainerCallback):
    """Builds the batch sampler and sets its epoch.

    The trainer has a call for that (`set_epoch`). But when a run of several processes resumes within an epoch, the
    sampler is wrapped and that call no longer reaches it: the run would repeat the first epoch's batches.
    """

    sampler: ClusterBatchSampler | None = None

    def build_sampler(
        self,
        dataset: Dataset,
        *,
        keys: BatchingKeys,
        **settings: Any,  # noqa: ANN401
    ) -> ClusterBatchSampler | SharedBatches:
        """Returns the trainer's batch sampler: whole batches, or parts of them where processes share the training."""
        self.sampler = ClusterBatchSampler(dataset, keys=keys, **settings)
        return self.sampler if processes.world_size() == 1 else SharedBatches(self.sampler)

    def on_epoch_begin(self, _args: object, state: TrainerState, _control: object, **_: object) -> None:
        """Sets the epoch by the steps taken so far, those before a kill included."""
        assert self.sampler is not None
        self.sampler.set_epoch(state.global_step // len(self.sampler))
