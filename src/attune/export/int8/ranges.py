"""Rounding to 8 bits: the activation range and the weight scales with the least squared error."""

import numpy as np
from numpy.typing import NDArray

from attune.runtime.arrays import Float32

LOWS = (1.0, 0.8, 0.6)  # candidates for the lower end of a range, as shares of the smallest value
HIGHS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)  # candidates for its upper end
WEIGHT_CLIPS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)  # shares of an output's largest weight at which it is clipped
ACTIVATION_STEPS = 255
MIN_MAGNITUDE = 1e-6  # replaces 0 where all values are 0


def best_range(sample: Float32, importance: Float32) -> tuple[float, float]:
    """Returns the range around 0 whose 8-bit rounding gives the least squared error in the products.

    Args:
        sample: (tokens, channels) values of the tensor.
        importance: (channels,) weight of an error: the sum of the squared weights that read the channel.
    """
    low_end, high_end = min(float(sample.min()), 0.0), max(float(sample.max()), MIN_MAGNITUDE)
    ranges = ((low_end * low, high_end * high) for low in LOWS for high in HIGHS)
    return min(ranges, key=lambda ends: float(np.square(_rounded(sample, *ends) - sample).sum(axis=0) @ importance))


def _rounded(values: Float32, low: float, high: float) -> Float32:
    scale = np.float32((high - low) / ACTIVATION_STEPS)
    zero_point = np.float32(round(-low / scale))
    rounded: Float32 = (np.clip(np.rint(values / scale) + zero_point, 0, ACTIVATION_STEPS) - zero_point) * scale
    return rounded


def round_weight(weight: Float32, bits: int) -> tuple[NDArray[np.int8], Float32]:
    """Rounds a matrix (inputs, outputs) to integers; returns them and the scale of each output, (outputs,).

    Each output's largest weight is clipped by several factors; the factor with the least squared error is kept.
    """
    steps = 2 ** (bits - 1) - 1
    largest = np.maximum(np.abs(weight).max(axis=0), MIN_MAGNITUDE)
    candidates = np.stack([largest * np.float32(clip / steps) for clip in WEIGHT_CLIPS])
    errors = [np.square(np.clip(np.rint(weight / s), -steps, steps) * s - weight).sum(axis=0) for s in candidates]
    scales = np.take_along_axis(candidates, np.argmin(errors, axis=0)[None], axis=0)[0]
    return np.clip(np.rint(weight / scales), -steps, steps).astype(np.int8), scales
