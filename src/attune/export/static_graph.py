"""The static query encoder as a small ONNX graph: token ids to an embedding, as attune.runtime.static computes it."""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from attune.runtime.arrays import Float32
from attune.runtime.static import LEAST_LENGTH

INPUTS, OUTPUT = ("input_ids", "attention_mask"), "sentence_embedding"


def static_graph(vectors: NDArray[np.int8], weights: Float32, opset: int) -> onnx.ModelProto:
    """Returns the graph from `input_ids` and `attention_mask`, (batch, tokens), to `sentence_embedding` (batch, dim).

    Special tokens have weight 0, so it does not matter whether the tokenizer adds them.

    Args:
        vectors: (n_tokens, dim).
        weights: (n_tokens,).
        opset: of the graph.
    """
    nodes = [
        helper.make_node("Gather", ["vectors", INPUTS[0]], ["rows"]),
        helper.make_node("Cast", ["rows"], ["of_tokens"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["weights", INPUTS[0]], ["all_weights"]),
        helper.make_node("Cast", [INPUTS[1]], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["all_weights", "mask"], ["of_text"]),
        helper.make_node("Unsqueeze", ["of_text", "one"], ["row"]),
        helper.make_node("MatMul", ["row", "of_tokens"], ["sums"]),
        helper.make_node("Squeeze", ["sums", "one"], ["sum"]),
        helper.make_node("ReduceL2", ["sum", "one"], ["length"], keepdims=1),
        helper.make_node("Max", ["length", "least"], ["divisor"]),
        helper.make_node("Div", ["sum", "divisor"], [OUTPUT]),
    ]
    arrays = {"vectors": vectors, "weights": weights, "one": np.array([1], dtype=np.int64)}
    arrays["least"] = np.array(LEAST_LENGTH, dtype=np.float32)
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch_size", "n_tokens"]) for name in INPUTS]
    output = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch_size", vectors.shape[1]])
    initializers = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "static_query_encoder", inputs, [output], initializer=initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="attune")
    model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import)
    onnx.checker.check_model(model)
    return model
