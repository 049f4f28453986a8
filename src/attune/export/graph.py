"""Export of an encoder to one ONNX graph, from token ids to `last_hidden_state` and `sentence_embedding`.

The second output is pooled and L2-normalised. The order suits consumers that pool output 0 themselves and consumers
that read outputs by name. Two rewrites, which do not change the result, give onnxruntime's faster operators.
"""

import ast
import inspect
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUTS = ("last_hidden_state", "sentence_embedding")
AXES = {0: "batch_size", 1: "sequence_length"}
KEEP_SHAPE = "keep_shape"  # initializer of the identity reshapes


class Graph(torch.nn.Module):
    """Modules of an encoder as one function of tensors, with the L2 normalisation last."""

    def __init__(self, encoder: SentenceTransformer, inputs: Sequence[str]) -> None:
        super().__init__()
        self.encoder = torch.nn.ModuleList(module for module in encoder if not isinstance(module, Normalize))
        self.inputs = inputs

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps int64 (batch, tokens) each to float32 (batch, tokens, dim) and (batch, dim)."""
        features = dict(zip(self.inputs, tensors, strict=True))
        for module in self.encoder:
            features = module(features)
        pooled = torch.nn.functional.normalize(features["sentence_embedding"], p=2, dim=-1)
        return features["token_embeddings"], pooled


def export_graph(encoder: SentenceTransformer, path: Path, opset: int) -> None:
    """Writes the fp32 graph as one file, with the same bytes wherever the project and its environment are.

    Switches the encoder to eager attention, which equals the fused kernel and gives a smaller graph that is 7% faster.
    """
    encoder.transformers_model.set_attn_implementation("eager")
    # two rows of different length, so that the trace contains padding
    features = encoder.preprocess(["a short text", "and another one that is somewhat longer"])
    accepted = inspect.signature(encoder.transformers_model.forward).parameters
    inputs = [name for name in INPUTS if name in features and name in accepted]
    with _quiet():
        program = torch.onnx.export(
            Graph(encoder, inputs).eval(),
            tuple(features[name] for name in inputs),
            dynamo=True,
            verbose=False,
            opset_version=opset,
            input_names=inputs,
            output_names=OUTPUTS,
            dynamic_shapes=(tuple(AXES for _ in inputs),),
        )
    if program is None:
        raise TypeError("torch.onnx.export returned no program; dynamo=True always does")
    path.parent.mkdir(parents=True, exist_ok=True)
    model = strip_metadata(program.model_proto)
    transpose_shared_weights(model)
    reorder_gelu(model)
    separate_layer_norms(model)
    onnx.save(model, path)


def strip_metadata(model: onnx.ModelProto) -> onnx.ModelProto:
    """Removes metadata, such as the stack traces with absolute paths that nine of ten nodes carry.

    The path of the module that a node came from is kept as a prefix of its name.
    """
    for node in model.graph.node:
        scopes = next((p.value for p in node.metadata_props if p.key == "pkg.torch.onnx.name_scopes"), "[]")
        node.name = "/".join([*ast.literal_eval(scopes)[-2:-1], node.name])
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for function in model.functions:
        for part in (function, *function.node, *function.value_info):
            part.ClearField("metadata_props")
            part.ClearField("doc_string")
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences warnings of torch and sentence-transformers that concern no user: torchvision, renamed axes."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def transpose_shared_weights(model: onnx.ModelProto) -> int:
    """Transposes weights that several layers read, instead of a node that does so in each; returns their number.

    The exporter transposes a weight itself only where one layer reads it. int8 rounds what enters a product as weights.
    """
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer if len(tensor.dims) == 2}
    nodes = [node for node in graph.node if node.op_type == "Transpose" and node.input[0] in weights]
    names = {node.output[0]: f"{node.input[0]}_transposed" for node in nodes}
    for weight in dict.fromkeys(node.input[0] for node in nodes):
        turned = np.ascontiguousarray(numpy_helper.to_array(weights[weight]).T)
        graph.initializer.append(numpy_helper.from_array(turned, f"{weight}_transposed"))
    for node in nodes:
        graph.node.remove(node)
    read = set()
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        read |= {*node.input}
    for weight in {node.input[0] for node in nodes} - read:
        graph.initializer.remove(weights[weight])
    return len(set(names.values()))


def reorder_gelu(model: onnx.ModelProto) -> int:
    """Reorders x * (0.5 * (1 + erf)) to (x * (1 + erf)) * 0.5; returns the number of places.

    onnxruntime fuses only the second order to one operator, Gelu, which takes a third of the time of the five.
    """
    readers = _readers(model.graph)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    n_places = 0
    for erf in [node for node in model.graph.node if node.op_type == "Erf"]:
        chain = [erf]
        while len(chain) < 4 and len(after := readers.get(chain[-1].output[0], [])) == 1:
            chain.append(after[0])
        if [node.op_type for node in chain] != ["Erf", "Add", "Mul", "Mul"]:
            continue
        _, add, halved, last = chain
        half = [name for name in halved.input if name in constants]
        x = [name for name in last.input if name != halved.output[0]]
        if half and x and numpy_helper.to_array(constants[half[0]]).tolist() in (0.5, [0.5]):
            halved.input[:] = [x[0], add.output[0]]
            last.input[:] = [halved.output[0], half[0]]
            n_places += 1
    return n_places


def separate_layer_norms(model: onnx.ModelProto) -> int:
    """Inserts an identity reshape between a sum and its LayerNormalization; returns the number of places.

    Without it onnxruntime fuses both to SkipLayerNormalization, which takes twice the time of the two.
    """
    graph = model.graph
    sums = {node.output[0] for node in graph.node if node.op_type == "Add"}
    nodes = list(graph.node)
    del graph.node[:]
    n_places = 0
    for node in nodes:
        if node.op_type == "LayerNormalization" and node.input[0] in sums:
            name = f"{node.input[0]}_parted"
            graph.node.append(helper.make_node("Reshape", [node.input[0], KEEP_SHAPE], [name], f"{node.name}/part"))
            node.input[0] = name
            n_places += 1
        graph.node.append(node)
    if n_places:
        graph.initializer.append(numpy_helper.from_array(np.array([0, 0, -1], dtype=np.int64), KEEP_SHAPE))
    return n_places


def _readers(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers
