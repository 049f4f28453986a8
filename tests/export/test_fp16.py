"""The fp16 graph for GPUs: the same encoder in half the size, which consumers run like fp32."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from shipped_params import PANEL

from attune.errors import BadInput
from attune.export import shipped
from attune.export.folder import FP16, FP32, INT8
from attune.export.fp16 import to_fp16
from attune.export.parity import compare_fp16
from attune.runtime import Embedder, verify
from attune.stage import call, load_params
from attune.stages.export import ExportParams, export

TEXTS = ["stack arrays vertically", "sort the rows"]


@pytest.fixture(scope="module")
def params() -> ExportParams:
    """The project's parameters, with an fp16 graph."""
    return load_params(ExportParams, "export", PANEL).model_copy(update={"fp16": True})


@pytest.fixture(scope="module")
def exported(
    params: ExportParams, tiny_encoder: Path, train_tables: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The tiny encoder, exported with its fp16 graph."""
    out = tmp_path_factory.mktemp("half") / "onnx"
    call(export, params, out.with_name("export.json"), model=tiny_encoder, out=out, **train_tables)
    return out


def test_fp16_is_optional_and_changes_no_other_graph(exported: Path, tiny_onnx: Path) -> None:
    """All files but golden.json and the manifest equal those of an export without fp16."""
    names = {path.relative_to(exported).as_posix() for path in exported.rglob("*") if path.is_file()}
    assert names - {FP16} == {p.relative_to(tiny_onnx).as_posix() for p in tiny_onnx.rglob("*") if p.is_file()}
    assert FP16 in names
    changed = {name for name in names - {FP16} if (exported / name).read_bytes() != (tiny_onnx / name).read_bytes()}
    assert changed == {"golden.json", "manifest.json"}


def test_manifest_receipt_and_golden_vectors_list_the_fp16_graph(exported: Path, tiny_onnx: Path) -> None:
    """File, size and parity with torch are listed; an export without fp16 does not mention it."""
    manifest, golden = (json.loads((exported / name).read_text()) for name in ("manifest.json", "golden.json"))
    receipt = json.loads(exported.with_name("export.json").read_text())
    assert manifest["graphs"] == {"fp32": FP32, "int8": INT8, "fp16": FP16}
    assert receipt["fp16_bytes"] == manifest["files"][FP16]["size"] == (exported / FP16).stat().st_size
    assert manifest["parity"]["fp16_min_cosine"] == receipt["fp16_min_cosine"] >= 0.9999
    assert 0 < receipt["fp16_max_abs_diff"] < 0.01
    assert golden["min_cosine"][FP16] == 0.999
    for file in (tiny_onnx / "manifest.json", tiny_onnx / "golden.json", tiny_onnx.with_name("export.json")):
        assert "fp16" not in file.read_text()


def test_verify_runs_the_fp16_graph(exported: Path) -> None:
    """An fp16 graph whose vectors differ from the golden ones is named."""
    verify(exported, threads=1)
    whole = (exported / "golden.json").read_text()
    content = json.loads(whole)
    content["min_cosine"] = {FP16: 0.999}
    content["vectors"][0] = content["vectors"][-1]
    try:
        _write_golden(exported, json.dumps(content))
        with pytest.raises(BadInput, match=f"{FP16}: least cosine to the golden vectors is"):
            verify(exported, threads=1)
    finally:
        _write_golden(exported, whole)


def _write_golden(folder: Path, content: str) -> None:
    from hashlib import sha256

    (folder / "golden.json").write_text(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["golden.json"]["sha256"] = sha256(content.encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_weights_are_fp16_but_pooling_inputs_and_outputs_are_fp32(exported: Path) -> None:
    """The graph is valid and uses standard operators; weights take half the bytes."""
    half, single = onnx.load(exported / FP16), onnx.load(exported / FP32)
    onnx.checker.check_model(half, full_check=True)
    assert {opset.domain for opset in half.opset_import} <= {"", "ai.onnx"}
    for of_half, of_single in ((half.graph.input, single.graph.input), (half.graph.output, single.graph.output)):
        assert [value.SerializeToString() for value in of_half] == [value.SerializeToString() for value in of_single]
    large = {tensor.data_type for tensor in half.graph.initializer if len(tensor.dims) == 2}
    assert large == {TensorProto.FLOAT16, TensorProto.INT64}  # matrices, and positions
    names = {node.output[0]: node for node in half.graph.node}
    assert names["last_hidden_state"].op_type == "Cast"
    after = [node for node in half.graph.node if "last_hidden_state" in node.input]
    assert after and all(node.name.startswith("fp32/") for node in after)


def test_an_encoder_that_overflows_fp16_is_refused(tiny_onnx: Path, tmp_path: Path) -> None:
    """Numbers beyond 65504 are infinite in fp16; in fp32 the same encoder is fine."""
    graph = onnx.load(tiny_onnx / FP32)
    norm = next(node for node in graph.graph.node if node.op_type == "LayerNormalization")
    for tensor in graph.graph.initializer:
        if tensor.name in norm.input[1:]:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1e5), tensor.name))
    (tmp_path / "onnx").mkdir()
    onnx.save(graph, tmp_path / FP32)
    onnx.save(to_fp16(graph), tmp_path / FP16)
    for name in ("manifest.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((tiny_onnx / name).read_bytes())
    single, half = (Embedder(tmp_path, file, threads=1).encode(TEXTS) for file in (FP32, FP16))
    np.testing.assert_allclose(np.linalg.norm(single, axis=1), 1, atol=1e-6)
    with pytest.raises(BadInput, match="16 bits: set export.fp16 to false"):
        shipped.require_fp16_parity(compare_fp16(half[None], single), Path("models/tuned"))


def test_an_fp16_cosine_of_nan_is_refused() -> None:
    """NaN compares false with every limit."""
    with pytest.raises(BadInput, match="16 bits"):
        shipped.require_fp16_parity({"fp16_min_cosine": float("nan")}, Path("models/tuned"))
