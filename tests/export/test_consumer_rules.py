"""The exported folder keeps the rules of consumers that cannot run here; a folder that breaks one is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from rules import RULES, Refused
from sentence_transformers import SentenceTransformer
from text_embeddings_inference import text_embeddings_inference

TEXTS = ["stack arrays in sequence vertically", "river", "stack river vertically " * 16, "Größe 日本", "", " "]
ALL = RULES | {"Text Embeddings Inference": text_embeddings_inference}


@pytest.fixture(scope="module")
def truth(tiny_encoder: Path) -> np.ndarray:
    """Torch's embeddings of the texts."""
    encoder = SentenceTransformer(str(tiny_encoder), device="cpu", local_files_only=True)
    return np.asarray(encoder.encode(TEXTS, batch_size=1))


@pytest.mark.parametrize("name", ALL)
def test_a_consumer_s_rules_give_the_vectors_of_torch(name: str, tiny_onnx: Path, truth: np.ndarray) -> None:
    """All consumers embed every text, except langchain4j, which fails on texts without a token."""
    found = ALL[name](tiny_onnx, TEXTS)
    missing = np.isnan(found).any(axis=1)
    assert missing.tolist() == [False] * 4 + [name == "langchain4j"] * 2
    assert np.abs(found - truth)[~missing].max() < 1e-5


def edit_json(path: Path, **changes: object) -> None:
    """Sets keys of a JSON file; None drops one."""
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def edit_graph(folder: Path, edit: Callable[[onnx.ModelProto], None]) -> None:
    path = folder / "onnx" / "model.onnx"
    model = onnx.load(path)
    edit(model)
    onnx.save(model, path)


def swap_outputs(model: onnx.ModelProto) -> None:
    first, second = [helper.make_tensor_value_info("", 1, None) for _ in range(2)]
    first.CopyFrom(model.graph.output[0])
    second.CopyFrom(model.graph.output[1])
    del model.graph.output[:]
    model.graph.output.extend([second, first])


def rename_tokens(model: onnx.ModelProto) -> None:
    """Names the first output as exporters do by default."""
    model.graph.node.append(helper.make_node("Identity", ["last_hidden_state"], ["output_0"]))
    model.graph.output[0].name = "output_0"


def swap_inputs(model: onnx.ModelProto) -> None:
    inputs = [helper.make_tensor_value_info("", 1, None) for _ in model.graph.input]
    for copy, original in zip(inputs, model.graph.input, strict=True):
        copy.CopyFrom(original)
    del model.graph.input[:]
    model.graph.input.extend([inputs[1], inputs[0], *inputs[2:]])


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("langchain4j", swap_outputs),
        ("OpenSearch ml-commons, pooling mean", swap_outputs),
        ("OpenSearch ml-commons, pooling none", swap_outputs),
        ("OpenSearch ml-commons, pooling mean", swap_inputs),
        ("Vespa hugging-face-embedder", rename_tokens),
        ("Spring AI", rename_tokens),
    ],
)
def test_a_graph_with_other_names_or_another_order_is_refused(
    name: str, edit: Callable[[onnx.ModelProto], None], onnx_copy: Path
) -> None:
    """Some consumers read outputs by name, some by place, so no other names or order suit all."""
    edit_graph(onnx_copy, edit)
    with pytest.raises(Refused, match="output|inputs"):
        ALL[name](onnx_copy, TEXTS[:1])


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("sentence_bert_config.json", {"max_seq_length": None}, "max_seq_length"),
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": None, "pooling_mode": "mean"}, "pooling_mode_mean"),
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": False}, "neither cls nor mean"),
        ("config.json", {"hidden_size": "32"}, "hidden_size"),
        ("config.json", {"architectures": ["BertForSequenceClassification"]}, "classifier"),
        ("config_sentence_transformers.json", {"prompts": {"query": 1}}, "prompts"),
    ],
)
def test_text_embeddings_inference_refuses_another_schema(
    file: str, changes: dict[str, object], message: str, onnx_copy: Path
) -> None:
    """The first two changes are what sentence-transformers 6 writes by default."""
    edit_json(onnx_copy / file, **changes)
    with pytest.raises(Refused, match=message):
        text_embeddings_inference(onnx_copy, TEXTS[:1])


@pytest.mark.parametrize("name", ["Vespa hugging-face-embedder", "Spring AI", "langchain4j"])
def test_a_tokenizer_without_truncation_gives_other_vectors(name: str, onnx_copy: Path, truth: np.ndarray) -> None:
    """These consumers read no other file: without its truncation, long texts get other vectors."""
    edit_json(onnx_copy / "tokenizer.json", truncation=None)
    assert np.abs(ALL[name](onnx_copy, TEXTS[2:3]) - truth[2]).max() > 1e-3
