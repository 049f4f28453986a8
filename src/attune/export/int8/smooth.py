"""Activations observed on texts, and part of their range moved into the weights that multiply them.

The method is SmoothQuant (Xiao et al. 2023, arXiv:2211.10438): one range for a tensor rounds small channels to nothing
where a few are far larger, while weights have a scale per output and can take a part of the difference.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from attune.export.int8.matmuls import Floats, Parts, Site
from attune.export.int8.ranges import LEAST

Features = Mapping[str, NDArray[np.int64]]  # what one run of the graph takes

SAMPLED = 1024  # tokens at most that stand for all when a range is chosen


def observe(model: onnx.ModelProto, batches: Iterable[Features], keep_fp32: Sequence[str] = ()) -> list[Site]:
    """Runs the graph and looks at every tensor that a weight matrix multiplies.

    Args:
        model: the fp32 graph.
        batches: inputs without padding, which would count like tokens.
    """
    names = list(Parts(model, keep_fp32).products)
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the same sums on every machine
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
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
    all_read = [node.input[1] for products in parts.products.values() for node in products]
    before: dict[str, list[onnx.NodeProto]] = {}
    found = []
    for site in sites:
        products = parts.products[site.tensor]
        if any(all_read.count(node.input[1]) > 1 for node in products):  # layers that share weights share one range
            found.append(site)
            continue
        weights = {node.input[1]: parts.weight(node) for node in products}
        largest = np.maximum(np.max([np.abs(weight).max(axis=1) for weight in weights.values()], axis=0), LEAST)
        factors = site.peaks**strength / largest ** (1 - strength)
        factors = (factors / np.exp(np.log(factors).mean())).astype(np.float32)
        for name, weight in weights.items():
            parts.initializers[name].CopyFrom(numpy_helper.from_array(weight * factors[:, None], name))
        inverse = parts.add(f"{site.tensor}_smoothing", 1 / factors)
        scale = helper.make_node("Mul", [site.tensor, inverse], [f"{site.tensor}_smooth"], f"{site.tensor}/smooth")
        before[products[0].name] = [scale]
        for node in products:
            node.input[0] = scale.output[0]
        found.append(Site(scale.output[0], site.peaks / factors, site.sample / factors))
    parts.insert(before, {})
    return smoothed, found
