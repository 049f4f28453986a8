"""A graph's products with weight matrices: found, changed, and joined by other nodes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

Floats = NDArray[np.float32]


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
        matrix: Floats = numpy_helper.to_array(self.initializers[node.input[1]])
        return matrix

    def add(self, name: str, values: NDArray[np.generic]) -> str:
        """A new initializer; returns its name."""
        self.graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    def take_bias(self, node: onnx.NodeProto) -> list[str]:
        """Removes the addition of a vector behind a product, if there is one; returns its name, for the product."""
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
        """Puts nodes in front of and behind those of the given names."""
        nodes = list(self.graph.node)
        del self.graph.node[:]
        for node in nodes:
            self.graph.node.extend([*before.get(node.name, ()), node, *after.get(node.name, ())])

    def sweep(self) -> None:
        """Removes the initializers that no node reads any more."""
        read = {name for node in self.graph.node for name in node.input}
        kept = [tensor for tensor in self.graph.initializer if tensor.name in read]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)
