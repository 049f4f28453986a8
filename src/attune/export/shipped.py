"""Writes an exported folder's settings and graphs, and refuses graphs that differ from torch.

Stage export writes the folder that ships with it, and stage base the folder of its rehearsal.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx
from pydantic import Field
from sentence_transformers import SentenceTransformer

from attune.errors import BadInput
from attune.export.folder import FP16, FP32, GRAPHS, INT8, LIBRARIES, Description, file_records, write_settings
from attune.export.fp16 import to_fp16
from attune.export.graph import OUTPUTS, export_graph
from attune.export.int8.calibration import single_texts
from attune.export.int8.quantise import Scheme, to_int8
from attune.export.modules import describe
from attune.export.parity import FP16_MIN_COSINE, TorchEmbed, golden, parity_texts, run_grid
from attune.runtime.arrays import Float32
from attune.runtime.integrity import GOLDEN
from attune.runtime.manifest import MANIFEST
from attune.stage import Machine, Params, write_json


class ExportParams(Params):
    """Settings of the graphs, and the limits of fp32's parity with torch."""

    opset: int = Field(ge=18, le=24)
    int8_smoothing: float = Field(ge=0, le=1)
    int8_unsmoothed: tuple[str, ...]
    int8_keep_fp32: tuple[str, ...]
    int8_reduce_range: bool
    int8_calibration_rows: int = Field(ge=1, le=10_000)
    fp16: bool
    torch_weights: bool
    parity_min_cosine: float = Field(gt=0, le=1)
    parity_max_abs_diff: float = Field(gt=0, le=2)
    machine: Machine

    def scheme(self) -> Scheme:
        """Returns the settings of the int8 graph."""
        return Scheme(self.int8_smoothing, self.int8_unsmoothed, self.int8_keep_fp32, self.int8_reduce_range)


def torch_embed(encoder: SentenceTransformer) -> TorchEmbed:
    """Returns a function that embeds one text in torch, cut to a number of tokens, without a prompt."""

    def embed(text: str, n_tokens: int) -> Float32:
        encoder.max_seq_length = n_tokens
        vector: Float32 = encoder.encode(text, prompt="", normalize_embeddings=True, show_progress_bar=False)
        return vector

    return embed


def require_parity(cosine: float, diff: float, params: ExportParams, model: Path) -> None:
    """Refuses an fp32 graph that differs from torch.

    Args:
        cosine: least cosine of a text's embeddings.
        diff: largest difference of a component.
        params: with the limits.
        model: folder of the encoder, for the message.

    Raises:
        BadInput: cosine or difference is beyond its limit, or NaN.
    """
    # written so that NaN fails
    if not (cosine >= params.parity_min_cosine and diff <= params.parity_max_abs_diff):
        raise BadInput(
            f"{model}: the ONNX graph differs from torch: cosine {cosine:.7f} (limit export.parity_min_cosine "
            f"{params.parity_min_cosine}), largest difference {diff:.2g} (limit export.parity_max_abs_diff "
            f"{params.parity_max_abs_diff}); try another export.opset, or raise the limits if that is near enough"
        )


def require_fp16_parity(figures: Mapping[str, float], model: Path) -> None:
    """Refuses an fp16 graph in which numbers overflow or underflow 16 bits.

    Raises:
        BadInput: its vectors differ from torch's, or are NaN.
    """
    least = figures["fp16_min_cosine"]
    if not least >= FP16_MIN_COSINE:  # written so that NaN fails
        raise BadInput(
            f"{model}: the fp16 graph's least cosine to torch is {least:.6f}, expected {FP16_MIN_COSINE} or more; "
            "this encoder's numbers do not fit into 16 bits: set export.fp16 to false"
        )


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


def torch_reference(encoder: SentenceTransformer, max_length: int) -> tuple[list[str], Float32]:
    """Returns the parity texts and torch's embedding of each alone, (n texts, dim)."""
    texts = parity_texts(encoder.tokenizer.backend_tokenizer, max_length)
    return texts, encoder.encode(texts, batch_size=1, normalize_embeddings=True, show_progress_bar=False)


def write_graphs(params: ExportParams, encoder: SentenceTransformer, texts: Sequence[str], out: Path) -> dict[str, str]:
    """Writes the graphs, int8 calibrated on the texts; returns their files by name."""
    export_graph(encoder, out / FP32, params.opset)
    graph = onnx.load(out / FP32)
    onnx.save(to_int8(graph, single_texts(encoder, texts, graph), params.scheme()), out / INT8)
    if params.fp16:
        onnx.save(to_fp16(graph), out / FP16)
    return {name: file for name, file in GRAPHS.items() if (out / file).is_file()}


def write_folder(
    params: ExportParams,
    encoder: SentenceTransformer,
    about: Description,
    model: Path,
    texts: Sequence[str],
    out: Path,
) -> dict[str, str]:
    """Writes settings, graphs and a manifest that the runtime can load, still without figures and hashes.

    Args:
        params: of the graphs.
        encoder: on the CPU, in fp32.
        about: its settings.
        model: its folder.
        texts: of the train split, prompts included, on which int8 is calibrated.
        out: folder to write.

    Returns:
        The graphs' files by name.
    """
    write_settings(model, out, about, params.torch_weights)
    graphs = write_graphs(params, encoder, texts, out)
    write_json(out / MANIFEST, build_manifest(about, model, {}, {}))
    return graphs


def write_fp32(
    params: ExportParams, encoder: SentenceTransformer, n_positions: int | None, model: Path, out: Path
) -> None:
    """Writes a folder that `attune.runtime` reads with the fp32 graph alone, without torch's weights.

    Args:
        params: of the graph.
        encoder: on the CPU, in fp32.
        n_positions: largest number of tokens that it can read; None where it has no limit.
        model: its folder.
        out: folder to write.

    Raises:
        BadInput: the folder cannot express the encoder, or its graph differs from torch.
    """
    about = describe(encoder, model)
    texts, expected = torch_reference(encoder, about.max_length)
    write_settings(model, out, about, torch_weights=False)
    export_graph(encoder, out / FP32, params.opset)
    write_json(out / MANIFEST, build_manifest(about, model, {}, {}))
    positions, threads = n_positions or about.max_length, params.machine.threads
    grid = run_grid(out, FP32, about.max_length, positions, torch_embed(encoder), threads)
    require_parity(grid.min_cosine, grid.max_abs_diff, params, model)
    write_json(out / GOLDEN, golden(texts, expected, {FP32: expected}))
    (out / MANIFEST).unlink()  # it lists every file but itself
    figures = {"fp32_min_cosine": grid.min_cosine, "fp32_max_abs_diff": grid.max_abs_diff}
    write_json(out / MANIFEST, build_manifest(about, model, figures, file_records(out)))
