"""Each consumer finds the files and keys that it reads, and gets the same vectors."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from export_inputs import TEXTS
from tokenizers import Tokenizer

from attune.encoding.encoders import load_torch
from attune.errors import BadInput
from attune.export.folder import write_settings
from attune.export.modules import describe


@pytest.fixture(scope="module")
def truth(tiny_encoder: Path) -> Any:
    return load_torch(tiny_encoder).encode(TEXTS, batch_size=1)


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text())


def test_a_client_of_tokenizer_json_and_output_0_gets_torch_s_vectors(
    tiny_encoder: Path, tiny_onnx: Path, truth: Any
) -> None:
    """The mean of output 0 over the mask = output 1 = SentenceTransformer.encode.

    fastembed, langchain4j, Spring AI and Rust clients compute this, independently of attune's runtime.
    """
    encodings = Tokenizer.from_file(str(tiny_onnx / "tokenizer.json")).encode_batch(TEXTS)
    mask = np.array([encoding.attention_mask for encoding in encodings])
    features = {
        "input_ids": np.array([encoding.ids for encoding in encodings]),
        "attention_mask": mask,
        "token_type_ids": np.array([encoding.type_ids for encoding in encodings]),
    }
    session = onnxruntime.InferenceSession(str(tiny_onnx / "onnx" / "model.onnx"), providers=["CPUExecutionProvider"])
    tokens, sentences = session.run(None, features)
    pooled = (tokens * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    np.testing.assert_allclose(pooled, sentences, atol=1e-6)
    np.testing.assert_allclose(sentences, truth, atol=1e-6)
    expected = load_torch(tiny_encoder).encode(TEXTS, batch_size=1, output_value="token_embeddings")
    for row, tokens_of_one in zip(tokens, expected, strict=True):
        np.testing.assert_allclose(row[: len(tokens_of_one)], tokens_of_one.numpy(), atol=1e-5)


def test_sentence_transformers_loads_the_folder(tiny_onnx: Path, truth: Any) -> None:
    """The older schema gives the length, pooling and prompts of the schema that the encoder was saved in."""
    encoder = load_torch(tiny_onnx)
    assert encoder.max_seq_length == 32
    assert encoder.prompts == {"document": "", "query": ""}
    np.testing.assert_array_equal(encoder.encode(TEXTS, batch_size=1), truth)


def test_text_embeddings_inference_finds_the_keys_it_demands(tiny_onnx: Path) -> None:
    """A missing key is a start-up error there (router/src/lib.rs: STConfig, PoolConfig, Config)."""
    assert type(read(tiny_onnx, "sentence_bert_config.json")["max_seq_length"]) is int
    pooling = read(tiny_onnx, "1_Pooling/config.json")
    assert pooling["pooling_mode_mean_tokens"] is True
    assert pooling["pooling_mode_cls_token"] is False and pooling["pooling_mode_lasttoken"] is False
    config = read(tiny_onnx, "config.json")
    for key in ("hidden_size", "num_hidden_layers", "max_position_embeddings", "pad_token_id"):
        assert type(config[key]) is int
    assert config["architectures"] == ["BertModel"] and config["model_type"] == "bert"
    prompts = read(tiny_onnx, "config_sentence_transformers.json")["prompts"]
    assert prompts == {"document": "", "query": ""}


def test_older_sentence_transformers_find_their_module_paths(tiny_onnx: Path) -> None:
    """The module paths of version 6 do not exist before it."""
    modules = read(tiny_onnx, "modules.json")
    assert [(module["idx"], module["path"]) for module in modules] == [(0, ""), (1, "1_Pooling"), (2, "2_Normalize")]
    assert [module["type"].removeprefix("sentence_transformers.models.") for module in modules] == [
        "Transformer",
        "Pooling",
        "Normalize",
    ]
    assert read(tiny_onnx, "1_Pooling/config.json")["word_embedding_dimension"] == 32


def test_fastembed_and_clients_of_one_file_find_length_and_padding(tiny_onnx: Path) -> None:
    """fastembed reads tokenizer_config, special_tokens_map; DJL and Spring AI tokenizer.json; Typesense vocab.txt."""
    settings = read(tiny_onnx, "tokenizer_config.json")
    assert settings["model_max_length"] == 32 and settings["pad_token"] == "[PAD]"
    assert not {"is_local", "local_files_only"} & set(settings)
    names = ("cls", "mask", "pad", "sep", "unk")
    assert read(tiny_onnx, "special_tokens_map.json") == {f"{name}_token": f"[{name.upper()}]" for name in names}
    tokenizer = read(tiny_onnx, "tokenizer.json")
    assert tokenizer["truncation"] == {
        "direction": "Right",
        "max_length": 32,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    assert tokenizer["padding"]["strategy"] == "BatchLongest"
    assert (tokenizer["padding"]["pad_id"], tokenizer["padding"]["pad_token"]) == (0, "[PAD]")
    words = (tiny_onnx / "vocab.txt").read_text().splitlines()
    assert {word: place for place, word in enumerate(words)} == tokenizer["model"]["vocab"]


def test_the_base_s_own_max_length_is_dropped(tiny_encoder: Path, tmp_path: Path) -> None:
    """fastembed cuts at the smaller of model_max_length and max_length; the truncation side is the encoder's."""
    source = Path(shutil.copytree(tiny_encoder, tmp_path / "tuned"))
    settings = read(source, "tokenizer_config.json") | {"max_length": 8, "truncation_side": "left"}
    (source / "tokenizer_config.json").write_text(json.dumps(settings))
    write_settings(source, tmp_path / "onnx", describe(load_torch(source), source), torch_weights=False)
    assert not list((tmp_path / "onnx").glob("*.safetensors"))
    written = read(tmp_path / "onnx", "tokenizer_config.json")
    assert "max_length" not in written and written["model_max_length"] == 32
    truncation = read(tmp_path / "onnx", "tokenizer.json")["truncation"]
    assert (truncation["max_length"], truncation["direction"]) == (32, "Left")


def test_sharded_weights_are_copied_and_missing_ones_refused(tiny_encoder: Path, tmp_path: Path) -> None:
    """Large encoders are saved in several files with an index."""
    source = Path(shutil.copytree(tiny_encoder, tmp_path / "tuned"))
    about = describe(load_torch(source), source)
    (source / "model.safetensors").unlink()
    with pytest.raises(BadInput, match=r"no model.safetensors; save the encoder again, or set export.torch_weights"):
        write_settings(source, tmp_path / "onnx", about, torch_weights=True)
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]
    for name in names:
        (source / name).write_text(name)
    write_settings(source, tmp_path / "onnx", about, torch_weights=True)
    assert sorted(path.name for path in (tmp_path / "onnx").glob("model*")) == names
