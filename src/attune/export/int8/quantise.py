"""Static quantization of an fp32 graph to int8: weights with a scale per output, activations with fixed ranges.

The ranges are measured on texts of the train split. Nothing is measured while encoding, which is faster and makes an
embedding independent of the other texts of its batch. Fixed ranges lose quality where a few channels are far larger
than the others; `smooth.py` moves part of their size into the weights first.

The products become MatMulIntegerToFloat of the domain com.microsoft, which every standard build of onnxruntime has: it
adds the bias in the same pass, which no standard operator does.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

import numpy as np
import onnx
from onnx import helper, numpy_helper

from attune.export.int8.matmuls import Activation, GraphEditor, split_gemms
from attune.export.int8.ranges import ACTIVATION_STEPS, MIN_MAGNITUDE, best_range, round_weight
from attune.export.int8.smooth import Features, observe, smooth

# by the name of an fp32 initializer: the names of those that replace it, which all its readers share
Rounded = dict[str, list[str]]


@dataclass(frozen=True)
class Scheme:
    """Settings of the int8 graph.

    Attributes:
        smoothing: 0..1, share of the activations' range that moves into the weights; 0 changes nothing.
        unsmoothed: patterns (fnmatch) of node names whose input is not smoothed.
        keep_fp32: patterns of node names that stay in fp32, such as `*[0-9].output.dense/*`.
        reduce_range: 7-bit weights. CPUs without VNNI add pairs of products in 16 bits, which 8 bits overflow.
    """

    smoothing: float
    unsmoothed: Sequence[str]
    keep_fp32: Sequence[str]
    reduce_range: bool


def to_int8(model: onnx.ModelProto, batches: Iterable[Features], scheme: Scheme) -> onnx.ModelProto:
    """Converts an fp32 graph to int8.

    Args:
        model: the fp32 graph.
        batches: inputs of train texts, without padding, to measure ranges and smoothing factors on.
        scheme: settings.
    """
    model = split_gemms(model)
    activations = observe(model, batches, scheme.keep_fp32)
    products = GraphEditor(model, scheme.keep_fp32).products
    smoothed = [a for a in activations if scheme.smoothing and not _matches(products[a.tensor], scheme.unsmoothed)]
    others = [a for a in activations if not any(a is other for other in smoothed)]
    model, smoothed = smooth(model, smoothed, scheme.smoothing)
    return quantise(model, [*smoothed, *others], 7 if scheme.reduce_range else 8, scheme.keep_fp32)


def _matches(nodes: Sequence[onnx.NodeProto], patterns: Sequence[str]) -> bool:
    return any(fnmatch(node.name, pattern) for node in nodes for pattern in patterns)


def quantise(
    model: onnx.ModelProto, activations: Sequence[Activation], bits: int, keep_fp32: Sequence[str] = ()
) -> onnx.ModelProto:
    """Replaces products with weights by integer products, and embedding tables by int8 tables with a scale per row.

    Args:
        model: the fp32 graph, smoothed or not; not changed.
        activations: inputs of the products to replace; the products of other tensors stay in fp32.
        bits: of weights, 8 or 7.
        keep_fp32: patterns (fnmatch) of node names that stay in fp32.
    """
    quantised = onnx.ModelProto()
    quantised.CopyFrom(model)
    editor = GraphEditor(quantised, keep_fp32)
    before: dict[str, list[onnx.NodeProto]] = {}
    after: dict[str, list[onnx.NodeProto]] = {}
    weights: Rounded = {}
    tables: Rounded = {}
    for activation in activations:
        products = editor.products[activation.tensor]
        rounded = _rounded_activation(editor, activation, products)
        before[products[0].name] = [rounded]
        for node in products:
            _make_integer(editor, node, rounded, bits, weights)
    for node in [n for n in editor.graph.node if n.op_type == "Gather"]:
        if len(editor.dims(node.input[0])) == 2:
            after[node.name] = _integer_table(editor, node, tables)
    editor.insert(before, after)
    editor.sweep()
    quantised.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return quantised


def _rounded_activation(
    editor: GraphEditor, activation: Activation, products: Sequence[onnx.NodeProto]
) -> onnx.NodeProto:
    importance = np.sum([np.square(editor.weight(node)).sum(axis=1) for node in products], axis=0)
    low, high = best_range(activation.sample, importance)
    scale = np.float32((high - low) / ACTIVATION_STEPS)
    names = [
        editor.add(f"{activation.tensor}_scale", np.array(scale)),
        editor.add(f"{activation.tensor}_zero_point", np.array(round(-low / scale), dtype=np.uint8)),
    ]
    return helper.make_node(
        "QuantizeLinear", [activation.tensor, *names], [f"{activation.tensor}_u8"], f"{activation.tensor}/quantise"
    )


def _make_integer(editor: GraphEditor, node: onnx.NodeProto, rounded: onnx.NodeProto, bits: int, done: Rounded) -> None:
    if (name := node.input[1]) not in done:
        values, scales = round_weight(editor.weight(node), bits)
        done[name] = [
            editor.add(f"{node.name}_int8", values),
            editor.add(f"{node.name}_scale", scales),
            editor.add(f"{node.name}_zero_point", np.zeros(len(scales), dtype=np.int8)),
        ]
    weight = done[name]
    _, scale, zero_point = rounded.input
    bias = editor.take_bias(node)
    node.op_type, node.domain = "MatMulIntegerToFloat", "com.microsoft"
    node.input[:] = [rounded.output[0], weight[0], scale, weight[1], zero_point, weight[2], *bias]


def _integer_table(editor: GraphEditor, node: onnx.NodeProto, done: Rounded) -> list[onnx.NodeProto]:
    name, result, indices = node.input[0], node.output[0], node.input[1]
    if name not in done:
        table = numpy_helper.to_array(editor.initializers[name])
        scales = np.maximum(np.abs(table).max(axis=1, keepdims=True), MIN_MAGNITUDE) / 127
        done[name] = [
            editor.add(f"{name}_int8", np.rint(table / scales).astype(np.int8)),
            editor.add(f"{name}_scale", scales.astype(np.float32)),
        ]
    node.input[0], by_row = done[name]
    node.output[0] = f"{result}_int8"
    return [
        helper.make_node("Gather", [by_row, indices], [f"{result}_scale"], f"{node.name}/scale"),
        helper.make_node("Cast", node.output[:1], [f"{result}_cast"], f"{node.name}/cast", to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", [f"{result}_cast", f"{result}_scale"], [result], f"{node.name}/scaled"),
    ]
