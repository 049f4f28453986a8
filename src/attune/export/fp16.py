"""Conversion of an fp32 graph to fp16 for programs that run ONNX on a GPU: half the size, at least twice as fast.

Pooling and normalisation stay in fp32: a sum over all tokens of a long text, or of squares, may not fit into 16 bits.
Both outputs stay float32, so consumers run it like the fp32 graph.
"""

import onnx
from onnx.utils import Extractor
from onnxruntime.transformers.float16 import convert_float_to_float16

from attune.export.graph import OUTPUTS

FP32_PREFIX = "fp32/"  # of the names of the pooling nodes; some exist twice, once in each precision


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Converts an fp32 graph with the outputs `last_hidden_state` and `sentence_embedding` to fp16.

    A CPU gains nothing from fp16: onnxruntime computes there in fp32 and only rounds.
    """
    inputs, (hidden, pooled) = [value.name for value in model.graph.input], OUTPUTS
    extractor = Extractor(model)
    half = convert_float_to_float16(extractor.extract_model(inputs, [hidden]), keep_io_types=True)
    pooling = extractor.extract_model([*inputs, hidden], [pooled]).graph
    _rename(pooling, {*inputs, hidden, pooled})
    half.graph.node.extend(pooling.node)
    half.graph.initializer.extend(pooling.initializer)
    half.graph.output.extend(pooling.output)
    del half.graph.value_info[:]  # intermediate types, which readers infer; some are wrong after the conversion
    return half


def _rename(graph: onnx.GraphProto, kept: set[str]) -> None:
    """Puts FP32_PREFIX before the names of nodes, tensors and initializers, except the kept tensors."""
    for node in graph.node:
        node.name = FP32_PREFIX + node.name
        for names in (node.input, node.output):
            names[:] = [name if name in kept or not name else FP32_PREFIX + name for name in names]
    for tensor in graph.initializer:
        tensor.name = FP32_PREFIX + tensor.name
