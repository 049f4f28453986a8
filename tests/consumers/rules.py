"""Consumers that do not run here, imitated by the rules of their sources: files, keys, names and ranks they demand.

Each function takes an exported folder and texts, opens only the files that its consumer opens, raises `Refused` where
the consumer would fail to start, and returns its embeddings, (n texts, dim), float32; where the consumer fails on a
text, the row is NaN. Settings left to the user are those of the documentation: mean pooling, unit vectors.

Sources, as read in November 2026: ml-commons `ONNXSentenceTransformerTextEmbeddingTranslator`; Vespa
`HuggingFaceEmbedder`; Spring AI `TransformersEmbeddingModel`; langchain4j `OnnxBertBiEncoder`; DJL
`HuggingFaceTokenizer`, which all but Vespa use. Text Embeddings Inference has a file of its own.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from driver import pool
from numpy.typing import NDArray
from onnx.external_data_helper import uses_external_data
from tokenizers import Encoding, Tokenizer

Vectors = NDArray[np.float32]
NAMES = ("input_ids", "attention_mask", "token_type_ids")
DEFAULT_LIMIT = 512  # tokens, of DJL and Vespa, where tokenizer.json has no limit
LANGCHAIN4J_LIMIT = 510  # tokens, without the two special ones


class Refused(Exception):
    """The consumer would not start, or would fail on every text."""


class Graph:
    """Opens onnx/model.onnx as these consumers do: one file without external data, int64 inputs, float32 outputs."""

    def __init__(self, folder: Path) -> None:
        path = folder / "onnx" / "model.onnx"
        if not path.is_file():
            raise Refused(f"{path}: not found")
        weights = onnx.load(path, load_external_data=False).graph.initializer
        if any(uses_external_data(weight) for weight in weights):
            raise Refused(f"{path}: weights in a second file; Spring AI and langchain4j read one")
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self.inputs = [node.name for node in self.session.get_inputs()]
        self.outputs = {node.name: len(node.shape) for node in self.session.get_outputs()}
        if unknown := set(self.inputs) - set(NAMES):
            raise Refused(f"{path}: unknown inputs {sorted(unknown)}")
        if {"input_ids", "attention_mask"} - set(self.inputs):
            raise Refused(f"{path}: inputs are {self.inputs}, expected input_ids and attention_mask")
        types = {node.type for node in self.session.get_inputs()}, {node.type for node in self.session.get_outputs()}
        if types != ({"tensor(int64)"}, {"tensor(float)"}):
            raise Refused(f"{path}: types are {types}, expected int64 in, float32 out")

    def run(self, rows: list[Encoding], output: str | int, rank: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Returns an output, chosen by name or place and of the given rank, and the attention mask."""
        name = list(self.outputs)[output] if isinstance(output, int) else output
        if self.outputs.get(name) != rank:
            raise Refused(f"output {output} of {self.outputs}: expected one of rank {rank}")
        columns = [[row.ids for row in rows], [row.attention_mask for row in rows], [row.type_ids for row in rows]]
        features = {name: np.array(column, dtype=np.int64) for name, column in zip(NAMES, columns, strict=True)}
        values = self.session.run([name], {name: features[name] for name in self.inputs})[0]
        return np.asarray(values), features["attention_mask"]


def tokenizer_of(folder: Path, padding: bool) -> Tokenizer:
    """Loads tokenizer.json as DJL and Vespa do: with their own limit where the file has none."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise Refused(f"{path}: not found")
    tokenizer = Tokenizer.from_file(str(path))
    if not padding:
        tokenizer.no_padding()
    if not tokenizer.truncation or tokenizer.truncation["strategy"] != "longest_first":
        tokenizer.enable_truncation(DEFAULT_LIMIT)
    return tokenizer


def vespa(folder: Path, texts: list[str]) -> Vectors:
    """hugging-face-embedder with `normalize` true: inputs and output by name, one text at a time."""
    graph, tokenizer = Graph(folder), tokenizer_of(folder, padding=False)
    if graph.inputs != list(NAMES[: len(graph.inputs)]):
        raise Refused(f"inputs are {graph.inputs}; Vespa takes the first of {NAMES}")
    return np.concatenate(
        [pool(*graph.run([tokenizer.encode(text)], "last_hidden_state", 3), "mean") for text in texts]
    )


def spring_ai(folder: Path, texts: list[str]) -> Vectors:
    """TransformersEmbeddingModel: all texts in one batch; it does not normalise, so its caller does."""
    graph, tokenizer = Graph(folder), tokenizer_of(folder, padding=True)
    return pool(*graph.run(tokenizer.encode_batch(texts), "last_hidden_state", 3), "mean")


def opensearch(folder: Path, texts: list[str]) -> Vectors:
    """ml-commons with `pooling_mode` mean and `normalize_result` true: tensors by their place, output 0."""
    graph, tokenizer = _ml_commons(folder)
    return np.concatenate([pool(*graph.run([tokenizer.encode(text)], 0, 3), "mean") for text in texts])


def opensearch_pooled(folder: Path, texts: list[str]) -> Vectors:
    """ml-commons with `pooling_mode` none: output 1 as it is."""
    graph, tokenizer = _ml_commons(folder)
    return np.concatenate([graph.run([tokenizer.encode(text)], 1, 2)[0] for text in texts])


def _ml_commons(folder: Path) -> tuple[Graph, Tokenizer]:
    graph = Graph(folder)
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    fed = NAMES if kind in ("bert", "albert") else NAMES[:2]
    if graph.inputs != list(fed):
        raise Refused(f"inputs are {graph.inputs}; OpenSearch feeds a {kind} model with {fed}, in this order")
    return graph, tokenizer_of(folder, padding=True)


def langchain4j(folder: Path, texts: list[str]) -> Vectors:
    """OnnxEmbeddingModel with PoolingMode.MEAN: cut to tokens, made to text again, cut again; output 0, normalised."""
    graph, tokenizer = Graph(folder), tokenizer_of(folder, padding=False)
    dim = graph.session.get_outputs()[0].shape[-1]
    vectors = np.full((len(texts), dim), np.nan, dtype=np.float32)
    for row, text in zip(vectors, texts, strict=True):
        tokens = tokenizer.encode(text).tokens[1:-1]
        if len(tokens) > LANGCHAIN4J_LIMIT:
            raise Refused(f"tokenizer.json leaves {len(tokens)} tokens; langchain4j would average parts of a text")
        if tokens:  # without tokens its average fails
            again = " ".join(tokens).replace(" ##", "").strip()
            rebuilt = again if tokenizer.encode(again).tokens[1:-1] == tokens else "".join(tokens)
            row[:] = pool(*graph.run([tokenizer.encode(rebuilt)], 0, 3), "mean")[0]
    return vectors


RULES: dict[str, Callable[[Path, list[str]], Vectors]] = {
    "OpenSearch ml-commons, pooling mean": opensearch,
    "OpenSearch ml-commons, pooling none": opensearch_pooled,
    "Vespa hugging-face-embedder": vespa,
    "Spring AI": spring_ai,
    "langchain4j": langchain4j,
}
