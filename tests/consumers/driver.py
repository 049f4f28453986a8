"""Shared code of the drivers: reads a request, calls the consumer's `embed`, writes the answer.

Drivers run in the environment of their consumer, so this module imports numpy only.

Request: {"texts": [...], "runs": [{"folder": ..., "graph": path in the folder or null for torch weights,
"batch_size": n}, ...], "pooling": "mean", "cls" or "lasttoken", "dim": n}.
Answer: {"versions": {package: version}, "vectors": one list of embeddings per run}.
"""

import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Embed = Callable[[dict[str, Any], list[str], dict[str, Any]], Any]


def answer(embed: Embed, *packages: str) -> None:
    """Answers the request in file argv[1] in file argv[2]; `embed` gets a run, the texts and the whole request."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    vectors = [np.asarray(embed(run, request["texts"], request)).tolist() for run in request["runs"]]
    reply = {"versions": {package: version(package) for package in packages}, "vectors": vectors}
    Path(sys.argv[2]).write_text(json.dumps(reply), encoding="utf-8")


def pool(hidden: NDArray[np.float32], mask: NDArray[np.int64], mode: str) -> NDArray[np.float32]:
    """Pools token embeddings (batch, tokens, dim), padded on the right, to unit embeddings (batch, dim)."""
    if mode == "mean":
        weights = mask[:, :, None].astype(np.float32)
        pooled = (hidden * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-9)
    else:
        place = {"cls": np.zeros(len(mask), dtype=np.int64), "lasttoken": mask.sum(axis=1) - 1}[mode]
        pooled = hidden[np.arange(len(mask)), place]
    return np.asarray(pooled / np.linalg.norm(pooled, axis=1, keepdims=True), dtype=np.float32)


def batches(texts: list[str], size: int) -> list[list[str]]:
    """Splits the texts into batches in their order, so that short and long ones share a batch."""
    return [texts[start : start + size] for start in range(0, len(texts), size)]
