"""Verification detects a damaged encoder, and one that computes other vectors on this machine."""

import json
from hashlib import sha256
from pathlib import Path

import pytest

from attune.errors import BadInput
from attune.runtime import verify

FILES = [
    "1_Pooling/config.json",
    "2_Normalize/config.json",
    "config.json",
    "config_sentence_transformers.json",
    "golden.json",
    "model.safetensors",
    "modules.json",
    "onnx/model.onnx",
    "onnx/model_quantized.onnx",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
]


def one_line(error: pytest.ExceptionInfo[BadInput]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_verify_accepts_an_export_and_lists_all_its_files(tiny_onnx: Path) -> None:
    """The list of files that the damage tests use is complete."""
    verify(tiny_onnx)
    assert list(json.loads((tiny_onnx / "manifest.json").read_text())["files"]) == FILES


@pytest.mark.parametrize("name", FILES)
def test_verify_finds_one_flipped_bit_in_any_file(onnx_copy: Path, name: str) -> None:
    """The error names the file."""
    content = bytearray((onnx_copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (onnx_copy / name).write_bytes(content)
    with pytest.raises(BadInput) as error:
        verify(onnx_copy)
    assert one_line(error).startswith(f"{onnx_copy / name}: sha256 is ")


@pytest.mark.parametrize("name", FILES)
def test_verify_finds_a_missing_file(onnx_copy: Path, name: str) -> None:
    """Also a file that Embedder never opens."""
    (onnx_copy / name).unlink()
    with pytest.raises(BadInput, match="not found; the manifest lists it"):
        verify(onnx_copy)


@pytest.mark.parametrize("name", ["onnx/model.onnx", "onnx/model_quantized.onnx"])
def test_verify_finds_a_graph_that_computes_other_vectors(onnx_copy: Path, name: str) -> None:
    """Like a machine whose arithmetic differs: the files are intact, the golden vectors are not reached."""
    golden = json.loads((onnx_copy / "golden.json").read_text())
    golden["min_cosine"] = {name: 0.999}
    golden["vectors"][-1] = golden["vectors"][0]
    (onnx_copy / "golden.json").write_text(json.dumps(golden))
    manifest = json.loads((onnx_copy / "manifest.json").read_text())
    manifest["files"]["golden.json"]["sha256"] = sha256((onnx_copy / "golden.json").read_bytes()).hexdigest()
    (onnx_copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BadInput) as error:
        verify(onnx_copy)
    assert one_line(error).startswith(f"{onnx_copy / name}: least cosine to the golden vectors is ")


@pytest.mark.parametrize("name", ["onnx/model.onnx", "golden.json", "config_sentence_transformers.json"])
def test_verify_refuses_files_that_the_manifest_does_not_list(onnx_copy: Path, name: str) -> None:
    """A file struck from the manifest, or put beside the others, is detected."""
    manifest = json.loads((onnx_copy / "manifest.json").read_text())
    del manifest["files"][name]
    (onnx_copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BadInput, match="not in the manifest"):
        verify(onnx_copy)


def test_verify_names_golden_vectors_that_cannot_be_read(onnx_copy: Path) -> None:
    """One line, like any other damage."""
    (onnx_copy / "golden.json").write_text("{}")
    manifest = json.loads((onnx_copy / "manifest.json").read_text())
    manifest["files"]["golden.json"]["sha256"] = sha256(b"{}").hexdigest()
    (onnx_copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BadInput, match=r"golden\.json: not golden vectors"):
        verify(onnx_copy)
