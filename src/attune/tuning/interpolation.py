"""Weight interpolation between the base encoder and checkpoints, and averages of checkpoints.

Gain and forgetting both grow with the share of the tuned weights, but not in step: between the two ends lie encoders
with most of the gain and little of the loss (WiSE-FT, Wortsman et al. 2022, arXiv 2109.01903; for text embeddings
LM-Cocktail, Xiao et al. 2023, arXiv 2311.13534). An average of the last checkpoints often is better than each of them
(model soups, Wortsman et al. 2022, arXiv 2203.05482). The `merge` of sentence-transformers would need another package
(mergekit).

A checkpoint is kept as its difference to the base in half precision, which is half as large as the weights. What it
rounds off, 2^-11 of a difference or 6e-8, is far below what training itself leaves to chance.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from attune.encoding.encoders import load_torch
from attune.errors import BadInput

Weights = Mapping[str, torch.Tensor]


def difference(base: Weights, tuned: Weights) -> dict[str, torch.Tensor]:
    """Returns tuned - base in half precision, for each tensor of floats that differs.

    Args:
        base: tensors by name.
        tuned: tensors of the same names and shapes.

    Raises:
        BadInput: names or shapes differ.
    """
    _check_shapes(base, tuned)
    return {
        name: (value.double().cpu() - base[name].double().cpu()).half()
        for name, value in tuned.items()
        if value.is_floating_point() and not torch.equal(value.cpu(), base[name].cpu())
    }


def added(base: Weights, change: Weights, share: float) -> dict[str, torch.Tensor]:
    """Returns base + share * change for each tensor of the base, rounded once; without a change it stays to the bit.

    Args:
        base: tensors by name; the result has their types.
        change: differences to some of them.
        share: of the change, 0 to 1.
    """
    return {
        name: (value.double().cpu() + share * change[name].double()).to(value.dtype)
        if share and name in change
        else value
        for name, value in base.items()
    }


def average(changes: Sequence[Weights]) -> dict[str, torch.Tensor]:
    """Returns the mean of differences to one base, in single precision; a tensor that one of them lacks is 0 there."""
    names = sorted({name for change in changes for name in change})
    return {
        name: sum(change[name].float() for change in changes if name in change) / len(changes)  # type: ignore[misc]
        for name in names
    }


def read_change(file: Path) -> Weights:
    """Reads a difference that stage train wrote.

    Raises:
        BadInput: the file is missing or damaged.
    """
    try:
        change: Weights = load_file(file)
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{file}: cannot be read ({error}); run `dvc repro`") from None
    return change


def _check_shapes(base: Weights, tuned: Weights) -> None:
    """Raises BadInput if the tensors' names or shapes differ."""
    shapes = [{name: tuple(value.shape) for name, value in weights.items()} for weights in (base, tuned)]
    differing = [name for name in sorted({*base, *tuned}) if shapes[0].get(name) != shapes[1].get(name)]
    if differing:
        of_base, of_tuned = (side.get(differing[0], "absent") for side in shapes)
        raise BadInput(
            f"{len(differing)} tensors differ in name or shape between tuned encoder and base (first: "
            f"{differing[0]}, got {of_tuned}, expected {of_base} as in the base); only encoders tuned from this base "
            "can be merged with it, run `dvc repro`"
        )


class Interpolation:
    """Encoders at the base's weights plus a share of a difference to them.

    The base is loaded at first use: of several processes one alone evaluates. Of its weights a copy is kept only where
    a difference has changed them: with LoRA a large encoder's token vectors are in memory once.

    Args:
        folder: of the base, a sentence-transformers folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._changed: dict[str, torch.Tensor] = {}  # the base's, by name

    @cached_property
    def model(self) -> SentenceTransformer:
        """The encoder, whose weights `at` overwrites.

        Raises:
            BadInput: the folder cannot be loaded.
        """
        return load_torch(self.folder)

    @property
    def base(self) -> Weights:
        """The base's weights, until the next call of `at`."""
        return {**self.model.state_dict(), **self._changed}

    def at(self, change: Weights, share: float) -> SentenceTransformer:
        """Returns the encoder at this share of a difference; the next call overwrites its weights.

        Raises:
            BadInput: a tensor of the difference is none of the base's, or has another shape.
        """
        weights = self.model.state_dict()
        _check_shapes({name: weights[name] for name in change if name in weights}, change)
        self._changed |= {name: weights[name].clone() for name in change if name not in self._changed}
        for name, value in self._changed.items():  # one at a time, as all together are another encoder in memory
            weights[name].copy_(added({name: value}, change, share)[name])
        return self.model
