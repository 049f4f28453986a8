"""Encodes the corpus and the queries once per encoder; scores, mining and drift all read these embeddings.

Encoding is nearly the whole cost of the pipeline, so nothing else encodes. Queries of each split go to a file of their
own: a stage that must not see the test split does not have it among its inputs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from attune.errors import BadInput
from attune.runtime import Embedder
from attune.stage import Out, Params, Receipt, run
from attune.tables import CLUSTERED_QUERIES, CORPUS, full_texts, read

# Train queries are embedded where mining needs them; the shipped models are only scored, those of a round never.
HELD_OUT = ("dev", "test", "paraphrases")
SPLITS_OF = {
    "base": ("train", *HELD_OUT),
    "tuned": ("train", *HELD_OUT),
    "round": ("train",),
    "onnx": HELD_OUT,
    "onnx_int8": HELD_OUT,
}

Vectors = NDArray[np.float32]


class Encoder(Protocol):
    """What retrieval needs of an encoder; (n texts) -> float32 (n, dim), rows of length 1."""

    def encode_query(self, texts: Sequence[str], *, show_progress: bool) -> Vectors:
        """Embeds queries, with the query prompt if the encoder has one."""

    def encode_document(self, texts: Sequence[str], *, show_progress: bool) -> Vectors:
        """Embeds documents, with the document prompt if the encoder has one."""


class EmbedParams(Params):
    """How texts are encoded; what is encoded, and to how many tokens, belongs to the encoder."""

    precision: Literal["auto", "fp32", "bf16"]
    batch_tokens: int = Field(ge=64, le=1_000_000)
    threads: int = Field(ge=1, le=1024)


def load(system: str, folder: Path, params: EmbedParams) -> Encoder:
    """The encoder of a system: onnx and onnx_int8 run in the runtime that services use, all others in torch."""
    if system == "onnx":
        return Embedder(folder, threads=params.threads)
    if system == "onnx_int8":
        return Embedder(folder, file="onnx/model_quantized.onnx", threads=params.threads)
    # torch takes seconds to import, which the shipped models do without
    import torch  # noqa: PLC0415

    from attune.encoders import TorchEncoder, best_precision, load_torch  # noqa: PLC0415

    torch.set_num_threads(params.threads)
    precision = best_precision() if params.precision == "auto" else params.precision
    return TorchEncoder(load_torch(folder), precision, params.batch_tokens)


def embed(params: EmbedParams, system: str, model: Path, prepared: Path, splits: Path, out: Out) -> Receipt:
    """Writes corpus.npy and a file per set of queries: float32, (n rows of the table, dim), rows of length 1."""
    if system not in SPLITS_OF:
        raise BadInput(f"embed: system is {system!r}, expected one of {', '.join(SPLITS_OF)}")
    encoder = load(system, model, params)
    corpus = read(prepared / "corpus.parquet", CORPUS)
    out.mkdir(parents=True)
    embeddings = encoder.encode_document(full_texts(corpus), show_progress=True)
    np.save(out / "corpus.npy", embeddings)
    n_queries = 0
    for split in SPLITS_OF[system]:
        queries = read(splits / split / "queries.parquet", CLUSTERED_QUERIES)["text"].to_list()
        # without paraphrases there is nothing to encode, but a file all the same
        vectors = encoder.encode_query(queries, show_progress=True) if queries else embeddings[:0]
        np.save(out / f"{split}.npy", vectors)
        n_queries += len(queries)
    return {"n_documents": corpus.height, "n_queries": n_queries, "dim": embeddings.shape[1]}


if __name__ == "__main__":
    run(embed)
