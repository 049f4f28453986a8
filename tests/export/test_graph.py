"""The graph equals the encoder, keeps the contract that consumers read, and holds no trace of its machine."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import build_tiny_encoder
from export_inputs import TEXTS
from onnx import numpy_helper

from attune.encoding.encoders import load_torch
from attune.export.graph import export_graph, strip_metadata
from attune.export.modules import describe

pytestmark = pytest.mark.usefixtures("torchlib_is_read_once")


@pytest.fixture(scope="module")
def truth(tiny_encoder: Path) -> Any:
    return load_torch(tiny_encoder).encode(TEXTS, batch_size=1)


def run_graph(path: Path, encoder: Any, texts: list[str]) -> list[Any]:
    """Returns all outputs of a graph for one padded batch, tokenised by transformers."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    features = encoder.tokenizer(texts, padding=True, truncation=True, return_tensors="np")
    return session.run(None, {node.name: features[node.name] for node in session.get_inputs()})


def test_metadata_is_stripped_from_every_part_of_a_graph() -> None:
    """A path planted in each kind of part is gone, and the node keeps the name of its module."""
    secret = "/home/someone/checkout/file.py"
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"], name="node_1")
    function = onnx.helper.make_function("own", "f", ["x"], ["y"], [node], [onnx.helper.make_opsetid("", 18)])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    weight = numpy_helper.from_array(np.ones(1, dtype=np.float32), "w")
    graph = onnx.helper.make_graph([node], "main", [value], [out], [weight], value_info=[value])
    model = onnx.helper.make_model(graph, functions=[function])
    graph, function = model.graph, model.functions[0]
    lists = (graph.node, graph.initializer, graph.value_info, graph.input, graph.output, function.node)
    for part in (model, graph, function, *(part for parts in lists for part in parts)):
        part.doc_string = secret
        part.metadata_props.add(key="pkg.torch.onnx.stack_trace", value=secret)
    graph.node[0].metadata_props.add(key="pkg.torch.onnx.name_scopes", value="['', 'encoder.0.dense', 'linear_1']")
    assert model.SerializeToString().count(secret.encode()) == 18
    assert secret.encode() not in strip_metadata(model).SerializeToString()
    assert model.graph.node[0].name == "encoder.0.dense/node_1"


def test_inputs_and_outputs_have_the_names_and_order_of_the_contract(tiny_onnx: Path) -> None:
    """int64 inputs of named dynamic axes; tokens first, sentence second; static dim; weights in the same file."""
    for name in ("model.onnx", "model_quantized.onnx"):
        model = onnx.load(tiny_onnx / "onnx" / name, load_external_data=False)
        onnx.checker.check_model(model)
        ends = [*model.graph.input, *model.graph.output]
        assert {
            end.name: [axis.dim_param or axis.dim_value for axis in end.type.tensor_type.shape.dim] for end in ends
        } == {
            "input_ids": ["batch_size", "sequence_length"],
            "attention_mask": ["batch_size", "sequence_length"],
            "token_type_ids": ["batch_size", "sequence_length"],
            "last_hidden_state": ["batch_size", "sequence_length", 32],
            "sentence_embedding": ["batch_size", 32],
        }  # dicts compare without order
        assert [end.name for end in model.graph.output] == ["last_hidden_state", "sentence_embedding"]
        int64, float32 = onnx.TensorProto.INT64, onnx.TensorProto.FLOAT
        assert [end.type.tensor_type.elem_type for end in ends] == [int64] * 3 + [float32] * 2
        assert not any(weight.external_data for weight in model.graph.initializer)
    assert {path.name for path in (tiny_onnx / "onnx").iterdir()} == {"model.onnx", "model_quantized.onnx"}


@pytest.mark.parametrize("pooling", ["cls", "lasttoken"])
def test_cls_and_last_token_pooling_equal_the_encoder_s(pooling: str, tmp_path: Path) -> None:
    """In a batch with padding, the graph gives the vectors of the encoder's own modules."""
    encoder = load_torch(build_tiny_encoder(tmp_path, pooling))
    expected = encoder.encode(TEXTS, batch_size=1)
    export_graph(encoder, tmp_path / "model.onnx", 18)
    np.testing.assert_allclose(run_graph(tmp_path / "model.onnx", encoder, TEXTS)[1], expected, atol=1e-6)
    assert describe(encoder, tmp_path).pooling == pooling


def test_token_types_are_an_input_only_where_the_encoder_has_them(tmp_path: Path) -> None:
    """DistilBERT has none, though its tokenizer offers them; the graph normalises also without Normalize."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertTokenizer, DistilBertConfig, DistilBertModel

    tiny = build_tiny_encoder(tmp_path / "bert")
    config = DistilBertConfig(vocab_size=600, dim=32, n_layers=1, n_heads=2, hidden_dim=64, max_position_embeddings=64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        DistilBertModel(config).save_pretrained(tmp_path / "distil")
    BertTokenizer.from_pretrained(tiny).save_pretrained(tmp_path / "distil")
    encoder = SentenceTransformer(modules=[Transformer(str(tmp_path / "distil")), Pooling(32)], device="cpu")
    expected = encoder.encode(TEXTS, batch_size=1, normalize_embeddings=True)
    export_graph(encoder, tmp_path / "model.onnx", 18)
    inputs = [node.name for node in onnx.load(tmp_path / "model.onnx").graph.input]
    assert inputs == ["input_ids", "attention_mask"]
    np.testing.assert_allclose(run_graph(tmp_path / "model.onnx", encoder, TEXTS)[1], expected, atol=1e-6)
