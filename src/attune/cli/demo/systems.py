"""The two systems that are compared: base and tuned; of an encoder behind an endpoint, base and its query adapter.

Behind an endpoint nothing is tuned but the adapter, so *tuned* would show base twice.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from attune.encoding.served import ServedEncoder, is_served
from attune.runtime import Embedder
from attune.runtime.adapter import QueryAdapter
from attune.runtime.arrays import Float32

Encode = Callable[[list[str]], Float32]
BASE = "models/base_exported"  # the graph of the base encoder
MODEL = "models/onnx"  # the shipped model
WEIGHTS = "models/base"  # the base encoder, or the description of one behind an endpoint
ADAPTER = "models/adapter"


@dataclass(frozen=True)
class QueryEncoder:
    """Encoder of queries of one of the two systems.

    Attributes:
        name: of the system, as in data/runs.
        documents: name of the system that embedded its documents, in data/embeddings.
        runs_in: program that computes the embeddings.
        encode_query: embeds queries, (n texts, dim).
    """

    name: str
    documents: str
    runs_in: str
    encode_query: Encode


def names(root: Path) -> tuple[str, str]:
    """Returns the names of the two systems of a pipeline."""
    return ("base", "adapter") if is_served(root / WEIGHTS) else ("base", "tuned")


def endpoint_of(root: Path) -> str:
    """Returns the address of the base encoder; "" where it has weights."""
    return ServedEncoder.load(root / WEIGHTS).served.endpoint.url if is_served(root / WEIGHTS) else ""


def query_encoders(root: Path) -> tuple[QueryEncoder, QueryEncoder]:
    """Loads what embeds the queries of both systems.

    Queries of an encoder behind an endpoint are sent there, and their vectors kept in its cache, as everywhere.

    Raises:
        BadInput: the pipeline has not run yet, or a folder is damaged.
    """
    if is_served(root / WEIGHTS):
        served, adapter = ServedEncoder.load(root / WEIGHTS), QueryAdapter(root / ADAPTER, 1)
        return (
            QueryEncoder("base", "base", "endpoint", served.encode_query),
            QueryEncoder("adapter", "base", "endpoint", lambda texts: adapter(served.encode_query(texts))),
        )
    base, tuned = Embedder(root / BASE), Embedder(root / MODEL)
    return (
        QueryEncoder("base", "base", "ONNX", base.encode_query),
        QueryEncoder("tuned", "tuned", "ONNX", tuned.encode_query),
    )
