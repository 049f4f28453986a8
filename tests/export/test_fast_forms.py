"""Rewrites of the graph keep its result and give onnxruntime's faster operators."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from scipy.special import erf

from attune.export.graph import reorder_gelu, separate_layer_norms


def exported_gelu(half: float = 0.5) -> onnx.ModelProto:
    """Returns LayerNormalization(x + x), then x * (half * (1 + erf(x / sqrt 2))), as torch exports them."""
    nodes = [
        helper.make_node("Add", ["x", "x"], ["sum"], "add"),
        helper.make_node("LayerNormalization", ["sum", "ones"], ["norm"], "norm"),
        helper.make_node("Div", ["norm", "root"], ["divided"], "divide"),
        helper.make_node("Erf", ["divided"], ["erf"], "erf"),
        helper.make_node("Add", ["erf", "one"], ["raised"], "raise"),
        helper.make_node("Mul", ["half", "raised"], ["halved"], "halve"),
        helper.make_node("Mul", ["norm", "halved"], ["y"], "gelu"),
    ]
    values = {"ones": np.ones(4), "root": np.sqrt(2), "one": 1.0, "half": half}
    weights = [numpy_helper.from_array(np.array(value, dtype=np.float32), name) for name, value in values.items()]
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["b", "t", 4]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "gelu", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def fused(model: onnx.ModelProto, folder: Path) -> set[str]:
    """Returns the operators of the graph after onnxruntime's own optimisation."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return {node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node}


def test_gelu_is_fused_and_layer_norm_is_not(tmp_path: Path) -> None:
    """As exported, GELU stays five operators and the sum joins SkipLayerNormalization; values stay the same."""
    assert {"Erf", "SkipLayerNormalization"} <= fused(exported_gelu(), tmp_path)
    model = exported_gelu()
    assert (reorder_gelu(model), separate_layer_norms(model)) == (1, 1)
    assert fused(model, tmp_path) == {"Add", "Reshape", "LayerNormalization", "Gelu"}
    x = np.arange(8, dtype=np.float32).reshape(1, 2, 4) ** 2
    norm = (x - x.mean(axis=2, keepdims=True)) / x.std(axis=2, keepdims=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = norm * (1 + erf(norm / np.sqrt(2))) / 2
    np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, atol=1e-5)


@pytest.mark.parametrize("half", [0.25, 1.0])
def test_other_factors_than_gelu_s_are_left_alone(half: float) -> None:
    """Another factor is another function."""
    model = exported_gelu(half)
    assert reorder_gelu(model) == 0
    assert model == exported_gelu(half)
