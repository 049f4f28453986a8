"""Encodes with one system in its own process: encode_worker.py SYSTEM FOLDER TEXTS THREADS.

One function per system loads an exported encoder from its folder and imports its libraries, since some systems have an
environment of their own (ENVIRONMENTS). A request {"out": FILE} also saves the embeddings.
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.workers import obey

ROOT = Path(__file__).resolve().parents[2]
BATCH_SIZE = 32  # sentence-transformers' default
Encode = Callable[[Sequence[str]], Any]


def sentence_transformers(folder: Path, threads: int) -> Encode:
    """sentence-transformers with its defaults: fp32, batches of 32."""
    return _sentence_transformers(folder, threads)


def sentence_transformers_autocast(folder: Path, threads: int) -> Encode:
    """sentence-transformers under autocast: weights in fp32, products in bf16."""
    import torch  # noqa: PLC0415

    encode = _sentence_transformers(folder, threads)

    def under_autocast(texts: Sequence[str]) -> object:
        with torch.autocast("cpu", torch.bfloat16):
            return encode(texts)

    return under_autocast


def sentence_transformers_bf16(folder: Path, threads: int) -> Encode:
    """sentence-transformers with weights and products in bf16."""
    import torch  # noqa: PLC0415

    encode = _sentence_transformers(folder, threads, model_kwargs={"dtype": torch.bfloat16})
    return lambda texts: encode(texts).float()


def _sentence_transformers(folder: Path, threads: int, **settings: object) -> Encode:
    import torch  # noqa: PLC0415
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    torch.set_num_threads(threads)
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True, **settings)
    # NumPy has no bf16
    output = {"convert_to_numpy": False, "convert_to_tensor": True} if settings else {}
    return lambda texts: model.encode(list(texts), batch_size=BATCH_SIZE, show_progress_bar=False, **output)


def sentence_transformers_backend(folder: Path, threads: int, backend: str) -> Encode:
    """sentence-transformers with its ONNX or OpenVINO backend, which optimum runs with its defaults."""
    import torch  # noqa: PLC0415
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    torch.set_num_threads(threads)
    settings: dict[str, Any] = {"ov_config": {"INFERENCE_NUM_THREADS": threads}}
    if backend == "onnx":
        import onnxruntime  # noqa: PLC0415

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        settings = {"session_options": options, "provider": "CPUExecutionProvider"}
    model = SentenceTransformer(str(folder), backend=backend, local_files_only=True, model_kwargs=settings)
    return lambda texts: model.encode(list(texts), batch_size=BATCH_SIZE, show_progress_bar=False)


def model2vec(folder: Path, threads: int) -> Encode:
    """model2vec with the static encoder beside the folder, whose vectors are near the encoder's: a lookup per token."""
    from model2vec import StaticModel  # type: ignore[import-not-found]  # noqa: PLC0415

    del threads  # numpy sums in one
    model = StaticModel.from_pretrained(str(ROOT / "models/static/tuned"))
    return lambda texts: model.encode(list(texts), batch_size=BATCH_SIZE)


def plain_onnxruntime(folder: Path, threads: int) -> Encode:
    """Plain onnxruntime, as tutorials use it: batches in the order of the texts, each padded to its longest text."""
    import onnxruntime  # noqa: PLC0415
    from tokenizers import Tokenizer  # noqa: PLC0415

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    file = str(folder / "onnx/model.onnx")
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    inputs = [node.name for node in session.get_inputs()]

    def encode(texts: Sequence[str]) -> object:
        batches = []
        for start in range(0, len(texts), BATCH_SIZE):
            encodings = tokenizer.encode_batch(list(texts[start : start + BATCH_SIZE]))
            ids = np.array([encoding.ids for encoding in encodings], dtype=np.int64)
            mask = np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64)
            features = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            batches.append(session.run(["sentence_embedding"], {name: features[name] for name in inputs})[0])
        return np.concatenate(batches)

    return encode


def fastembed(folder: Path, threads: int) -> Encode:
    """fastembed with its defaults, except the batch size, which is that of the other systems instead of 256."""
    from fastembed import TextEmbedding  # type: ignore[import-not-found]  # noqa: PLC0415
    from fastembed.common.model_description import (  # type: ignore[import-not-found]  # noqa: PLC0415
        ModelSource,
        PoolingType,
    )

    TextEmbedding.add_custom_model(
        model="local/bench",
        pooling=PoolingType.MEAN,
        normalization=True,
        sources=ModelSource(hf="local/none"),  # unused: the model is loaded from a path
        dim=json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["dim"],
        model_file="onnx/model.onnx",
    )
    model = TextEmbedding("local/bench", specific_model_path=str(folder), local_files_only=True, threads=threads)
    return lambda texts: np.stack(list(model.embed(texts, batch_size=BATCH_SIZE)))


def attune_torch(folder: Path, threads: int, precision: str) -> Encode:
    """attune in torch, loaded as stage embed loads an encoder without a graph."""
    from attune.encoding.scored import load_encoder, way_of  # noqa: PLC0415
    from attune.stage import load_params  # noqa: PLC0415
    from attune.stages.embed import EmbedParams  # noqa: PLC0415

    machine = load_params(EmbedParams, "embed", ROOT / "params.yaml").machine
    machine = machine.model_copy(update={"precision": precision, "threads": threads})
    return load_encoder("round", way_of("round", folder, machine), folder, folder, machine).encode_document


def attune_scoring(folder: Path, threads: int, system: str) -> Encode:
    """attune as stage embed encodes a system on this machine: its graph in the engine and the precision found here."""
    from attune.encoding.scored import load_encoder, way_of  # noqa: PLC0415
    from attune.stage import load_params  # noqa: PLC0415
    from attune.stages.embed import EmbedParams  # noqa: PLC0415

    machine = load_params(EmbedParams, "embed", ROOT / "params.yaml").machine.model_copy(update={"threads": threads})
    return load_encoder(system, way_of(system, folder, machine), folder, folder, machine).encode_document


def attune_onnx(folder: Path, threads: int, file: str) -> Encode:
    """attune's runtime, as services use it."""
    from attune.runtime import Embedder  # noqa: PLC0415

    return Embedder(folder, file, threads).encode_document


def attune_openvino(folder: Path, threads: int) -> Encode:
    """attune's runtime with OpenVINO in fp32."""
    from attune.runtime import Embedder  # noqa: PLC0415

    return Embedder(folder, threads=threads, engine="openvino", precision="fp32").encode_document


# by system: its function, and the precision of its products; openvino: what OpenVINO takes on this machine
COMPETITORS: dict[str, tuple[Callable[[Path, int], Encode], str]] = {
    "SentenceTransformer.encode": (sentence_transformers, "fp32"),
    "SentenceTransformer.encode, bf16 autocast": (sentence_transformers_autocast, "bf16"),
    "SentenceTransformer.encode, all bf16": (sentence_transformers_bf16, "bf16"),
    "SentenceTransformer.encode, ONNX backend": (
        lambda folder, threads: sentence_transformers_backend(folder, threads, "onnx"),
        "fp32",
    ),
    "SentenceTransformer.encode, OpenVINO backend": (
        lambda folder, threads: sentence_transformers_backend(folder, threads, "openvino"),
        "openvino",
    ),
    "model2vec, static": (model2vec, "fp32"),
    "onnxruntime, plain": (plain_onnxruntime, "fp32"),
    "fastembed": (fastembed, "fp32"),
    "attune, torch fp32": (lambda folder, threads: attune_torch(folder, threads, "fp32"), "fp32"),
    "attune, as it scores": (lambda folder, threads: attune_scoring(folder, threads, "tuned"), "openvino"),
    "attune, as it scores in int8": (lambda folder, threads: attune_scoring(folder, threads, "tuned_int8"), "int8"),
    "attune, OpenVINO fp32": (attune_openvino, "fp32"),
    "attune, ONNX fp32": (lambda folder, threads: attune_onnx(folder, threads, "onnx/model.onnx"), "fp32"),
    "attune, ONNX int8": (lambda folder, threads: attune_onnx(folder, threads, "onnx/model_quantized.onnx"), "int8"),
}
BACKENDS = ROOT / "bench/rivals/backends.txt"
# pins of the environments of systems that cannot be installed beside attune
ENVIRONMENTS = {
    "fastembed": ROOT / "tests/consumers/fastembed_0_9.txt",
    "SentenceTransformer.encode, ONNX backend": BACKENDS,
    "SentenceTransformer.encode, OpenVINO backend": BACKENDS,
    "model2vec, static": ROOT / "tests/consumers/model2vec.txt",
}


def precision_of(name: str) -> str:
    """Returns the precision of a system's products: fp32, bf16 or int8."""
    precision = COMPETITORS[name][1]
    if precision != "openvino":
        return precision
    from openvino import Core  # noqa: PLC0415

    return "bf16" if "BF16" in Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "fp32"


def main() -> None:
    """Loads the system, then encodes all texts at each request."""
    name, folder, file, threads = sys.argv[1:]
    texts = json.loads(Path(file).read_text(encoding="utf-8"))

    def prepare() -> Callable[..., object]:
        encode = COMPETITORS[name][0](Path(folder), int(threads))

        def work(out: str | None = None) -> dict[str, str]:
            embeddings = encode(texts)
            if not out:
                return {}
            np.save(out, np.asarray(embeddings, dtype=np.float32))
            return {"precision": precision_of(name)}

        return work

    obey(prepare)


if __name__ == "__main__":
    main()
