"""Turns the tuned encoder into what ships: one ONNX folder, fp32 and int8, that services load without torch.

Nothing is written unless the fp32 graph, run by the code that services run, equals torch on every text of a grid that
is made to break it. int8 is only measured here; how much retrieval it keeps is scored later, like any other system.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from pydantic import Field
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense

from attune.calibration import calibration_texts, single_texts
from attune.encoders import load_torch
from attune.errors import BadInput
from attune.model_folder import FP32, INT8, LIBRARIES, POOLING_FLAGS, Description, file_records, write_settings
from attune.onnx_graph import OUTPUTS, export_graph
from attune.parity import Parity, by_batch_size, compare, parity_texts
from attune.parity_grid import Truth, run_grid
from attune.quantisation import Scheme, to_int8
from attune.runtime import Embedder
from attune.runtime.integrity import GOLDEN
from attune.runtime.manifest import MANIFEST
from attune.stage import Out, Params, Receipt, run, write_json
from attune.tables import CORPUS, TRIPLETS, read

KNOWN = "Transformer, Pooling, any number of Dense, Normalize"
GOLDEN_STEP = 4  # every fourth of the parity texts
FP32_ELSEWHERE = 0.9999  # cosine to torch that fp32 must reach on a service's machine
INT8_SLACK = 0.01  # by how much int8 may fall short there of the cosine that it reaches here


class ExportParams(Params):
    """How the graphs are made, and how near to torch fp32 must be."""

    opset: int = Field(ge=18, le=24)
    int8_smoothing: float = Field(ge=0, le=1)
    int8_unsmoothed: tuple[str, ...]
    int8_keep_fp32: tuple[str, ...]
    int8_reduce_range: bool
    int8_calibration_rows: int = Field(ge=1, le=10_000)
    int8_seed: int = Field(ge=0)

    torch_weights: bool
    parity_min_cosine: float = Field(gt=0, le=1)
    parity_max_abs_diff: float = Field(gt=0, le=2)
    threads: int = Field(ge=1, le=1024)

    def scheme(self) -> Scheme:
        """How the int8 graph is made."""
        return Scheme(self.int8_smoothing, self.int8_unsmoothed, self.int8_keep_fp32, self.int8_reduce_range)


def load(model: Path) -> SentenceTransformer:
    """Loads the encoder for export: on the CPU, in fp32, for inference.

    Raises:
        BadInput: the folder is missing, damaged, or no sentence-transformers folder.
    """
    if not (model / "modules.json").is_file():  # the library would guess mean pooling
        raise BadInput(
            f"{model / 'modules.json'}: not found; give a sentence-transformers folder, such as models/tuned"
        )
    return load_torch(model).to("cpu").float().eval()


def is_plain_dense(module: torch.nn.Module) -> bool:
    """Is it a linear layer from the pooled vector to the pooled vector, as all versions of the library know it?"""
    if not isinstance(module, Dense) or module.use_residual:
        return False
    return {module.module_input_name, module.module_output_name} == {"sentence_embedding"}


def describe(encoder: SentenceTransformer, model: Path) -> Description:
    """Reads off the encoder what its consumers must know.

    Raises:
        BadInput: it has parts that the exported folder cannot express.
    """
    kinds = [type(module).__name__ for module in encoder]
    has_length_1 = kinds[-1] == "Normalize"
    layers = list(encoder)[2 : len(kinds) - has_length_1]
    if kinds[:2] != ["Transformer", "Pooling"] or not all(is_plain_dense(layer) for layer in layers):
        raise BadInput(
            f"{model}: modules are {', '.join(kinds)}; export knows {KNOWN} only, and no Dense with a residual"
        )
    pooling = encoder[1]
    if pooling.pooling_mode not in POOLING_FLAGS or not pooling.include_prompt:
        raise BadInput(
            f"{model}: pooling {pooling.get_config_dict()} cannot be exported; use one mode, prompt included"
        )
    if not has_length_1 and encoder.similarity_fn_name != "cosine":
        raise BadInput(f"{model}: similarity is {encoder.similarity_fn_name} without Normalize; export needs cosine")
    prompts = {name: encoder.prompts[name] for name in sorted(encoder.prompts)}
    return Description(
        dim=encoder.get_embedding_dimension(),
        hidden_size=pooling.embedding_dimension,
        n_dense=len(layers),
        max_length=encoder.max_seq_length,
        pooling=pooling.pooling_mode,
        prompts=prompts,
        default_prompt_name=encoder.default_prompt_name,
        similarity=encoder.similarity_fn_name,
    )


def torch_truth(encoder: SentenceTransformer) -> Truth:
    """A function that embeds one text in torch, cut to so many tokens, without a prompt."""

    def embed(text: str, n_tokens: int) -> NDArray[np.float32]:
        encoder.max_seq_length = n_tokens
        found: NDArray[np.float32] = encoder.encode(text, prompt="", normalize_embeddings=True, show_progress_bar=False)
        return found

    return embed


def n_positions(encoder: SentenceTransformer) -> int:
    """The most tokens that a row may be padded to; RoBERTa and its kin begin to count after the id of their padding."""
    settings = encoder.transformers_model.config
    known: int | None = getattr(settings, "max_position_embeddings", None)
    return encoder.max_seq_length if known is None else known - 1 - (settings.pad_token_id or 0)


def check(parity: Parity, params: ExportParams, model: Path) -> None:
    """Refuses a graph that is not torch's equal.

    Raises:
        BadInput: a figure is beyond its limit.
    """
    cosine, diff = parity.fp32_min_cosine, parity.fp32_max_abs_diff
    # written so that NaN fails
    if not (cosine >= params.parity_min_cosine and diff <= params.parity_max_abs_diff):
        raise BadInput(
            f"{model}: the ONNX graph differs from torch: cosine {cosine:.7f} (limit export.parity_min_cosine "
            f"{params.parity_min_cosine}), largest difference {diff:.2g} (limit export.parity_max_abs_diff "
            f"{params.parity_max_abs_diff}); try another export.opset, or raise the limits if that is near enough"
        )


def manifest(about: Description, model: Path, parity: Parity | None, files: dict[str, Any]) -> dict[str, Any]:
    """The manifest: what the encoder is, where it comes from, how near to torch it is, and each file's hash."""
    origin = model / "attune.json"
    return {
        "format": 1,
        "base": json.loads(origin.read_text(encoding="utf-8")) if origin.is_file() else {},
        **asdict(about),
        "normalise": True,
        "outputs": list(OUTPUTS),
        "graphs": {"fp32": FP32, "int8": INT8},
        "parity": asdict(parity) if parity else {},
        "libraries": {name: version(name) for name in LIBRARIES},
        "files": files,
    }


def reference(encoder: SentenceTransformer, max_length: int) -> tuple[list[str], NDArray[np.float32]]:
    """The parity texts, and torch's embedding of each alone: (n texts, dim)."""
    texts = parity_texts(encoder.tokenizer.backend_tokenizer, max_length)
    return texts, encoder.encode(texts, batch_size=1, normalize_embeddings=True, show_progress_bar=False)


def golden(texts: list[str], truth: NDArray[np.float32], int8: Embedder) -> dict[str, Any]:
    """Texts with torch's vectors, and the least cosine to them that each graph must reach on any machine."""
    least = float((int8.encode(texts) * truth).sum(axis=1).min())
    limits = {FP32: FP32_ELSEWHERE, INT8: round(least - INT8_SLACK, 3)}
    return {"texts": texts, "vectors": truth.tolist(), "min_cosine": limits}


def write_int8(out: Path, encoder: SentenceTransformer, texts: Sequence[str], scheme: Scheme) -> None:
    """Writes the int8 graph beside the fp32 one."""
    graph = onnx.load(out / FP32)
    onnx.save(to_int8(graph, single_texts(encoder, texts, graph), scheme), out / INT8)


def export(params: ExportParams, model: Path, triplets: Path, corpus: Path, out: Out) -> Receipt:
    """Writes the ONNX folder; the activations' ranges come from the train queries and documents of the triplets."""
    torch.set_num_threads(params.threads)
    encoder = load(model)
    about = describe(encoder, model)
    texts, truth = reference(encoder, about.max_length)
    write_settings(model, out, about, params.torch_weights)
    export_graph(encoder, out / FP32, params.opset)
    seen = read(triplets, TRIPLETS), read(corpus, CORPUS)
    calibrating = calibration_texts(*seen, params.int8_calibration_rows, params.int8_seed, about)
    write_int8(out, encoder, calibrating, params.scheme())
    write_json(out / MANIFEST, manifest(about, model, None, {}))  # the runtime reads it; figures and hashes come after
    fp32, int8 = (Embedder(out, graph, params.threads) for graph in (FP32, INT8))
    parity = compare(by_batch_size(fp32, texts, "fp32"), by_batch_size(int8, texts, "int8"), truth)
    grid = run_grid(out, FP32, about.max_length, n_positions(encoder), torch_truth(encoder), params.threads)
    parity = parity.with_grid(grid.n_batches, grid.min_cosine, grid.max_abs_diff)
    check(parity, params, model)
    few = slice(None, None, GOLDEN_STEP)
    write_json(out / GOLDEN, golden(texts[few], truth[few], int8))
    (out / MANIFEST).unlink()  # it lists every file but itself
    files = file_records(out)
    write_json(out / MANIFEST, manifest(about, model, parity, files))
    sizes = {"fp32_bytes": files[FP32]["size"], "int8_bytes": files[INT8]["size"]}
    return {"dim": about.dim, "max_length": about.max_length, "n_texts": len(texts), **asdict(parity), **sizes}


if __name__ == "__main__":
    run(export)
