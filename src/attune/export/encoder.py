"""Export of one encoder: loading for it, torch's reference vectors, the fp32 folder with its parity, the manifest."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from sentence_transformers import SentenceTransformer

from attune.errors import BadInput
from attune.export.folder import FP32, GRAPHS, LIBRARIES, Description, file_records, write_settings
from attune.export.graph import OUTPUTS, export_graph
from attune.export.modules import describe
from attune.export.parity import TorchEmbed, run_grid
from attune.runtime.arrays import Float32
from attune.runtime.manifest import MANIFEST
from attune.stage import write_json


class ParityLimits(NamedTuple):
    """Limits of the fp32 graph's parity with torch.

    Attributes:
        min_cosine: least cosine, of `export.parity_min_cosine`.
        max_abs_diff: largest difference of one number, of `export.parity_max_abs_diff`.
    """

    min_cosine: float
    max_abs_diff: float

    def require(self, cosine: float, diff: float, model: Path) -> None:
        """Refuses an fp32 graph that differs from torch.

        Args:
            cosine: least cosine of a text's embeddings.
            diff: largest difference of a component.
            model: folder of the encoder, for the message.

        Raises:
            BadInput: one of the two is beyond its limit, or NaN.
        """
        # written so that NaN fails
        if not (cosine >= self.min_cosine and diff <= self.max_abs_diff):
            raise BadInput(
                f"{model}: the ONNX graph differs from torch: cosine {cosine:.7f} (limit export.parity_min_cosine "
                f"{self.min_cosine}), largest difference {diff:.2g} (limit export.parity_max_abs_diff "
                f"{self.max_abs_diff}); try another export.opset, or raise the limits if that is near enough"
            )


def torch_embed(encoder: SentenceTransformer) -> TorchEmbed:
    """Returns a function that embeds one text in torch, cut to a number of tokens, without a prompt."""

    def embed(text: str, n_tokens: int) -> Float32:
        encoder.max_seq_length = n_tokens
        vector: Float32 = encoder.encode(text, prompt="", normalize_embeddings=True, show_progress_bar=False)
        return vector

    return embed


def write_fp32(
    encoder: SentenceTransformer,
    n_positions: int | None,
    model: Path,
    out: Path,
    opset: int,
    limits: ParityLimits,
    threads: int,
) -> None:
    """Writes the folder that `attune.runtime` reads with the encoder's fp32 graph alone, without torch's weights.

    Args:
        encoder: the encoder, on the CPU in fp32.
        n_positions: largest number of tokens that it can read; None where it has no limit.
        model: its folder.
        out: folder to write.
        opset: of ONNX.
        limits: of the graph's parity with torch.
        threads: CPU threads of the graph.

    Raises:
        BadInput: the encoder cannot be exported, or its graph differs from torch.
    """
    about = describe(encoder, model)
    write_settings(model, out, about, torch_weights=False)
    export_graph(encoder, out / FP32, opset)
    write_json(out / MANIFEST, build_manifest(about, model, {}, {}))  # for the runtime; figures and hashes follow
    grid = run_grid(out, FP32, about.max_length, n_positions or about.max_length, torch_embed(encoder), threads)
    limits.require(grid.min_cosine, grid.max_abs_diff, model)
    (out / MANIFEST).unlink()  # it lists every file but itself
    figures = {"fp32_min_cosine": grid.min_cosine, "fp32_max_abs_diff": grid.max_abs_diff}
    write_json(out / MANIFEST, build_manifest(about, model, figures, file_records(out)))


def build_manifest(
    about: Description, model: Path, parity: Mapping[str, float], files: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the manifest: the encoder's settings and origin, its parity with torch, and each file's size and hash."""
    origin = model / "attune.json"
    return {
        "format": 1,
        "base": json.loads(origin.read_text(encoding="utf-8")) if origin.is_file() else {},
        **asdict(about),
        "normalise": True,
        "outputs": list(OUTPUTS),
        "graphs": {name: file for name, file in GRAPHS.items() if file in files},
        "parity": parity,
        "libraries": {name: version(name) for name in LIBRARIES},
        "files": files,
    }
