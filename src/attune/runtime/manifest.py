"""The manifest of an exported encoder: what a service must know of it, and every file's size and sha256."""

import json
from dataclasses import dataclass, fields
from pathlib import Path

from attune.errors import BadInput

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """The part of manifest.json that the runtime reads; the file holds more, for people and other programs."""

    dim: int
    max_length: int
    prompts: dict[str, str]
    default_prompt_name: str | None
    files: dict[str, dict[str, str | int]]


def read_manifest(folder: Path) -> Manifest:
    """Reads folder/manifest.json.

    Raises:
        BadInput: the file is missing or is not a manifest.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Manifest(**{field.name: content[field.name] for field in fields(Manifest)})
    except OSError:
        raise BadInput(f"{path}: not found; give the folder of an exported encoder, such as models/onnx") from None
    except (ValueError, KeyError, TypeError):
        raise BadInput(f"{path}: damaged, or not a manifest of attune; fetch or export the encoder again") from None
