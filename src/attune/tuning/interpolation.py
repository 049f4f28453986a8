"""The encoders between two of one shape: a share of the tuned weights, the rest of the base's.

What tuning learned grows with the share and what it cost does too, but rarely in step: somewhere between the ends most
of the gain is there and most of the loss is not (WiSE-FT, Wortsman et al. 2022, arXiv 2109.01903; for text embeddings
LM-Cocktail, Xiao et al. 2023, arXiv 2311.13534). The library's own `merge` would need another package (mergekit).
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer

from attune.encoding.encoders import load_torch
from attune.errors import BadInput

Weights = Mapping[str, torch.Tensor]


def interpolate(base: Weights, tuned: Weights, share: float) -> dict[str, torch.Tensor]:
    """share * tuned + (1 - share) * base for each tensor of floats, rounded once; other tensors are the tuned ones.

    Where both are equal, so is the result, to the bit; share 1 gives the tuned weights, to the bit.

    Args:
        base: tensors by name.
        tuned: the same names, each of the same shape; the result has these types.
        share: of the tuned weights, 0 to 1.

    Raises:
        BadInput: names or shapes differ.
    """
    _check(base, tuned)
    if share == 1:
        return dict(tuned)
    return {name: _between(base[name], value, share) for name, value in tuned.items()}


def _between(base: torch.Tensor, tuned: torch.Tensor, share: float) -> torch.Tensor:
    if not tuned.is_floating_point():
        return tuned
    start, end = base.cpu(), tuned.cpu()
    # in float64, so that the only rounding is the last one; where equal, as is: -0.0 is not to become 0.0
    mixed = torch.lerp(start.double(), end.double(), share).to(end.dtype)
    return torch.where(start == end, end, mixed).to(tuned.device)


def _check(base: Weights, tuned: Weights) -> None:
    shapes = [{name: tuple(value.shape) for name, value in weights.items()} for weights in (base, tuned)]
    differing = [name for name in sorted({*base, *tuned}) if shapes[0].get(name) != shapes[1].get(name)]
    if differing:
        of_base, of_tuned = (side.get(differing[0], "absent") for side in shapes)
        raise BadInput(
            f"merge: {len(differing)} tensors of the tuned encoder are not those of the base (first: {differing[0]}, "
            f"{of_tuned} against {of_base}); only encoders tuned from this base can be merged with it, run `dvc repro`"
        )


class Line:
    """All encoders on the straight line from a base (share 0) to a tuned one (share 1).

    Args:
        base: a sentence-transformers folder.
        tuned: another one, of the same shape.
        threads: of torch, on a CPU.

    Raises:
        BadInput: a folder cannot be loaded, or their weights differ in name or shape.
    """

    def __init__(self, base: Path, tuned: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        self.model = load_torch(tuned)
        self.base = load_torch(base).state_dict()
        self.tuned = {name: value.clone() for name, value in self.model.state_dict().items()}
        _check(self.base, self.tuned)

    def at(self, share: float) -> SentenceTransformer:
        """The encoder at this share; it lives until the next one is asked for."""
        self.model.load_state_dict(interpolate(self.base, self.tuned, share))
        return self.model
