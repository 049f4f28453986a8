"""The query adapter as numbers and as an ONNX graph: a residual map of an embedding, then its length 1 again."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attune.runtime.arrays import Float32

if TYPE_CHECKING:
    import onnx

Array = NDArray[Any]

LEAST_LENGTH = 1e-12  # an embedding of zeros stays one


@dataclass(frozen=True)
class QueryMap:
    """A map of query embeddings: x @ matrix, or x + relu(x @ down + bias) @ up, divided by its length.

    Attributes:
        matrix: (dim, dim), the identity plus what was learned; None with a hidden layer. Both None: the identity.
        hidden: down (dim, n), bias (n) and up (n, dim) of a hidden layer.
    """

    matrix: Float32 | None = None
    hidden: tuple[Float32, Float32, Float32] | None = None

    @property
    def is_identity(self) -> bool:
        """True where embeddings stay as they are, to the bit."""
        return self.matrix is None and self.hidden is None

    def __call__(self, embeddings: Float32) -> Float32:
        """Maps embeddings, (n, dim) and of length 1, to others of the same shape and length."""
        if self.matrix is not None:
            mapped = embeddings @ self.matrix
        elif self.hidden is not None:
            down, bias, up = self.hidden
            mapped = embeddings + np.maximum(embeddings @ down + bias, 0) @ up
        else:
            return embeddings
        adapted: Float32 = mapped / np.maximum(np.linalg.norm(mapped, axis=1, keepdims=True), np.float32(LEAST_LENGTH))
        return adapted

    def graph(self, dim: int, opset: int) -> "onnx.ModelProto":
        """Returns the ONNX graph from `embedding` (n, dim) to `adapted_embedding` (n, dim)."""
        import onnx  # noqa: PLC0415 - a quarter of a second with onnxruntime, and only what ships is written as a graph
        from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415 - likewise

        from attune.runtime.adapter import INPUT, OUTPUT  # noqa: PLC0415 - likewise

        nodes, arrays = self._map()
        if arrays:
            arrays |= {"axes": np.array([1], dtype=np.int64), "least": np.array(LEAST_LENGTH, dtype=np.float32)}
            nodes += [
                helper.make_node("ReduceL2", ["mapped", "axes"], ["length"], keepdims=1),
                helper.make_node("Max", ["length", "least"], ["divisor"]),
                helper.make_node("Div", ["mapped", "divisor"], [OUTPUT]),
            ]
        sides = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", dim])] for name in (INPUT, OUTPUT)]
        weights = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
        graph = helper.make_graph(nodes, "query_adapter", *sides, initializer=weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="attune")
        model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import)
        onnx.checker.check_model(model)
        return model

    def _map(self) -> "tuple[list[onnx.NodeProto], dict[str, Array]]":
        """Returns the nodes up to `mapped` and their arrays; one that copies, without arrays, for the identity."""
        from onnx import helper  # noqa: PLC0415 - as in graph

        from attune.runtime.adapter import INPUT, OUTPUT  # noqa: PLC0415 - as in graph

        if self.matrix is not None:
            return [helper.make_node("MatMul", [INPUT, "matrix"], ["mapped"])], {"matrix": self.matrix}
        if self.hidden is None:
            return [helper.make_node("Identity", [INPUT], [OUTPUT])], {}
        nodes = [
            helper.make_node("Gemm", [INPUT, "down", "bias"], ["hidden"]),
            helper.make_node("Relu", ["hidden"], ["rectified"]),
            helper.make_node("MatMul", ["rectified", "up"], ["change"]),
            helper.make_node("Add", [INPUT, "change"], ["mapped"]),
        ]
        return nodes, dict(zip(("down", "bias", "up"), self.hidden, strict=True))
