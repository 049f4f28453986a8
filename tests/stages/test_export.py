"""The exported encoder is the trained one, in a layout that other programs load, the same bytes wherever it is made."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
from folder_bytes import contents
from onnx import numpy_helper
from shipped_params import PANEL

from attune.encoding.encoders import load_torch
from attune.errors import BadInput
from attune.export import parity, shipped
from attune.export.modules import describe
from attune.stage import call, load_params
from attune.stages.export import ExportParams, export

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def params() -> ExportParams:
    return load_params(ExportParams, "export", PANEL)


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text())


def test_a_second_export_from_another_place_gives_the_same_bytes(
    tiny_encoder: Path, tiny_onnx: Path, train_tables: dict[str, Path], tmp_path: Path, warm_stages: Path
) -> None:
    """Another process, hash seed, checkout and working directory, by command line: dvc.lock must not change."""
    shutil.copytree(ROOT / "src", tmp_path / "checkout" / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("params.yaml", "advanced.yaml"):
        shutil.copy(PANEL.with_name(name), tmp_path / "checkout")
    shutil.copytree(tiny_encoder, tmp_path / "checkout" / "tuned")
    options = ["--model", "tuned", "--out", "onnx", "--receipt", "r.json"]
    options += [word for name, path in train_tables.items() for word in (f"--{name}", str(path))]
    command = [warm_stages, "-m", "attune.stages.export", *options]
    subprocess.run(command, cwd=tmp_path / "checkout", env=os.environ | {"PYTHONPATH": "src"}, check=True)
    assert contents(tmp_path / "checkout" / "onnx") == contents(tiny_onnx)
    assert (tmp_path / "checkout" / "r.json").read_text() == tiny_onnx.with_name("export.json").read_text()


def test_no_exported_file_holds_a_path(tiny_encoder: Path, tiny_onnx: Path) -> None:
    """No path of this machine, no source file, no metadata in any node."""
    for name, content in contents(tiny_onnx).items():
        for trace in (ROOT, sys.prefix, tiny_onnx.parent, tiny_encoder.parent, "site-packages", ".py"):
            assert os.fsencode(trace) not in content, (name, trace)
    graph = onnx.load(tiny_onnx / "onnx" / "model.onnx").graph
    assert not any(part.metadata_props or part.doc_string for part in (graph, *graph.node, *graph.initializer))


def test_the_manifest_describes_the_encoder(tiny_onnx: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    """Every setting that a service needs, and the origin where the encoder names it."""
    manifest = read(tiny_onnx, "manifest.json")
    expected = {"dim": 32, "max_length": 32, "pooling": "mean", "normalise": True, "similarity": "cosine", "base": {}}
    assert {key: manifest[key] for key in expected} == expected
    assert set(contents(tiny_onnx)) == {*manifest["files"], "manifest.json"}
    assert manifest["parity"]["fp32_min_cosine"] >= 0.99999
    model = Path(shutil.copytree(tiny_encoder, tmp_path / "tuned"))
    (model / "attune.json").write_text('{"model": "a/b", "revision": "0", "licence": "MIT"}')
    about = describe(load_torch(model), model)
    assert shipped.build_manifest(about, model, {}, {})["base"] == {"model": "a/b", "revision": "0", "licence": "MIT"}


def test_a_graph_that_differs_from_torch_is_refused(
    params: ExportParams,
    tiny_encoder: Path,
    tiny_onnx: Path,
    train_tables: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One weight off by a hundredth is enough; nothing is written."""
    model = onnx.load(tiny_onnx / "onnx" / "model.onnx")
    weight = next(w for w in model.graph.initializer if len(w.dims) == 2 and w.dims[0] == w.dims[1] == 32)
    values = numpy_helper.to_array(weight).copy()
    values[3, 5] += 0.01
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))

    def wrong(encoder: Any, path: Path, opset: int) -> None:
        path.parent.mkdir(parents=True)
        onnx.save(model, path)

    monkeypatch.setattr(shipped, "export_graph", wrong)
    with pytest.raises(BadInput, match=f"^{tiny_encoder}: the ONNX graph differs from torch: cosine 0.99") as error:
        call(export, params, tmp_path / "r.json", model=tiny_encoder, out=tmp_path / "onnx", **train_tables)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_parity_of_nan_is_refused(params: ExportParams) -> None:
    """NaN compares false with every limit, so a careless comparison would accept it."""
    broken = parity.Parity(0, float("nan"), float("nan"), 1.0, 1.0, 0.0)
    with pytest.raises(BadInput, match="differs from torch"):
        shipped.require_parity(broken.fp32_min_cosine, broken.fp32_max_abs_diff, params, Path("models/tuned"))


def break_modules(model: Path) -> None:
    (model / "modules.json").unlink()


def break_weights(model: Path) -> None:
    content = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(content[:1000])


def break_tokenizer(model: Path) -> None:
    (model / "tokenizer.json").write_text("{")


def break_config(model: Path) -> None:
    (model / "config.json").write_text("")


@pytest.mark.parametrize("damage", [shutil.rmtree, break_modules, break_weights, break_tokenizer, break_config])
def test_a_missing_or_damaged_encoder_is_refused_in_one_line(
    params: ExportParams, tiny_encoder: Path, train_tables: dict[str, Path], tmp_path: Path, damage: Any
) -> None:
    """The error names the folder; missing parts are never guessed and nothing is written."""
    model = Path(shutil.copytree(tiny_encoder, tmp_path / "tuned"))
    damage(model)
    with pytest.raises(BadInput) as error:
        call(export, params, tmp_path / "r.json", model=model, out=tmp_path / "onnx", **train_tables)
    assert str(error.value).startswith(str(model))
    assert not (tmp_path / "onnx").exists() and not (tmp_path / "r.json").exists()


def test_encoders_with_unsupported_modules_are_refused(tiny_encoder: Path) -> None:
    """A residual, two poolings, or a similarity that needs lengths would be lost silently."""
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling

    encoder = load_torch(tiny_encoder)
    encoder.insert(2, Dense(32, 16, use_residual=True))
    with pytest.raises(BadInput, match="modules are Transformer, Pooling, Dense, Normalize; export supports"):
        describe(encoder, tiny_encoder)
    encoder = load_torch(tiny_encoder)
    encoder.insert(1, Dense(32, 32, module_input_name="token_embeddings"))
    with pytest.raises(BadInput, match="modules are Transformer, Dense, Pooling, Normalize; export supports"):
        describe(encoder, tiny_encoder)
    encoder = load_torch(tiny_encoder)
    encoder[1] = Pooling(32, pooling_mode=("mean", "max"))
    with pytest.raises(BadInput, match="use one mode"):
        describe(encoder, tiny_encoder)
    encoder = load_torch(tiny_encoder)
    del encoder[2]
    encoder.similarity_fn_name = "dot"
    with pytest.raises(BadInput, match="similarity is dot without Normalize"):
        describe(encoder, tiny_encoder)
