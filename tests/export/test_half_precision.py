"""The fp16 graph for GPUs: the same encoder in half the size, which no consumer has to treat otherwise."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from attune.errors import BadInput
from attune.export.folder import FP16, FP32, INT8
from attune.export.fp16 import to_fp16
from attune.export.parity import compare_fp16
from attune.runtime import Embedder, verify
from attune.stage import call, load_params
from attune.stages import export as stage
from attune.stages.export import ExportParams, export

ROOT = Path(__file__).resolve().parents[2]
TEXTS = ["stack arrays vertically", "sort the rows"]


@pytest.fixture(scope="module")
def params() -> ExportParams:
    """The project's own, but with an fp16 graph."""
    return load_params(ExportParams, "export", ROOT / "params.yaml").model_copy(update={"fp16": True})


@pytest.fixture(scope="module")
def exported(
    params: ExportParams, tiny_encoder: Path, train_tables: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The tiny encoder, exported with its fp16 graph."""
    out = tmp_path_factory.mktemp("half") / "onnx"
    call(export, params, out.with_name("export.json"), model=tiny_encoder, out=out, **train_tables)
    return out


def test_it_ships_only_if_asked_for_and_changes_nothing_else(exported: Path, tiny_onnx: Path) -> None:
    """The other files but golden.json and the manifest are those of an export without it."""
    names = {path.relative_to(exported).as_posix() for path in exported.rglob("*") if path.is_file()}
    assert names - {FP16} == {p.relative_to(tiny_onnx).as_posix() for p in tiny_onnx.rglob("*") if p.is_file()}
    assert FP16 in names
    changed = {name for name in names - {FP16} if (exported / name).read_bytes() != (tiny_onnx / name).read_bytes()}
    assert changed == {"golden.json", "manifest.json"}


def test_manifest_receipt_and_golden_vectors_know_it(exported: Path, tiny_onnx: Path) -> None:
    """Its file, size and nearness to torch; where it was not asked for, there is no word of it."""
    manifest, golden = (json.loads((exported / name).read_text()) for name in ("manifest.json", "golden.json"))
    receipt = json.loads(exported.with_name("export.json").read_text())
    assert manifest["graphs"] == {"fp32": FP32, "int8": INT8, "fp16": FP16}
    assert receipt["fp16_bytes"] == manifest["files"][FP16]["size"] == (exported / FP16).stat().st_size
    assert manifest["parity"]["fp16_min_cosine"] == receipt["fp16_min_cosine"] >= 0.9999
    assert 0 < receipt["fp16_max_abs_diff"] < 0.01
    assert golden["min_cosine"][FP16] == 0.999
    for file in (tiny_onnx / "manifest.json", tiny_onnx / "golden.json", tiny_onnx.with_name("export.json")):
        assert "fp16" not in file.read_text()


def test_verify_runs_it(exported: Path) -> None:
    """A graph whose vectors differ is named."""
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


def test_weights_are_fp16_pooling_is_not_and_inputs_and_outputs_are_those_of_fp32(exported: Path) -> None:
    """A valid graph of the standard's operators; half the bytes of weights."""
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


def test_an_encoder_whose_numbers_do_not_fit_is_refused(tiny_onnx: Path, tmp_path: Path) -> None:
    """Beyond 65504 an fp16 number is infinite; fp32 has no trouble with it."""
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
        stage.require_fp16_parity(compare_fp16(half[None], single), Path("models/tuned"))


def test_a_cosine_that_is_not_a_number_is_refused() -> None:
    """NaN compares false with everything."""
    with pytest.raises(BadInput, match="16 bits"):
        stage.require_fp16_parity({"fp16_min_cosine": float("nan")}, Path("models/tuned"))
