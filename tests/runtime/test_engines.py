"""Engines: OpenVINO computes onnxruntime's vectors, in the same order each time, for any number of threads."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from attune.errors import BadInput
from attune.runtime import Embedder, engines
from attune.runtime.engines import load_engine

TEXTS = [
    "",
    "cat",
    "the red dog stacks arrays " * 3,
    "find a cat " * 20,
    *(f"{word} stack {n}" for n in range(40) for word in ("cat", "dog")),
]
INT8 = "onnx/model_quantized.onnx"

needs_openvino = pytest.mark.skipif(not engines.has_openvino(), reason="OpenVINO is not installed")


@needs_openvino
@pytest.mark.parametrize(
    "file, precision, limit",
    [("onnx/model.onnx", "fp32", 1e-5), ("onnx/model.onnx", "bf16", 2e-2), (INT8, "fp32", 5e-2)],
)
def test_openvino_computes_onnxruntimes_vectors(tiny_onnx: Path, file: str, precision: str, limit: float) -> None:
    """fp32 to 1e-5; bf16 and int8, whose roundings are the engine's own, within theirs; of length 1, in order."""
    expected = Embedder(tiny_onnx, file, threads=1).encode(TEXTS)
    got = Embedder(tiny_onnx, file, threads=1, engine="openvino", precision=precision).encode(TEXTS)
    np.testing.assert_allclose(got, expected, atol=limit)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-4)


@needs_openvino
def test_openvino_gives_the_same_bytes_again(tiny_onnx: Path) -> None:
    """In a new instance, and from eight threads at once."""
    first, second = (Embedder(tiny_onnx, threads=2, engine="openvino", precision="bf16") for _ in range(2))
    lists = [TEXTS[: 3 * n] for n in range(1, 17)]
    alone = [first.encode(texts) for texts in lists]
    with ThreadPoolExecutor(8) as pool:
        for expected, got in zip(alone, pool.map(second.encode, lists), strict=True):
            np.testing.assert_array_equal(got, expected)


@needs_openvino
def test_lengths_are_not_rounded_beyond_the_encoders_positions(tiny_onnx: Path) -> None:
    """The tiny encoder reads 32 tokens; one of 17 is padded to 32, one of 32 stays."""
    long = Embedder(tiny_onnx, threads=1, engine="openvino")
    assert [long._features([np.arange(n)])["input_ids"].shape[1] for n in (1, 16, 17, 32)] == [16, 16, 32, 32]


def test_an_engine_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown, lacking the precision, or not installed: one line with the next step."""
    with pytest.raises(BadInput, match="engine 'tensorrt'.*expected one of onnxruntime, openvino"):
        load_engine("tensorrt", "fp32", tmp_path / "model.onnx", 1)
    with pytest.raises(BadInput, match="onnxruntime: got precision bf16.*take openvino"):
        load_engine("onnxruntime", "bf16", tmp_path / "model.onnx", 1)
    monkeypatch.setattr(engines, "has_openvino", lambda: False)
    with pytest.raises(BadInput, match=r"not installed; run `pip install \"attune\[openvino\]\"`"):
        load_engine("openvino", "fp32", tmp_path / "model.onnx", 1)


@needs_openvino
def test_a_damaged_graph_is_one_line_in_openvino_too(onnx_copy: Path) -> None:
    """The path, the reason and what to do."""
    (onnx_copy / "onnx/model.onnx").write_bytes(b"no graph")
    with pytest.raises(BadInput, match=r"model\.onnx: not a loadable graph") as raised:
        Embedder(onnx_copy, engine="openvino")
    assert "\n" not in str(raised.value)
