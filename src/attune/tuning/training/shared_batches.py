"""Training batches shared by processes: all draw the same ones, each takes its part of every one."""

from collections.abc import Iterator
from typing import Any

from datasets import Dataset
from transformers import TrainerCallback, TrainerState

from attune.encoding import processes
from attune.errors import BadInput
from attune.tuning.training.batches import ClusterBatchSampler, Rows


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
        return len(self.sampler) * processes.count()

    def __iter__(self) -> Iterator[list[int]]:
        """The parts of the current epoch's batches, as rows of the dataset.

        Raises:
            BadInput: a batch has fewer rows than there are processes.
        """
        for batch in self.sampler:
            if len(batch) < processes.count():
                raise BadInput(
                    f"params.yaml: train.processes: got {processes.count()}, but too few clusters leave a batch of "
                    f"{len(batch)} rows; expected at most so many processes, or a smaller train.batch_size"
                )
            yield from processes.parts(batch, processes.count())  # type: ignore[misc]


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
        return self.sampler if processes.count() == 1 else SharedBatches(self.sampler)

    def on_epoch_begin(self, _args: object, state: TrainerState, _control: object, **_: object) -> None:
        """The epoch by the steps taken so far, those before a kill included."""
        assert self.sampler is not None
        self.sampler.set_epoch(state.global_step // len(self.sampler))
