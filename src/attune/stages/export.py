"""Exports the tuned encoder to the folder that ships: ONNX graphs in fp32, int8 and optionally fp16, without torch.

Nothing is written unless the fp32 graph, run by the services' code, equals torch on every batch of a grid of critical
texts. The parity of int8 is measured without a limit here; evaluation scores its retrieval like any other system's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import onnx
import torch
from pydantic import Field
from sentence_transformers import SentenceTransformer

from attune.encoding.encoders import load_for_export
from attune.encoding.positions import n_positions
from attune.errors import BadInput
from attune.export.encoder import ParityLimits, build_manifest, torch_embed
from attune.export.folder import FP16, FP32, GRAPHS, INT8, file_records, write_settings
from attune.export.fp16 import to_fp16
from attune.export.graph import export_graph
from attune.export.int8.calibration import calibration_texts, single_texts
from attune.export.int8.quantise import Scheme, to_int8
from attune.export.modules import describe
from attune.export.parity import (
    FP16_MIN_COSINE,
    by_batch_size,
    compare_fp16,
    golden,
    int8_parity,
    parity_texts,
    run_grid,
)
from attune.runtime import Embedder
from attune.runtime.arrays import Float32
from attune.runtime.integrity import GOLDEN
from attune.runtime.manifest import MANIFEST
from attune.stage import Machine, Out, Params, Receipt, run, write_json
from attune.tables import CORPUS, TRIPLETS, read


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


def export(params: ExportParams, model: Path, triplets: Path, corpus: Path, out: Out) -> Receipt:
    """Writes the ONNX folder; int8 is calibrated on the train queries and documents of the triplets."""
    torch.set_num_threads(params.machine.threads)
    encoder = load_for_export(model)
    about = describe(encoder, model)
    texts, expected = torch_reference(encoder, about.max_length)
    write_settings(model, out, about, params.torch_weights)
    tables = read(triplets, TRIPLETS), read(corpus, CORPUS)
    train_texts = calibration_texts(*tables, params.int8_calibration_rows, about)
    graphs = write_graphs(params, encoder, train_texts, out)
    write_json(out / MANIFEST, build_manifest(about, model, {}, {}))  # for the runtime; figures and hashes follow
    vectors = {
        file: by_batch_size(Embedder(out, file, params.machine.threads), texts, name) for name, file in graphs.items()
    }
    parity = int8_parity(vectors[FP32], vectors[INT8], expected)
    positions = n_positions(encoder.transformers_model.config.to_dict()) or about.max_length
    grid = run_grid(out, FP32, about.max_length, positions, torch_embed(encoder), params.machine.threads)
    parity = parity.with_grid(grid.n_batches, grid.min_cosine, grid.max_abs_diff)
    limits = ParityLimits(params.parity_min_cosine, params.parity_max_abs_diff)
    limits.require(parity.fp32_min_cosine, parity.fp32_max_abs_diff, model)
    figures = asdict(parity)
    if params.fp16:
        figures |= compare_fp16(vectors[FP16], expected)
        require_fp16_parity(figures, model)
    write_json(out / GOLDEN, golden(texts, expected, {file: by_size[-1] for file, by_size in vectors.items()}))
    (out / MANIFEST).unlink()  # it lists every file but itself
    files = file_records(out)
    write_json(out / MANIFEST, build_manifest(about, model, figures, files))
    sizes = {f"{name}_bytes": files[file]["size"] for name, file in graphs.items()}
    return {"dim": about.dim, "max_length": about.max_length, "n_texts": len(texts), **figures, **sizes}


if __name__ == "__main__":
    run(export)
