"""Losses over the rows of all processes: each embeds its part, all compute the loss of the whole batch.

So every loss has the value and the gradient that it has in one process, whatever it compares with what, and parts may
differ in size. The library's own `gather_across_devices` needs equal parts and leaves gist's queries ungathered. It
splits the rows of the score matrix, which are whole here: they cost next to nothing beside the encoder.

A process holds the others' embeddings as constants, and so computes the gradient of its own rows alone; the sum over
processes is the batch's. DistributedDataParallel takes the mean, hence the factor in `Whole`.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import Module

from attune.encoding import processes


def gathered(own: Tensor) -> Tensor:
    """The rows of all processes, in their order: (n own rows, dim) -> (n rows, dim); a gradient flows to its own."""
    if processes.count() == 1:
        return own
    return torch.cat([own if tensor is None else tensor for tensor in _of_all(own)])


def _of_all(own: Tensor) -> list[Tensor | None]:
    """Each process's rows, constants; None in this one's place."""
    sizes = [torch.zeros(1, dtype=torch.int64, device=own.device) for _ in range(processes.count())]
    dist.all_gather(sizes, torch.tensor([len(own)], device=own.device))
    n = [int(size) for size in sizes]
    # all must send the same shape
    sent = own.new_zeros(max(n), *own.shape[1:])
    sent[: len(own)] = own.detach()
    received = [torch.empty_like(sent) for _ in n]
    dist.all_gather(received, sent)
    received_rows: list[Tensor | None] = [rows[:size] for rows, size in zip(received, n, strict=True)]
    received_rows[processes.number()] = None
    return received_rows


class _OverAllRows:
    """A loss over embeddings, which are those of all processes."""

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Tensor | None) -> Tensor:
        """The loss of columns of embeddings, each (n own rows, dim)."""
        loss: Tensor = super().compute_loss_from_embeddings(  # type: ignore[misc]
            [gathered(column) for column in embeddings], labels
        )
        return loss


class _OverAllParts:
    """A loss over embeddings made in parts (GradCache), which are those of all processes."""

    def calculate_loss(self, *columns: Sequence[Sequence[Tensor]] | None, **settings: Any) -> Tensor:  # noqa: ANN401
        """The loss of columns of parts of embeddings, each (n rows of the part, dim); a guide's come second."""
        loss: Tensor = super().calculate_loss(  # type: ignore[misc]
            *(sides and [self._parts(column) for column in sides] for sides in columns), **settings
        )
        return loss

    @staticmethod
    def _parts(own: Sequence[Tensor]) -> list[Tensor]:
        """The parts of all processes; its own ones are the same tensors, as their gradients are looked for there."""
        parts: list[Tensor] = []
        for other in _of_all(torch.cat(list(own))):
            parts += own if other is None else [other]
        return parts


def over_all_processes(kind: type[Module]) -> type[Module]:
    """The kind of loss that compares the rows of all processes; in a single process the kind itself."""
    if processes.count() == 1:
        return kind
    mixin = _OverAllParts if hasattr(kind, "calculate_loss") else _OverAllRows
    return type(kind.__name__, (mixin, kind), {})


class Whole(Module):
    """A loss that has the same value in every process, with the gradient of its own rows times their number."""

    def __init__(self, model: Module, loss: Module) -> None:
        super().__init__()
        # the trainer looks for `model`, to put one that sums gradients in its place
        self.model, self.loss = model, loss

    def forward(self, features: Sequence[dict[str, Tensor]], labels: Tensor | None) -> Tensor:
        """The loss of a batch, of which this process has a part."""
        value: Tensor = self.loss(features, labels)
        n = processes.count()
        return n * value - (n - 1) * value.detach()
