"""Keeps or leaves out what libraries do anew in each training and export, and no test looks at."""

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

Set = Callable[[Any, str, Any], None]


def read_torchlib_once(set_attribute: Set = setattr) -> None:
    """Keeps the table of operators that torch's export builds from onnxscript for each graph, in a second."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    set_attribute(ONNXRegistry, "from_torchlib", staticmethod(cache(ONNXRegistry.from_torchlib)))
    ONNXRegistry.from_torchlib(opset_version=ONNXRegistry().opset_version)


def write_no_model_cards() -> None:
    """Leaves the card empty that the trainer writes into each checkpoint, in half of the time of a small training."""
    from sentence_transformers.base import model

    model.generate_model_card = lambda _: ""


def export_once(folder: Path, set_attribute: Set) -> None:
    """Keeps the graphs that attune writes, by all that they depend on: torch takes seconds for the smallest.

    Args:
        folder: of the graphs, which several processes may share.
        set_attribute: replaces attune's function.
    """
    from attune.export import shipped

    export = shipped.export_graph

    def kept(encoder: Any, path: Path, opset: int) -> None:
        file = folder / f"{hash_of(encoder, opset)}.onnx"
        if file.exists():
            encoder.transformers_model.set_attn_implementation("eager")  # as the export does
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.read_bytes())
            return
        export(encoder, path, opset)
        unfinished = file.with_suffix(f".{os.getpid()}")
        unfinished.write_bytes(path.read_bytes())
        unfinished.replace(file)

    folder.mkdir(exist_ok=True)
    set_attribute(shipped, "export_graph", kept)


def hash_of(encoder: Any, opset: int) -> str:
    """Hashes an encoder's modules, settings, inputs and weights."""
    import torch

    settings = {**encoder.transformers_model.config.to_dict(), "_name_or_path": ""}
    inputs = sorted(encoder.preprocess(["a"]))
    digest = hashlib.sha256(repr((encoder, sorted(settings.items()), inputs, opset)).encode())
    for name, value in encoder.state_dict().items():
        digest.update(name.encode() + value.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
