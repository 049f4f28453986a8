"""Exports the tuned encoder to the folder that ships: ONNX graphs in fp32, int8 and optionally fp16, without torch.

Nothing is written unless the fp32 graph, run by the services' code, equals torch on every batch of a grid of critical
texts. The parity of int8 is measured without a limit here; evaluation scores its retrieval like any other system's.
"""

from dataclasses import asdict
from pathlib import Path

from attune.encoding.encoders import load_for_export
from attune.encoding.positions import n_positions
from attune.encoding.torch_threads import set_torch_threads
from attune.export.folder import FP16, FP32, INT8, file_records
from attune.export.int8.calibration import calibration_texts
from attune.export.modules import describe
from attune.export.parity import by_batch_size, compare_fp16, golden, int8_parity, run_grid
from attune.export.shipped import (
    ExportParams,
    build_manifest,
    require_fp16_parity,
    require_parity,
    torch_embed,
    torch_reference,
    write_folder,
)
from attune.runtime import Embedder
from attune.runtime.integrity import GOLDEN
from attune.runtime.manifest import MANIFEST
from attune.stage import Out, Receipt, run, write_json
from attune.tables import CORPUS, TRIPLETS, read


def export(params: ExportParams, model: Path, triplets: Path, corpus: Path, out: Out) -> Receipt:
    """Writes the ONNX folder; int8 is calibrated on the train queries and documents of the triplets."""
    set_torch_threads(params.machine.threads)
    encoder = load_for_export(model)
    about = describe(encoder, model)
    texts, expected = torch_reference(encoder, about.max_length)
    tables = read(triplets, TRIPLETS), read(corpus, CORPUS)
    train_texts = calibration_texts(*tables, params.int8_calibration_rows, about)
    graphs = write_folder(params, encoder, about, model, train_texts, out)
    vectors = {
        file: by_batch_size(Embedder(out, file, params.machine.threads), texts, name) for name, file in graphs.items()
    }
    parity = int8_parity(vectors[FP32], vectors[INT8], expected)
    positions = n_positions(encoder.transformers_model.config.to_dict()) or about.max_length
    grid = run_grid(out, FP32, about.max_length, positions, torch_embed(encoder), params.machine.threads)
    parity = parity.with_grid(grid.n_batches, grid.min_cosine, grid.max_abs_diff)
    require_parity(parity.fp32_min_cosine, parity.fp32_max_abs_diff, params, model)
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
