"""int8: smoothing keeps fp32 results, rounding is as computed by hand, and batches do not change embeddings."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import export_tiny, saturates_int8
from export_inputs import TEXTS
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from attune.encoding.encoders import load_torch
from attune.export.graph import export_graph
from attune.export.int8.calibration import single_texts
from attune.export.int8.matmuls import Activation
from attune.export.int8.quantise import Scheme, quantise, to_int8
from attune.export.int8.ranges import best_range, round_weight
from attune.export.int8.smooth import observe, smooth
from attune.runtime import Embedder

WEIGHT = np.array([[1, -2], [0.5, 0.25]], dtype=np.float32)
BIAS = np.array([0.5, -1], dtype=np.float32)


def linear() -> onnx.ModelProto:
    """Returns y = x @ WEIGHT + BIAS as a graph, for x of (batch, tokens, 2)."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"], "dense"),
        helper.make_node("Add", ["product", "b"], ["y"], "bias"),
    ]
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["b", "t", 2]) for name in ("x", "y")]
    weights = [numpy_helper.from_array(WEIGHT, "w"), numpy_helper.from_array(BIAS, "b")]
    graph = helper.make_graph(nodes, "linear", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def run(model: onnx.ModelProto, x: NDArray[np.float32]) -> Any:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.fixture
def x() -> NDArray[np.float32]:
    """Inputs whose second channel is a hundred times the first."""
    return np.array([[[0.5, 100], [-1, 50], [0.25, -25]]], dtype=np.float32)


def test_a_product_with_its_sum_in_one_node_is_quantised_like_two() -> None:
    """Gemm, as of GPT-2's layers: the same integers as of MatMul and Add; one of a transposed weight stays."""
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["b", 2]) for name in ("x", "y")]
    weights = [numpy_helper.from_array(WEIGHT, "w"), numpy_helper.from_array(BIAS, "b")]

    def quantised(*nodes: onnx.NodeProto) -> onnx.ModelProto:
        graph = helper.make_graph(nodes, "linear", ends[:1], ends[1:], weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        return to_int8(model, [{"x": rows}], Scheme(0.5, [], [], True))

    rows = np.array([[0.5, 100], [-1, 50], [0.25, -25]], dtype=np.float32)
    whole = quantised(helper.make_node("Gemm", ["x", "w", "b"], ["y"], "dense"))
    parts = [helper.make_node("MatMul", ["x", "w"], ["p"], "dense"), helper.make_node("Add", ["p", "b"], ["y"], "bias")]
    assert "MatMulIntegerToFloat" in {node.op_type for node in whole.graph.node}
    np.testing.assert_array_equal(run(whole, rows), run(quantised(*parts), rows))
    np.testing.assert_allclose(run(whole, rows), rows @ WEIGHT + BIAS, atol=2)
    turned = quantised(helper.make_node("Gemm", ["x", "w", "b"], ["y"], "dense", transB=1))
    assert [node.op_type for node in turned.graph.node] == ["Gemm"]
    np.testing.assert_allclose(run(turned, rows), rows @ WEIGHT.T + BIAS, rtol=1e-6)


def test_a_graph_that_is_kept_whole_stays_in_fp32(x: NDArray[np.float32]) -> None:
    """int8_keep_fp32 of ['*']: no product is left to observe."""
    kept = to_int8(linear(), [{"x": x}], Scheme(0.5, [], ["*"], False))
    assert [node.op_type for node in kept.graph.node] == ["MatMul", "Add"]
    np.testing.assert_array_equal(run(kept, x), run(linear(), x))


def test_smoothing_by_hand(x: NDArray[np.float32]) -> None:
    """Peaks (1, 100), largest weights (2, .5): at 0.5 sqrt(1/2), sqrt(200), over their mean sqrt(10)."""
    sites = observe(linear(), [{"x": x}])
    assert [site.tensor for site in sites] == ["x"]
    np.testing.assert_array_equal(sites[0].peaks, [1, 100])
    model, smoothed = smooth(linear(), sites, 0.5)
    factors = np.array([np.sqrt(0.5), np.sqrt(200)]) / np.sqrt(10)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    np.testing.assert_allclose(weights["w"], WEIGHT * factors[:, None], rtol=1e-6)
    np.testing.assert_allclose(smoothed[0].peaks, [1 / factors[0], 100 / factors[1]], rtol=1e-6)
    np.testing.assert_allclose(run(model, x), x @ WEIGHT + BIAS, rtol=1e-6)


def test_smoothing_keeps_small_channels_in_integer_products(x: NDArray[np.float32]) -> None:
    """One range rounds the small channel to 0; smoothing halves the error at least. 7 bits, which saturate nowhere."""
    truth = x @ WEIGHT + BIAS
    sites = observe(linear(), [{"x": x}])
    plain = np.abs(run(quantise(linear(), sites, 7), x) - truth).max()
    smoothed = np.abs(run(quantise(*smooth(linear(), sites, 0.5), 7), x) - truth).max()
    assert smoothed < 0.5 * plain


def test_integer_products_by_hand() -> None:
    """A range of 0..255 in steps of 1 and weights of 127 steps lose nothing; the bias is part of the product."""
    x = np.array([[[0, 255], [3, 7]]], dtype=np.float32)
    model = quantise(linear(), [Activation("x", x[0].max(axis=0), x[0])], 8)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds == ["QuantizeLinear", "MatMulIntegerToFloat"]
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    np.testing.assert_array_equal(stored["dense_int8"], [[127, -127], [64, 16]])
    np.testing.assert_allclose(stored["dense_scale"], [1 / 127, 2 / 127], rtol=1e-6)
    expected = x @ (stored["dense_int8"] * stored["dense_scale"]) + BIAS
    np.testing.assert_allclose(run(model, x), expected, rtol=1e-5)


@pytest.mark.parametrize(("bits", "largest"), [(8, 127), (7, 63)])
def test_weights_use_their_bits_and_each_output_its_own_scale(bits: int, largest: int) -> None:
    """An output a thousand times smaller than its neighbour is rounded as finely."""
    weight = np.linspace(-1, 1, 1000, dtype=np.float32)[:, None] * np.array([1, 0.001], dtype=np.float32)
    values, scales = round_weight(weight, bits)
    assert np.abs(values).max() == largest
    np.testing.assert_allclose(scales[1] / scales[0], 0.001, rtol=1e-4)
    assert np.abs(values * scales - weight).max(axis=0) == pytest.approx(scales / 2, rel=0.05)


def test_a_range_clips_an_outlier_only_in_unread_channels() -> None:
    """The lone 100 in a channel that no weight reads is clipped, and kept when the weights read it."""
    sample = np.tile(np.linspace(-1, 1, 500, dtype=np.float32)[:, None], 2)
    sample[0, 1] = 100
    assert best_range(sample, np.array([1, 0], dtype=np.float32))[1] == pytest.approx(20)
    assert best_range(sample, np.array([0, 1], dtype=np.float32))[1] == pytest.approx(100)


def test_int8_is_small_near_to_fp32_and_independent_of_its_batch(
    tiny_onnx: Path, tiny_encoder: Path, train_tables: dict[str, Path], tmp_path: Path
) -> None:
    """Every weight matrix and table is int8; a text alone and among others gets the same embedding.

    On a CPU whose 8-bit products saturate, the 7-bit weights are tested that are meant for it.
    """
    truth = load_torch(tiny_encoder).encode(TEXTS, batch_size=1)
    if saturates_int8():
        tiny_onnx = export_tiny(tiny_encoder, tmp_path / "onnx", train_tables, int8_reduce_range=True)
    fp32, int8 = tiny_onnx / "onnx" / "model.onnx", tiny_onnx / "onnx" / "model_quantized.onnx"
    assert int8.stat().st_size < 0.5 * fp32.stat().st_size
    graph = onnx.load(int8).graph
    large = {tensor.name: tensor.data_type for tensor in graph.initializer if np.prod(tensor.dims) >= 32 * 32}
    assert set(large.values()) <= {onnx.TensorProto.INT8, onnx.TensorProto.INT64}
    assert sum(node.op_type == "MatMulIntegerToFloat" for node in graph.node) == 12
    embedder = Embedder(tiny_onnx, "onnx/model_quantized.onnx")
    together = embedder.encode(TEXTS)
    cosines = (together * truth).sum(axis=1)
    assert 0.98 < cosines.min() < 0.9999999  # the least is of a text unlike the four that it was calibrated with
    np.testing.assert_allclose(embedder.encode(TEXTS, batch_size=1), together, atol=2e-6)


def test_patterns_select_fp32_and_unsmoothed_products(tiny_onnx: Path) -> None:
    """Patterns match the module's path in node names; a second conversion gives the same bytes."""
    model = onnx.load(tiny_onnx / "onnx" / "model.onnx")
    batch = {name: np.ones((1, 6), dtype=np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
    kept = to_int8(model, [batch], Scheme(0.5, ["*intermediate*"], ["*[0-9].output.dense/*"], False))
    names = [node.name for node in kept.graph.node if node.op_type == "MatMul"]
    assert sum("output.dense" in name for name in names) == 2
    assert sum(node.name.endswith("/smooth") for node in kept.graph.node) == 4  # of 2 layers: qkv, attention's output
    again = to_int8(model, [batch], Scheme(0.5, ["*intermediate*"], ["*[0-9].output.dense/*"], False))
    assert kept.SerializeToString() == again.SerializeToString()


def test_layers_that_share_a_weight_share_its_integers() -> None:
    """Two products and two lookups that read one initializer each, as in ALBERT: it is rounded and stored once."""
    nodes = [
        helper.make_node("Gather", ["w", "i"], ["e"], "first table"),
        helper.make_node("Tanh", ["e"], ["x"], "before"),
        helper.make_node("MatMul", ["x", "w"], ["p"], "first"),
        helper.make_node("Tanh", ["p"], ["t"], "tanh"),
        helper.make_node("MatMul", ["t", "w"], ["q"], "second"),
        helper.make_node("Gather", ["w", "i"], ["z"], "second table"),
        helper.make_node("Add", ["q", "z"], ["y"], "sum"),
    ]
    ends = [
        helper.make_tensor_value_info("i", onnx.TensorProto.INT64, ["b"]),
        helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["b", 2]),
    ]
    graph = helper.make_graph(nodes, "shared", ends[:1], ends[1:], [numpy_helper.from_array(WEIGHT, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    ids = np.array([0, 1])
    int8 = to_int8(model, [{"i": ids}], Scheme(0.5, [], [], True))
    stored = [(t.name, t.data_type) for t in int8.graph.initializer if list(t.dims) == [2, 2]]
    assert stored == [("first_int8", onnx.TensorProto.INT8), ("w_int8", onnx.TensorProto.INT8)]
    session = onnxruntime.InferenceSession(int8.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = np.tanh(np.tanh(WEIGHT) @ WEIGHT) @ WEIGHT + WEIGHT
    np.testing.assert_allclose(session.run(None, {"i": ids})[0], expected, atol=0.1)


def test_the_int8_file_of_layers_that_share_their_weights_is_a_third_at_most(tmp_path: Path) -> None:
    """ALBERT with four layers of one set of weights: unshared, the int8 file would have that of fp32."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from tiny_encoders import wordpiece
    from transformers import AlbertConfig, AlbertModel

    with torch.random.fork_rng():
        torch.manual_seed(3)
        shape = {"hidden_size": 192, "embedding_size": 32, "num_attention_heads": 2, "intermediate_size": 768}
        size = wordpiece(tmp_path / "bare")
        AlbertModel(AlbertConfig(vocab_size=size, num_hidden_layers=4, **shape)).save_pretrained(tmp_path / "bare")
    encoder = SentenceTransformer(modules=[Transformer(str(tmp_path / "bare")), Pooling(192, "mean")], device="cpu")
    export_graph(encoder.eval(), tmp_path / "fp32.onnx", 18)
    fp32 = onnx.load(tmp_path / "fp32.onnx")
    onnx.save(to_int8(fp32, single_texts(encoder, TEXTS[:1], fp32), Scheme(0.5, [], [], True)), tmp_path / "int8.onnx")
    sizes = [(tmp_path / f"{name}.onnx").stat().st_size for name in ("int8", "fp32")]
    assert sizes[0] / sizes[1] < 0.34
