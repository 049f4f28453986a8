"""Golden vectors: a few texts with torch's vectors, and how near to them each graph must come on any machine."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attune.export.folder import FP16, FP32, INT8

EVERY = 4  # of the parity texts, every fourth
FP32_ELSEWHERE = 0.9999  # cosine to torch that fp32 must reach on a service's machine
FP16_ELSEWHERE = 0.999  # and fp16: here it has .999998 and more; a GPU adds up in another order
INT8_SLACK = 0.01  # by how much int8 may fall short there of the cosine that it reaches here


def golden(texts: list[str], truth: NDArray[np.float32], vectors: Mapping[str, NDArray[np.float32]]) -> dict[str, Any]:
    """The content of golden.json, from all parity texts.

    Args:
        texts: n parity texts.
        truth: torch's vector of each, (n, dim).
        vectors: by graph, its vectors of them, (n, dim).
    """
    few = slice(None, None, EVERY)
    limits = {
        FP32: FP32_ELSEWHERE,
        INT8: round(float((vectors[INT8][few] * truth[few]).sum(axis=1).min()) - INT8_SLACK, 3),
        FP16: FP16_ELSEWHERE,
    }
    limits = {graph: limit for graph, limit in limits.items() if graph in vectors}
    return {"texts": texts[few], "vectors": truth[few].tolist(), "min_cosine": limits}
