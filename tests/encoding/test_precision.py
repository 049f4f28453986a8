"""Weights are computed with in float32, whatever precision they were saved in."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from shipped_params import PANEL
from training import params, task, trained

from attune.encoding.encoders import load_torch
from attune.runtime import Embedder
from attune.stage import call, load_params
from attune.stages.export import ExportParams, export

pytestmark = pytest.mark.usefixtures("torchlib_is_read_once")
FORMATS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def saved_as(encoder: Path, folder: Path, name: str) -> Path:
    """Saves an encoder in a format; the weights are those that all formats hold exactly."""
    shutil.copytree(encoder, folder)
    weights = {key: value.bfloat16().float() for key, value in load_file(encoder / "model.safetensors").items()}
    exact = {key: torch.where(value.half().float() == value, value, 0) for key, value in weights.items()}
    save_file(
        {key: value.to(FORMATS[name]) for key, value in exact.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": name}))
    return folder


def test_an_encoder_saved_in_half_precision_is_loaded_in_float32(tiny_encoder: Path, tmp_path: Path) -> None:
    """All three have the same numbers, and no module computes in fewer bits."""
    states = [load_torch(saved_as(tiny_encoder, tmp_path / name, name)).state_dict() for name in FORMATS]
    assert all(
        value.dtype == torch.float32 for state in states for value in state.values() if value.is_floating_point()
    )
    assert all(torch.equal(value, state[key]) for state in states[1:] for key, value in states[0].items())
    assert load_file(tmp_path / "float16" / "model.safetensors")["pooler.dense.bias"].dtype == torch.float16


def test_training_and_export_do_not_depend_on_the_precision_of_the_file(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train_tables: dict[str, Path]
) -> None:
    """Curve and tuned folder of an encoder saved three ways are the same to the byte; the graph of it equals torch."""
    curves, tuned = [], []
    for name in FORMATS:
        folder = tmp_path / f"task_{name}"
        folder.mkdir()
        inputs = task(folder, saved_as(tiny_encoder, tmp_path / name, name))
        monkeypatch.chdir(folder)
        models, receipt = trained(folder, inputs, params(epochs=1), "run")
        assert receipt["n_steps"] == 9
        curves.append((folder / "run.csv").read_text())
        tuned.append(models)
    assert len(set(curves)) == len(set(tuned)) == 1
    model, out = folder / "run" / "5", folder / "exported"
    call(
        export, load_params(ExportParams, "export", PANEL), folder / "export.json", model=model, out=out, **train_tables
    )
    expected = load_torch(model).encode(["a tree", "sum of a table"], batch_size=1)
    assert abs(Embedder(out, threads=1).encode(["a tree", "sum of a table"]) - expected).max() < 2e-6
