"""Observation of activations on calibration texts, and SmoothQuant (Xiao et al. 2023, arXiv:2211.10438).

With one range per tensor, small channels round to 0 where a few channels are far larger. Weights have a scale per
output, so SmoothQuant moves part of the activations' range into them.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from attune.export.int8.matmuls import Activation, GraphEditor
from attune.export.int8.ranges import MIN_MAGNITUDE
from attune.runtime.arrays import Float32, Int64

Features = Mapping[str, Int64]  # inputs of the graph by name, (batch, tokens) each

MAX_SAMPLE = 1024  # tokens of the sample on which a range is chosen


def observe(model: onnx.ModelProto, batches: Iterable[Features], keep_fp32: Sequence[str] = ()) -> list[Activation]:
    """Runs the graph and returns the activations that enter products with weights.

    Args:
        model: the fp32 graph.
        batches: inputs without padding, which would count like tokens.
        keep_fp32: patterns (fnmatch) of node names to leave out.
    """
    names = list(GraphEditor(model, keep_fp32).products)
    if not names:  # of none onnxruntime would return all outputs
        return []
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    observed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the same sums on every machine
    session = onnxruntime.InferenceSession(observed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    peaks: dict[str, Float32] = {}
    rows: dict[str, list[Float32]] = {name: [] for name in names}
    for features in batches:
        for name, values in zip(names, session.run(names, features), strict=True):
            tokens = values.reshape(-1, values.shape[-1])
            peaks[name] = np.maximum(peaks.get(name, MIN_MAGNITUDE), np.abs(tokens).max(axis=0))
            rows[name].append(tokens)
    return [Activation(name, peaks[name], _thinned(np.concatenate(rows[name]))) for name in names]


def _thinned(tokens: Float32) -> Float32:
    """Keeps every n-th token, at most MAX_SAMPLE of them."""
    return tokens[:: -(-len(tokens) // MAX_SAMPLE)]


def smooth(
    model: onnx.ModelProto, activations: Sequence[Activation], strength: float
) -> tuple[onnx.ModelProto, list[Activation]]:
    """Divides each channel by a factor and multiplies its weights by the same; the fp32 output is unchanged.

    The factor is peak ** strength / largest weight ** (1 - strength), scaled to a geometric mean of 1.

    Args:
        model: the fp32 graph; not changed.
        activations: the tensors to smooth.
        strength: 0..1, share of the range that moves into the weights.

    Returns:
        The smoothed graph, and the activations as they enter its products.
    """
    smoothed = onnx.ModelProto()
    smoothed.CopyFrom(model)
    editor = GraphEditor(smoothed)
    all_read = [node.input[1] for products in editor.products.values() for node in products]
    before: dict[str, list[onnx.NodeProto]] = {}
    results = []
    for activation in activations:
        products = editor.products[activation.tensor]
        # weights shared by layers cannot follow several factors
        if any(all_read.count(node.input[1]) > 1 for node in products):
            results.append(activation)
            continue
        weights = {node.input[1]: editor.weight(node) for node in products}
        largest = np.maximum(np.max([np.abs(weight).max(axis=1) for weight in weights.values()], axis=0), MIN_MAGNITUDE)
        factors = activation.peaks**strength / largest ** (1 - strength)
        factors = (factors / np.exp(np.log(factors).mean())).astype(np.float32)
        for name, weight in weights.items():
            editor.initializers[name].CopyFrom(numpy_helper.from_array(weight * factors[:, None], name))
        inverse = editor.add(f"{activation.tensor}_smoothing", 1 / factors)
        scale = helper.make_node(
            "Mul", [activation.tensor, inverse], [f"{activation.tensor}_smooth"], f"{activation.tensor}/smooth"
        )
        before[products[0].name] = [scale]
        for node in products:
            node.input[0] = scale.output[0]
        results.append(Activation(scale.output[0], activation.peaks / factors, activation.sample / factors))
    editor.insert(before, {})
    return smoothed, results
