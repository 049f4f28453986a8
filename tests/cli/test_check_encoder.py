"""`attune check --base FOLDER` rehearses the folder's encoder, not the pinned one, and leaves the folder as it is."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from shipped_params import PANEL
from tiny_encoders import in_own_folder
from training import sha256
from typer.testing import CliRunner

from attune.cli.check import encoder
from attune.cli.main import app
from attune.encoding.settings import folder_settings
from attune.errors import BadInput

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("params.yaml", "advanced.yaml"):
        shutil.copyfile(PANEL.with_name(name), tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_folder_is_rehearsed_as_stage_base_would_bring_it(
    tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Length set to what the encoder has positions for, settings and weights its own; printed as lines, or as JSON."""
    seen: list[tuple[str, int]] = []

    def rehearsed(name: str, folder: Path, _: Path) -> SimpleNamespace:
        seen.append((name, folder_settings(name, folder).max_length))
        return SimpleNamespace(steps=("training", "export"), precision="bf16")

    monkeypatch.setattr(encoder, "rehearsed", rehearsed)
    before = sha256(tiny_encoder)
    done = CliRunner().invoke(app, ["check", "--base", str(tiny_encoder)])
    *lines, seconds = done.output.splitlines()
    assert lines == [f"encoder: {tiny_encoder}", "rehearsed: training, export", "precision: bf16"]
    assert re.fullmatch(r"seconds: \d+\.\d", seconds)
    done = CliRunner().invoke(app, ["check", "--base", str(tiny_encoder), "--json"])
    assert json.loads(done.output)["rehearsed"] == ["training", "export"]
    assert seen == [(str(tiny_encoder), 64)] * 2  # of its 64 positions; auto is 96 without data
    assert sha256(tiny_encoder) == before


def test_an_older_layout_is_rehearsed_as_saved_anew(
    tiny_encoder: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transformer in a folder of its own comes as stage base would save it, with the length set where it is read."""
    own = project / "own"
    shutil.copytree(tiny_encoder, own)
    in_own_folder(own, "transformer")
    seen: list[tuple[str, int, bool]] = []

    def rehearsed(name: str, folder: Path, _: Path) -> SimpleNamespace:
        settings = folder_settings(name, folder)
        seen.append((settings.folder, settings.max_length, (folder / "tokenizer.json").is_file()))
        return SimpleNamespace(steps=("training",), precision="fp32")

    monkeypatch.setattr(encoder, "rehearsed", rehearsed)
    encoder.check_encoder(own)
    assert seen == [("", 64, True)]


def test_what_is_no_folder_or_no_encoder_is_one_line(project: Path) -> None:
    """The line names the folder and what is missing there."""
    with pytest.raises(BadInput, match="--base: nowhere is not a folder"):
        encoder.check_encoder(Path("nowhere"))
    (project / "empty").mkdir()
    with pytest.raises(BadInput, match=r"empty: no \*.safetensors and no pytorch_model.bin; save the model"):
        encoder.check_encoder(project / "empty")
