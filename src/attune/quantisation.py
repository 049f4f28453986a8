"""An fp32 graph as an int8 graph: weights in 8 bits per output, activations by ranges fixed beforehand.

The ranges come from texts of the train split. So nothing is measured while encoding, which is faster, and a text's
embedding does not depend on the texts beside it. Fixed ranges lose quality where few channels are far larger than the
others; before quantising, part of that size moves into the weights (SmoothQuant, Xiao et al. 2023, arXiv:2211.10438).
The result holds standard operators only, in the QuantizeLinear/DequantizeLinear form that runtimes turn into integer
products when they load it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Floats = NDArray[np.float32]
Features = Mapping[str, NDArray[np.int64]]  # what one run of the graph takes

SAMPLED = 1024  # tokens at most that stand for all when a range is chosen
LOWS = (1.0, 0.8, 0.6)  # shares of the least value seen that are tried as a range's lower end ...
HIGHS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)  # ... and of the largest, as its upper end
WEIGHT_CLIPS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)  # shares of an output's largest weight that are tried
ACTIVATION_STEPS = 255
LEAST = 1e-6  # of a channel that is always 0


@dataclass(frozen=True)
class Site:
    """A tensor that weight matrices multiply, and how large it gets.

    Attributes:
        tensor: its name in the graph.
        peaks: (channels,) the largest absolute value of each channel.
        sample: (tokens, channels) some of its values.
    """

    tensor: str
    peaks: Floats
    sample: Floats


class Parts:
    """A graph's products with weight matrices, by the tensor that is multiplied, and its initializers by name."""

    def __init__(self, model: onnx.ModelProto, keep_fp32: Sequence[str] = ()) -> None:
        self.graph = model.graph
        self.initializers = {tensor.name: tensor for tensor in self.graph.initializer}
        self.products: dict[str, list[onnx.NodeProto]] = {}
        for node in self.graph.node:
            kept = any(fnmatch(node.name, pattern) for pattern in keep_fp32)
            if node.op_type == "MatMul" and not kept and len(self.dims(node.input[1])) == 2:
                self.products.setdefault(node.input[0], []).append(node)

    def dims(self, name: str) -> list[int]:
        """The shape of an initializer; [] for what is none."""
        return list(self.initializers[name].dims) if name in self.initializers else []

    def weight(self, node: onnx.NodeProto) -> Floats:
        """(inputs, outputs) the matrix of a product."""
        return numpy_helper.to_array(self.initializers[node.input[1]])

    def add(self, name: str, values: NDArray[np.generic]) -> str:
        """A new initializer; returns its name."""
        self.graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    def insert(self, before: Mapping[int, Sequence[onnx.NodeProto]]) -> None:
        """Puts nodes in front of those at the given places."""
        nodes = list(self.graph.node)
        del self.graph.node[:]
        for place, node in enumerate(nodes):
            self.graph.node.extend([*before.get(place, ()), node])

    def sweep(self) -> None:
        """Removes the initializers that no node reads any more."""
        read = {name for node in self.graph.node for name in node.input}
        kept = [tensor for tensor in self.graph.initializer if tensor.name in read]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)


def observe(model: onnx.ModelProto, batches: Iterable[Features]) -> list[Site]:
    """Runs the graph and looks at every tensor that a weight matrix multiplies.

    Args:
        model: the fp32 graph.
        batches: inputs without padding, which would count like tokens.
    """
    names = list(Parts(model).products)
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    peaks: dict[str, Floats] = {}
    rows: dict[str, list[Floats]] = {name: [] for name in names}
    for features in batches:
        for name, values in zip(names, session.run(names, features), strict=True):
            tokens = values.reshape(-1, values.shape[-1])
            peaks[name] = np.maximum(peaks.get(name, LEAST), np.abs(tokens).max(axis=0))
            rows[name].append(tokens)
    return [Site(name, peaks[name], _thinned(np.concatenate(rows[name]))) for name in names]


def _thinned(tokens: Floats) -> Floats:
    return tokens[:: -(-len(tokens) // SAMPLED)]


def smooth(model: onnx.ModelProto, sites: Sequence[Site], strength: float) -> tuple[onnx.ModelProto, list[Site]]:
    """Divides each channel by a factor and multiplies the weights that read it by the same: fp32 stays as it is.

    The factor is peak ** strength / largest weight ** (1 - strength), times a number that makes their geometric mean 1.
    """
    smoothed = onnx.ModelProto()
    smoothed.CopyFrom(model)
    parts = Parts(smoothed)
    before: dict[int, list[onnx.NodeProto]] = {}
    found = []
    for site in sites:
        products = parts.products[site.tensor]
        weights = {node.input[1]: parts.weight(node) for node in products}
        largest = np.maximum(np.max([np.abs(weight).max(axis=1) for weight in weights.values()], axis=0), LEAST)
        factors = site.peaks**strength / largest ** (1 - strength)
        factors = (factors / np.exp(np.log(factors).mean())).astype(np.float32)
        for name, weight in weights.items():
            parts.initializers[name].CopyFrom(numpy_helper.from_array(weight * factors[:, None], name))
        inverse = parts.add(f"{site.tensor}_smoothing", 1 / factors)
        scale = helper.make_node("Mul", [site.tensor, inverse], [f"{site.tensor}_smooth"], f"{site.tensor}/smooth")
        before[min(list(parts.graph.node).index(node) for node in products)] = [scale]
        for node in products:
            node.input[0] = scale.output[0]
        found.append(Site(scale.output[0], site.peaks / factors, site.sample / factors))
    parts.insert(before)
    return smoothed, found


def quantise(model: onnx.ModelProto, sites: Sequence[Site], bits: int) -> onnx.ModelProto:
    """Replaces the products with integer ones, and embedding tables by int8 tables with a scale per row.

    Args:
        model: the fp32 graph, smoothed or not.
        sites: what is multiplied; a product whose tensor is not among them stays in fp32.
        bits: of weights, 8 or 7. CPUs without VNNI add pairs of products in 16 bits, which 8 bits overflow.
    """
    quantised = onnx.ModelProto()
    quantised.CopyFrom(model)
    parts = Parts(quantised)
    before: dict[int, list[onnx.NodeProto]] = {}
    places = {node.name: place for place, node in enumerate(parts.graph.node)}
    for site in sites:
        products = parts.products[site.tensor]
        first = min(places[node.name] for node in products)
        rounded, scale_and_zero = _rounded_activation(parts, site, products)
        before.setdefault(first, []).append(rounded)
        for node in products:
            before.setdefault(places[node.name], []).extend(_integer_product(parts, node, rounded, scale_and_zero, bits))
    for node in [n for n in parts.graph.node if n.op_type == "Gather"]:
        if len(parts.dims(node.input[0])) == 2:
            before.setdefault(places[node.name] + 1, []).extend(_integer_table(parts, node))
    parts.insert(before)
    parts.sweep()
    return quantised


def _rounded_activation(
    parts: Parts, site: Site, products: Sequence[onnx.NodeProto]
) -> tuple[onnx.NodeProto, list[str]]:
    importance = np.sum([np.square(parts.weight(node)).sum(axis=1) for node in products], axis=0)
    low, high = best_range(site.sample, importance)
    scale = np.float32((high - low) / ACTIVATION_STEPS)
    names = [
        parts.add(f"{site.tensor}_scale", np.array(scale)),
        parts.add(f"{site.tensor}_zero_point", np.array(round(-low / scale), dtype=np.uint8)),
    ]
    node = helper.make_node("QuantizeLinear", [site.tensor, *names], [f"{site.tensor}_u8"], f"{site.tensor}/quantise")
    return node, names


def _integer_product(
    parts: Parts, node: onnx.NodeProto, rounded: onnx.NodeProto, scale_and_zero: list[str], bits: int
) -> list[onnx.NodeProto]:
    name = node.input[1]
    values, scales = round_weight(parts.weight(node), bits)
    weight = [
        parts.add(f"{node.name}_int8", values),
        parts.add(f"{node.name}_scale", scales),
        parts.add(f"{node.name}_zero_point", np.zeros(len(scales), dtype=np.int8)),
    ]
    outputs = [f"{node.name}_input", f"{name}_{node.name}"]
    node.input[:] = outputs
    return [
        # one for each product, though some read the same tensor: what runtimes fuse reads nobody else's output
        helper.make_node("DequantizeLinear", [rounded.output[0], *scale_and_zero], outputs[:1], f"{node.name}/input"),
        helper.make_node("DequantizeLinear", weight, outputs[1:], f"{node.name}/weight", axis=1),
    ]


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


def best_range(sample: Floats, importance: Floats) -> tuple[float, float]:
    """The range around 0 that rounds a tensor to 8 bits with the least squared error of what is computed from it.

    Args:
        sample: (tokens, channels) values of the tensor.
        importance: (channels,) what an error in a channel weighs: the squares of the weights that read it, added up.
    """
    least, most = min(float(sample.min()), 0.0), max(float(sample.max()), LEAST)
    ranges = ((least * low, most * high) for low in LOWS for high in HIGHS)
    return min(ranges, key=lambda ends: float((np.square(_rounded(sample, *ends) - sample).sum(axis=0) @ importance)))


def _rounded(values: Floats, low: float, high: float) -> Floats:
    scale = np.float32((high - low) / ACTIVATION_STEPS)
    zero_point = np.float32(round(-low / scale))
    return (np.clip(np.rint(values / scale) + zero_point, 0, ACTIVATION_STEPS) - zero_point) * scale


def round_weight(weight: Floats, bits: int) -> tuple[NDArray[np.int8], Floats]:
    """A matrix (inputs, outputs) in integers of so many bits, and its scale per output, (outputs,).

    Of several clips of each output's largest weight the one with the least squared error is taken.
    """
    steps = 2 ** (bits - 1) - 1
    largest = np.maximum(np.abs(weight).max(axis=0), LEAST)
    tried = np.stack([largest * np.float32(clip / steps) for clip in WEIGHT_CLIPS])
    errors = [np.square(np.clip(np.rint(weight / s), -steps, steps) * s - weight).sum(axis=0) for s in tried]
    scales = np.take_along_axis(tried, np.argmin(errors, axis=0)[None], axis=0)[0]
    return np.clip(np.rint(weight / scales), -steps, steps).astype(np.int8), scales
