"""Numbers in 8 bits: which range of a tensor, and which scales of a matrix, lose the least."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

LOWS = (1.0, 0.8, 0.6)  # shares of the least value seen that are tried as a range's lower end ...
HIGHS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)  # ... and of the largest, as its upper end
WEIGHT_CLIPS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)  # shares of an output's largest weight that are tried
ACTIVATION_STEPS = 255
LEAST = 1e-6  # instead of 0, where all there is is 0


def best_range(sample: Floats, importance: Floats) -> tuple[float, float]:
    """The range around 0 that rounds a tensor to 8 bits with the least squared error of what is computed from it.

    Args:
        sample: (tokens, channels) values of the tensor.
        importance: (channels,) what an error in a channel weighs: the squares of the weights that read it, added up.
    """
    least, most = min(float(sample.min()), 0.0), max(float(sample.max()), LEAST)
    ranges = ((least * low, most * high) for low in LOWS for high in HIGHS)
    return min(ranges, key=lambda ends: float(np.square(_rounded(sample, *ends) - sample).sum(axis=0) @ importance))


def _rounded(values: Floats, low: float, high: float) -> Floats:
    scale = np.float32((high - low) / ACTIVATION_STEPS)
    zero_point = np.float32(round(-low / scale))
    rounded: Floats = (np.clip(np.rint(values / scale) + zero_point, 0, ACTIVATION_STEPS) - zero_point) * scale
    return rounded


def round_weight(weight: Floats, bits: int) -> tuple[NDArray[np.int8], Floats]:
    """A matrix (inputs, outputs) in integers of so many bits, and its scale per output, (outputs,).

    Of several clips of each output's largest weight the one with the least squared error is taken.
    """
    steps = 2 ** (bits - 1) - 1
    largest = np.maximum(np.abs(weight).max(axis=0), LEAST)
    tried = np.stack([largest * np.float32(clip / steps) for clip in WEIGHT_CLIPS])
    errors = [np.square(np.clip(np.rint(weight / s), -steps, steps) * s - weight).sum(axis=0) for s in tried]
    scales = np.take_along_axis(tried, np.argmin(errors, axis=0)[None], axis=0)[0]
    return np.clip(np.rint(weight / scales), -steps, steps).astype(np.int8), scales
