"""An fp32 graph as an fp16 graph, for programs that run ONNX on a GPU: half the size, and there twice as fast and more.

Pooling and normalising stay in fp32: a sum over all tokens of a long text, or of squares, may not fit into 16 bits.
Both outputs stay float32, so no consumer has to know which graph it was given.
"""

import onnx
from onnx.utils import Extractor
from onnxruntime.transformers.float16 import convert_float_to_float16

from attune.export.graph import OUTPUTS

FP32_PART = "fp32/"  # before the names of what pools; some of it is computed twice, in either precision


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The fp16 graph of an fp32 one with the outputs `last_hidden_state` and `sentence_embedding`.

    A CPU gains nothing by it: onnxruntime computes there in fp32 and only rounds.
    """
    inputs, (hidden, pooled) = [value.name for value in model.graph.input], OUTPUTS
    parts = Extractor(model)
    half = convert_float_to_float16(parts.extract_model(inputs, [hidden]), keep_io_types=True)
    pooling = parts.extract_model([*inputs, hidden], [pooled]).graph
    _rename(pooling, {*inputs, hidden, pooled})
    half.graph.node.extend(pooling.node)
    half.graph.initializer.extend(pooling.initializer)
    half.graph.output.extend(pooling.output)
    del half.graph.value_info[:]  # types of what is between, which any reader infers; some would be wrong now
    return half


def _rename(graph: onnx.GraphProto, kept: set[str]) -> None:
    for node in graph.node:
        node.name = FP32_PART + node.name
        for names in (node.input, node.output):
            names[:] = [name if name in kept or not name else FP32_PART + name for name in names]
    for tensor in graph.initializer:
        tensor.name = FP32_PART + tensor.name
