"""Encodes the corpus and the queries once per encoder; evaluation, mining and drift all read these embeddings.

Encoding is nearly the whole cost of the pipeline outside training. The queries of each split go to a file of their own,
so a stage that must not see the test split does not have it among its inputs.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from attune.encoding import launch, processes
from attune.encoding.launch import SharedParams
from attune.encoding.scratch import code_files, fingerprint
from attune.encoding.shards import Assignment, distinct, encode_shards, write_vectors
from attune.errors import BadInput
from attune.files import discard
from attune.retrieval.passages import read_passages
from attune.runtime import Embedder
from attune.stage import AfterCommit, Out, Receipt, run
from attune.tables import CORPUS, SPLIT_QUERIES, read

# Mining needs train queries; shipped models are scored only, and models of a round are only mined with.
SCORED = ("dev", "test", "paraphrases")
SPLITS_OF = {
    "base": ("train", *SCORED),
    "tuned": ("train", *SCORED),
    "round": ("train",),
    "onnx": SCORED,
    "onnx_int8": SCORED,
}

SCRATCH = Path("scratch/embed")
LIBRARIES = ("torch", "transformers", "sentence-transformers", "tokenizers", "onnxruntime", "numpy")

Vectors = NDArray[np.float32]


class Encoder(Protocol):
    """An encoder of queries and documents: (n texts) -> float32 (n, dim), rows of length 1."""

    @property
    def dim(self) -> int:
        """Dimension of the embeddings."""

    def encode_query(self, texts: Sequence[str]) -> Vectors:
        """Embeds queries, with the query prompt if the encoder has one."""

    def encode_document(self, texts: Sequence[str]) -> Vectors:
        """Embeds documents, with the document prompt if the encoder has one."""


class EmbedParams(SharedParams):
    """Parameters of stage embed; prompts and maximum length belong to the encoder."""


def precision_in(system: str, model: Path, params: EmbedParams) -> str:
    """Returns the number format of matrix products: a graph's own, or machine.precision with auto resolved."""
    if system.startswith("onnx"):
        return "int8" if system == "onnx_int8" else "fp32"
    from attune.encoding.encoders import precision_of  # noqa: PLC0415

    return precision_of(model, params.machine.precision)


def device_of(system: str) -> str:
    """Returns the device that a system runs on, on which the last digits of its vectors depend."""
    if system.startswith("onnx"):
        return "cpu"
    import torch  # noqa: PLC0415

    return "cuda" if torch.cuda.is_available() else "cpu"


def load_encoder(system: str, folder: Path, precision: str, params: EmbedParams) -> Encoder:
    """Loads the encoder of a system: onnx and onnx_int8 run in the runtime that services use, all others in torch."""
    if system == "onnx":
        return Embedder(folder, threads=params.machine.threads)
    if system == "onnx_int8":
        return Embedder(folder, file="onnx/model_quantized.onnx", threads=params.machine.threads)
    # torch takes seconds to import, and the shipped models do not need it
    import torch  # noqa: PLC0415

    from attune.encoding.encoders import TorchEncoder, load_torch  # noqa: PLC0415

    torch.set_num_threads(params.machine.threads)
    return TorchEncoder(load_torch(folder), precision, params.machine.batch_tokens)


def scratch_of(system: str, precision: str, params: EmbedParams, inputs: Iterable[Path]) -> Path:
    """Returns the scratch folder of a run, named by a hash of its parameters, libraries, input files and code.

    Raises:
        BadInput: this process would do another run than rank 0.
    """
    files = sorted(path for path in inputs if path.is_file())
    shared = params.model_copy(update={"processes": 1})  # any number of processes makes the same shards
    settings = (system, device_of(system), precision, shared)
    return processes.same_on_all_ranks(SCRATCH / fingerprint(settings, LIBRARIES, [*files, *code_files()]))


def embed(
    params: EmbedParams, system: str, model: Path, prepared: Path, splits: Path, out: Out, after: AfterCommit
) -> Receipt:
    """Writes corpus.npy, a row per passage, and a file per split's queries: float32, (n rows, dim), of length 1."""
    if system not in SPLITS_OF:
        raise BadInput(f"embed: system is {system!r}, expected one of {', '.join(SPLITS_OF)}")
    tables = [splits / split / "queries.parquet" for split in SPLITS_OF[system]]
    texts = {file.parent.name: read(file, SPLIT_QUERIES)["text"].to_list() for file in tables}
    passages = read_passages(prepared, read(prepared / "corpus.parquet", CORPUS))
    texts["corpus"] = passages.texts
    precision = precision_in(system, model, params)
    encoder = load_encoder(system, model, precision, params)
    inputs = [prepared / "corpus.parquet", prepared / "passages.parquet", *tables, *model.rglob("*")]
    scratch = scratch_of(system, precision, params, inputs)
    assignment = Assignment(processes.rank(), processes.world_size())
    indices, n_encoded = {}, 0
    for name, all_texts in texts.items():
        unique_texts, indices[name] = distinct(all_texts)
        encode = encoder.encode_document if name == "corpus" else encoder.encode_query
        encode_shards(unique_texts, encode, scratch / name, assignment, name)
        n_encoded += len(unique_texts)
    processes.barrier()
    if not processes.is_rank_0():
        return {}
    out.mkdir(parents=True)
    for name, own_indices in indices.items():
        write_vectors(scratch / name, own_indices, encoder.dim, out / f"{name}.npy")
    after.append(partial(discard, scratch))
    n_queries = sum(map(len, texts.values())) - len(texts["corpus"])
    sizes = {"n_documents": passages.corpus.height, "n_queries": n_queries, "n_encoded": n_encoded}
    sizes |= {"n_passages": len(passages)} if passages.is_cut else {}
    return sizes | {"dim": encoder.dim, "precision": precision}


if __name__ == "__main__":
    run(embed, launch.call)
