"""Weight interpolation between the base encoder and a tuned one.

Gain and forgetting both grow with the share of the tuned weights, but not in step: between the two ends lie encoders
with most of the gain and little of the loss (WiSE-FT, Wortsman et al. 2022, arXiv 2109.01903; for text embeddings
LM-Cocktail, Xiao et al. 2023, arXiv 2311.13534). The `merge` of sentence-transformers would need another package
(mergekit).
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer

from attune.encoding.encoders import load_torch
from attune.errors import BadInput

Weights = Mapping[str, torch.Tensor]


def interpolate(base: Weights, tuned: Weights, share: float) -> dict[str, torch.Tensor]:
    """Returns share * tuned + (1 - share) * base for each tensor of floats, rounded once; other tensors as tuned.

    Values that are equal in both stay equal to the bit; share 1 returns the tuned weights to the bit.

    Args:
        base: tensors by name.
        tuned: tensors of the same names and shapes; the result has their types.
        share: of the tuned weights, 0..1.

    Raises:
        BadInput: names or shapes differ.
    """
    _check_shapes(base, tuned)
    if share == 1:
        return dict(tuned)
    return {name: _mix(base[name], value, share) for name, value in tuned.items()}


def _mix(base: torch.Tensor, tuned: torch.Tensor, share: float) -> torch.Tensor:
    if not tuned.is_floating_point():
        return tuned
    start, end = base.cpu(), tuned.cpu()
    # in float64, so that only the last step rounds; equal values are copied, so that -0.0 does not become 0.0
    mixed = torch.lerp(start.double(), end.double(), share).to(end.dtype)
    return torch.where(start == end, end, mixed).to(tuned.device)


def _check_shapes(base: Weights, tuned: Weights) -> None:
    """Raises BadInput if the tensors' names or shapes differ."""
    shapes = [{name: tuple(value.shape) for name, value in weights.items()} for weights in (base, tuned)]
    differing = [name for name in sorted({*base, *tuned}) if shapes[0].get(name) != shapes[1].get(name)]
    if differing:
        of_base, of_tuned = (side.get(differing[0], "absent") for side in shapes)
        raise BadInput(
            f"merge: {len(differing)} tensors differ in name or shape between tuned encoder and base (first: "
            f"{differing[0]}, got {of_tuned}, expected {of_base} as in the base); only encoders tuned from this base "
            "can be merged with it, run `dvc repro`"
        )


class Interpolation:
    """Encoders on the straight line in weight space from a base (share 0) to a tuned encoder (share 1).

    Args:
        base: a sentence-transformers folder.
        tuned: another one, with weights of the same names and shapes.
        threads: CPU threads of torch.

    Raises:
        BadInput: a folder cannot be loaded, or the weights differ in name or shape.
    """

    def __init__(self, base: Path, tuned: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        self.model = load_torch(tuned)
        self.base = load_torch(base).state_dict()
        self.tuned = {name: value.clone() for name, value in self.model.state_dict().items()}
        _check_shapes(self.base, self.tuned)

    def at(self, share: float) -> SentenceTransformer:
        """Returns the encoder at this share; the next call overwrites its weights."""
        self.model.load_state_dict(interpolate(self.base, self.tuned, share))
        return self.model
