"""Responses of /v1/embeddings (https://platform.openai.com/docs/api-reference/embeddings)."""

import json

import numpy as np

from attune.runtime.arrays import Float32


def vectors_in(body: str, n: int) -> Float32:
    """Reads the vectors of a response's body, (n, dim) in the order of the request, and makes their length 1.

    Raises:
        ValueError: it holds no n vectors of one length, of finite numbers that are not all 0.
    """
    try:
        rows = {int(item["index"]): item["embedding"] for item in json.loads(body)["data"]}
        vectors = np.array([rows.pop(place) for place in range(n)], dtype=np.float64)
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        raise ValueError(f"no {n} vectors of one length") from None
    if rows or vectors.ndim != 2 or not vectors.shape[1]:
        raise ValueError(f"no {n} vectors of one length")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and lengths.min() > 0):
        raise ValueError("a vector with numbers that are not finite, or of zeros alone")
    unit: Float32 = (vectors / lengths).astype(np.float32)
    return unit
