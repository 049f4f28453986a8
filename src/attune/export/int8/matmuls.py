"""Matrix products with weights in an ONNX graph: lookup, editing, and insertion of nodes around them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from attune.runtime.arrays import Float32


@dataclass(frozen=True)
class Activation:
    """An input of products with weights, and the size of its values.

    Attributes:
        tensor: name in the graph.
        peaks: (channels,) largest absolute value of each channel.
        sample: (tokens, channels) sample of its values.
    """

    tensor: str
    peaks: Float32
    sample: Float32


class GraphEditor:
    """Edits a graph in place.

    Attributes:
        graph: the edited graph.
        initializers: by name.
        products: matrix products with 2-d weights, by the name of the tensor that they multiply, without the nodes
            whose name matches a pattern (fnmatch) of `keep_fp32`.
    """

    def __init__(self, model: onnx.ModelProto, keep_fp32: Sequence[str] = ()) -> None:
        self.graph = model.graph
        self.initializers = {tensor.name: tensor for tensor in self.graph.initializer}
        self.products: dict[str, list[onnx.NodeProto]] = {}
        for node in self.graph.node:
            kept = any(fnmatch(node.name, pattern) for pattern in keep_fp32)
            if node.op_type == "MatMul" and not kept and len(self.dims(node.input[1])) == 2:
                self.products.setdefault(node.input[0], []).append(node)

    def dims(self, name: str) -> list[int]:
        """Returns the shape of an initializer, [] for any other tensor."""
        return list(self.initializers[name].dims) if name in self.initializers else []

    def weight(self, node: onnx.NodeProto) -> Float32:
        """Returns the weight matrix of a product, (inputs, outputs)."""
        matrix: Float32 = numpy_helper.to_array(self.initializers[node.input[1]])
        return matrix

    def add(self, name: str, values: NDArray[np.generic]) -> str:
        """Adds an initializer; returns its name."""
        self.graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    def take_bias(self, node: onnx.NodeProto) -> list[str]:
        """Removes the bias addition after a product, if there is one; returns the bias's name in a list, else []."""
        readers = [reader for reader in self.graph.node if node.output[0] in reader.input]
        if len(readers) != 1 or readers[0].op_type != "Add":
            return []
        bias = [name for name in readers[0].input if self.dims(name) == self.dims(node.input[1])[1:]]
        if bias:
            node.output[0] = readers[0].output[0]
            self.graph.node.remove(readers[0])
        return bias

    def insert(
        self, before: Mapping[str, Sequence[onnx.NodeProto]], after: Mapping[str, Sequence[onnx.NodeProto]]
    ) -> None:
        """Inserts nodes before and after the nodes of the given names."""
        nodes = list(self.graph.node)
        del self.graph.node[:]
        for node in nodes:
            self.graph.node.extend([*before.get(node.name, ()), node, *after.get(node.name, ())])

    def sweep(self) -> None:
        """Removes the initializers that no node reads."""
        read = {name for node in self.graph.node for name in node.input}
        kept = [tensor for tensor in self.graph.initializer if tensor.name in read]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)


def split_gemms(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copies a graph with each x * weight + bias in one node (Gemm, as of GPT-2's layers) as a product and a sum."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    shapes = {tensor.name: len(tensor.dims) for tensor in copied.graph.initializer}
    nodes = list(copied.graph.node)
    del copied.graph.node[:]
    for node in nodes:
        settings = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        is_plain = not settings.get("transA") and not settings.get("transB") and settings.get("alpha", 1) == 1
        is_plain = is_plain and settings.get("beta", 1) == 1 and [shapes.get(name) for name in node.input[1:]] == [2, 1]
        if node.op_type == "Gemm" and is_plain:
            product = f"{node.output[0]}_product"
            parts = [helper.make_node("MatMul", node.input[:2], [product], node.name)]
            parts.append(helper.make_node("Add", [product, node.input[2]], node.output[:], f"{node.name}/bias"))
        else:
            parts = [node]
        copied.graph.node.extend(parts)
    return copied
