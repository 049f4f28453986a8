"""What tuning changed, seen from a search box: the base encoder and the shipped ONNX model over the same corpus."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attune.encoders import TorchEncoder, load_torch
from attune.retrieval import load_embeddings, top_k
from attune.runtime import Embedder
from attune.tables import CORPUS, read

THREADS = 2
Encode = Callable[[list[str]], NDArray[np.float32]]


@dataclass(frozen=True)
class Hit:
    """One document of a ranking."""

    document_id: str
    title: str
    text: str
    score: float


@dataclass(frozen=True)
class System:
    """An encoder of queries and the corpus as it embeds it, (n_documents, dim)."""

    name: str
    encode_query: Encode
    embeddings: NDArray[np.float32]
    documents: list[tuple[str, str, str]]

    def search(self, query: str, k: int) -> list[Hit]:
        """The k best documents, best first."""
        scores, rows = top_k(self.encode_query([query]), self.embeddings, k, THREADS)
        hits = []
        for row, score in zip(rows[0].tolist(), scores[0].tolist(), strict=True):
            document_id, title, text = self.documents[row]
            hits.append(Hit(document_id, title, text, score))
        return hits


def load_systems(root: Path) -> list[System]:
    """The base encoder in torch and the tuned one as it ships, in ONNX.

    Raises:
        BadInput: the pipeline has not run yet.
    """
    corpus = read(root / "data/prepared/corpus.parquet", CORPUS)
    documents = list(corpus.select("document_id", "title", "text").iter_rows())
    base = TorchEncoder(load_torch(root / "models/base"), "fp32", batch_tokens=4096)
    tuned = Embedder(root / "models/onnx")
    encoders: dict[str, Encode] = {"base": base.encode_query, "onnx": tuned.encode_query}
    names = {"base": "base", "onnx": "tuned (ONNX)"}
    folder = root / "data/embeddings"
    vectors = {system: load_embeddings(folder / system / "corpus.npy", corpus.height, "the corpus") for system in names}
    return [System(names[system], encoders[system], vectors[system], documents) for system in names]
