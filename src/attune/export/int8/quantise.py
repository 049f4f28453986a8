"""An fp32 graph as an int8 graph: weights in 8 bits per output, activations by ranges fixed beforehand.

The ranges come from texts of the train split. So nothing is measured while encoding, which is faster, and a text's
embedding does not depend on the texts beside it. Fixed ranges lose quality where few channels are far larger than the
others; before quantising, part of that size moves into the weights (`smoothing.py`).
The products are MatMulIntegerToFloat of the domain com.microsoft, which every standard build of onnxruntime has: it
adds the bias in the same pass, which no standard operator does.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

import numpy as np
import onnx
from onnx import helper, numpy_helper

from attune.export.int8.matmuls import Parts, Site
from attune.export.int8.ranges import ACTIVATION_STEPS, LEAST, best_range, round_weight
from attune.export.int8.smooth import Features, observe, smooth


@dataclass(frozen=True)
class Scheme:
    """How the int8 graph is made.

    Attributes:
        smoothing: 0..1, how much of the activations' range moves into the weights; 0 leaves all as it is.
        unsmoothed: patterns (fnmatch) of node names whose input is not smoothed.
        keep_fp32: patterns of node names that stay in fp32, such as `*[0-9].output.dense/*`.
        reduce_range: 7-bit weights. CPUs without VNNI add pairs of products in 16 bits, which 8 bits overflow.
    """

    smoothing: float
    unsmoothed: Sequence[str]
    keep_fp32: Sequence[str]
    reduce_range: bool


def to_int8(model: onnx.ModelProto, batches: Iterable[Features], scheme: Scheme) -> onnx.ModelProto:
    """The int8 graph of an fp32 one.

    Args:
        model: the fp32 graph.
        batches: inputs of train texts, without padding; ranges and factors are taken from them.
        scheme: how.
    """
    sites = observe(model, batches, scheme.keep_fp32)
    products = Parts(model, scheme.keep_fp32).products
    smoothed = [site for site in sites if scheme.smoothing and not _is_any(products[site.tensor], scheme.unsmoothed)]
    left = [site for site in sites if not any(site is other for other in smoothed)]
    model, smoothed = smooth(model, smoothed, scheme.smoothing)
    return quantise(model, [*smoothed, *left], 7 if scheme.reduce_range else 8, scheme.keep_fp32)


def _is_any(nodes: Sequence[onnx.NodeProto], patterns: Sequence[str]) -> bool:
    return any(fnmatch(node.name, pattern) for node in nodes for pattern in patterns)


def quantise(
    model: onnx.ModelProto, sites: Sequence[Site], bits: int, keep_fp32: Sequence[str] = ()
) -> onnx.ModelProto:
    """Replaces the products with integer ones, and embedding tables by int8 tables with a scale per row.

    Args:
        model: the fp32 graph, smoothed or not.
        sites: what is multiplied; a product whose tensor is not among them stays in fp32.
        bits: of weights, 8 or 7.
        keep_fp32: patterns (fnmatch) of node names that stay in fp32.
    """
    quantised = onnx.ModelProto()
    quantised.CopyFrom(model)
    parts = Parts(quantised, keep_fp32)
    before: dict[str, list[onnx.NodeProto]] = {}
    after: dict[str, list[onnx.NodeProto]] = {}
    for site in sites:
        products = parts.products[site.tensor]
        rounded = _rounded_activation(parts, site, products)
        before[products[0].name] = [rounded]
        for node in products:
            _make_integer(parts, node, rounded, bits)
    for node in [n for n in parts.graph.node if n.op_type == "Gather"]:
        if len(parts.dims(node.input[0])) == 2:
            after[node.name] = _integer_table(parts, node)
    parts.insert(before, after)
    parts.sweep()
    quantised.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return quantised


def _rounded_activation(parts: Parts, site: Site, products: Sequence[onnx.NodeProto]) -> onnx.NodeProto:
    importance = np.sum([np.square(parts.weight(node)).sum(axis=1) for node in products], axis=0)
    low, high = best_range(site.sample, importance)
    scale = np.float32((high - low) / ACTIVATION_STEPS)
    names = [
        parts.add(f"{site.tensor}_scale", np.array(scale)),
        parts.add(f"{site.tensor}_zero_point", np.array(round(-low / scale), dtype=np.uint8)),
    ]
    return helper.make_node("QuantizeLinear", [site.tensor, *names], [f"{site.tensor}_u8"], f"{site.tensor}/quantise")


def _make_integer(parts: Parts, node: onnx.NodeProto, rounded: onnx.NodeProto, bits: int) -> None:
    values, scales = round_weight(parts.weight(node), bits)
    weight = [
        parts.add(f"{node.name}_int8", values),
        parts.add(f"{node.name}_scale", scales),
        parts.add(f"{node.name}_zero_point", np.zeros(len(scales), dtype=np.int8)),
    ]
    _, scale, zero_point = rounded.input
    bias = parts.take_bias(node)
    node.op_type, node.domain = "MatMulIntegerToFloat", "com.microsoft"
    node.input[:] = [rounded.output[0], weight[0], scale, weight[1], zero_point, weight[2], *bias]


def _integer_table(parts: Parts, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    table = numpy_helper.to_array(parts.initializers[node.input[0]])
    scales = np.maximum(np.abs(table).max(axis=1, keepdims=True), LEAST) / 127
    name, result, indices = node.input[0], node.output[0], node.input[1]
    node.input[0] = parts.add(f"{name}_int8", np.rint(table / scales).astype(np.int8))
    node.output[0] = f"{result}_int8"
    by_row = parts.add(f"{name}_scale", scales.astype(np.float32))
    return [
        helper.make_node("Gather", [by_row, indices], [f"{result}_scale"], f"{node.name}/scale"),
        helper.make_node("Cast", node.output[:1], [f"{result}_cast"], f"{node.name}/cast", to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", [f"{result}_cast", f"{result}_scale"], [result], f"{node.name}/scaled"),
    ]
