"""Batches in which all other rows are true negatives, as far as judgments can tell, in an order that a seed decides."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from sentence_transformers.base.sampler import DefaultBatchSampler
from transformers import TrainerCallback, TrainerState

from attune.encoding import processes
from attune.errors import BadInput
from attune.stage import named
from attune.tuning.training.conflicts import Batch, BatchingKeys, Judgments, WaitingRows
from attune.tuning.training.grouping import grouped

WINDOW = 16  # batches whose rows are sorted by length together: enough to save padding, few enough to stay random
# Rows that are tried for each place of a batch, at most, so that the work is linear in the rows. Sparse judgments need
# two or three; these fill batches even where a document answers a third of all queries.
TRIES = 256
FIRST_TRIED = 2  # rows per place that are tried at once; twice as many when they were refused


class PairBatchSampler(DefaultBatchSampler):
    """Draws full batches, none with a pair that is known to be a false negative: of texts of like length, or of groups
    of rows that are hard negatives of each other where the keys have neighbours.

    Rows that find no place in an epoch (`n_rows % batch_size` of them, or pairs of a document that answers very many
    queries) wait for the next, which shuffles anew; so the number of batches is known beforehand and the same in each
    epoch. Where none of the rows left fits into a batch, rows that the epoch has had before fill it.
    """

    def __init__(self, dataset: Dataset, keys: BatchingKeys, **settings: Any) -> None:  # noqa: ANN401
        super().__init__(dataset, **settings)
        self.keys = keys
        self.lengths = np.asarray(keys.lengths)
        self.judgments = Judgments(keys)

    def __len__(self) -> int:
        """Returns the number of batches per epoch: at least one, even of fewer rows than a batch."""
        return self.keys.n_batches(int(self.batch_size))

    def __iter__(self) -> Iterator[list[int]]:
        """Yields the batches of the current epoch, as row numbers of the dataset."""
        random = np.random.default_rng([self.seed, self.epoch])
        rows = self.keys.draw(random)
        order, fillers = self._order(random, rows), random.permutation(rows)
        batches = self._fill(order, fillers)
        for index in random.permutation(len(batches)):
            yield batches[index]

    def _order(self, random: np.random.Generator, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        shuffled = random.permutation(rows)
        # chance, not length, decides which rows are left over
        drawn, spare = np.split(shuffled, [len(self) * self.batch_size])
        if self.keys.neighbours:
            return np.concatenate([grouped(drawn, self.keys.neighbours, random), spare])
        width = WINDOW * self.batch_size
        windows = [drawn[start : start + width] for start in range(0, len(drawn), width)]
        return np.concatenate([*(window[np.argsort(self.lengths[window], kind="stable")] for window in windows), spare])

    def _fill(self, order: NDArray[np.int64], fillers: NDArray[np.int64]) -> list[list[int]]:
        """Fills one batch after another: with rows that earlier batches refused, then new ones, then any that fit.

        Args:
            order: rows of the epoch, in the order in which they are tried.
            fillers: the same rows in another order, for batches that would stay unfilled.
        """
        batches: list[list[int]] = []
        waiting, n_new, n_fillers = WaitingRows(len(order)), 0, 0
        limit = min(TRIES * int(self.batch_size), len(order))
        for _ in range(len(self)):
            batch = Batch(self.judgments)
            waited, refused = self._add(batch, waiting.next(limit))
            waiting.remove(waited)
            n_tried, also_refused = self._add(batch, order[n_new : n_new + limit - waited])
            n_new += n_tried
            waiting.append(np.concatenate([refused, also_refused]))
            if len(batch.rows) < self.batch_size:
                n_fillers += self._add(batch, fillers.take(np.arange(n_fillers, n_fillers + limit), mode="wrap"))[0]
            batches.append(batch.rows)
        return batches

    def _add(self, batch: Batch, rows: NDArray[np.int64]) -> tuple[int, NDArray[np.int64]]:
        """Adds rows until the batch is full.

        Returns:
            The number of rows that were tried, and those of them that the batch refused.
        """
        n_tried, width, refused = 0, FIRST_TRIED * int(self.batch_size), [rows[:0]]
        while len(batch.rows) < self.batch_size and n_tried < len(rows):
            tried = rows[n_tried : n_tried + width]
            is_added = np.zeros(len(tried), bool)
            end = len(tried)
            for place in np.flatnonzero(batch.accepts(tried)).tolist():
                is_added[place] = batch.add(int(tried[place]))
                if len(batch.rows) == self.batch_size:
                    end = place + 1
                    break
            refused.append(tried[:end][~is_added[:end]])
            n_tried, width = n_tried + end, 2 * width
        return n_tried, np.concatenate(refused)


def batch_fills(keys: BatchingKeys, batch_size: int, seed: int, n_steps: int) -> list[float]:
    """Returns how full each batch of a run is (0..1), by drawing the batches once more without training on them.

    Args:
        keys: judgments and lengths of the rows.
        batch_size: rows of a full batch.
        seed: of the run.
        n_steps: steps of the run.
    """
    sampler = PairBatchSampler(range(len(keys.lengths)), keys, batch_size=batch_size, drop_last=False, seed=seed)
    fills: list[float] = []
    while len(fills) < n_steps:
        sampler.set_epoch(len(fills) // len(sampler))
        fills += [len(batch) / batch_size for batch in sampler]
    return fills[:n_steps]


class SharedBatches:
    """Cuts each batch of a sampler into one part per process; accelerate deals the parts out in turn.

    The parts of a step together are the batch that a single process would train on.
    """

    batch_size = None  # parts differ in size; accelerate would pass over those that are not full
    drop_last = False

    def __init__(self, sampler: PairBatchSampler) -> None:
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
                    f"{named('train.processes')}: got {processes.world_size()}, but a batch has {len(batch)} rows, as "
                    "no more are negatives of each other; expected at most so many processes, or a smaller batch_size"
                )
            yield from processes.parts(batch, processes.world_size())  # type: ignore[misc]


class EpochCallback(TrainerCallback):
    """Builds the batch sampler and sets its epoch.

    The trainer has a call for that (`set_epoch`). But when a run of several processes resumes within an epoch, the
    sampler is wrapped and that call no longer reaches it: the run would repeat the first epoch's batches.
    """

    sampler: PairBatchSampler | None = None

    def build_sampler(
        self,
        dataset: Dataset,
        *,
        keys: BatchingKeys,
        **settings: Any,  # noqa: ANN401
    ) -> PairBatchSampler | SharedBatches:
        """Returns the trainer's batch sampler: whole batches, or parts of them where processes share the training."""
        self.sampler = PairBatchSampler(dataset, keys=keys, **settings)
        return self.sampler if processes.world_size() == 1 else SharedBatches(self.sampler)

    def on_epoch_begin(self, _args: object, state: TrainerState, _control: object, **_: object) -> None:
        """Sets the epoch by the steps taken so far, those before a kill included."""
        assert self.sampler is not None
        self.sampler.set_epoch(state.global_step // len(self.sampler))
