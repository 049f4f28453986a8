"""Manifest of an exported encoder: the settings that a service needs, and the size and sha256 of every file."""

import hashlib
import json
from dataclasses import dataclass, fields
from pathlib import Path

from attune.errors import BadInput

MANIFEST, GRAPH, TOKENIZER = "manifest.json", "onnx/model.onnx", "tokenizer.json"


@dataclass(frozen=True)
class Manifest:
    """The fields of manifest.json that the runtime reads; the file holds more, for people and other programs."""

    dim: int
    max_length: int
    prompts: dict[str, str]
    default_prompt_name: str | None
    files: dict[str, dict[str, str | int]]

    def fingerprint(self) -> str:
        """Returns a sha256 over graph, tokenizer, maximum length and prompts, which identifies the encoder of an index.

        fp32 and int8 graphs of one encoder share it: queries of one may search documents of the other.
        """
        hashes = [self.files.get(name, {}).get("sha256") for name in (GRAPH, TOKENIZER)]
        parts = [*hashes, self.max_length, self.prompts, self.default_prompt_name]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """Returns the sha256 of a file's bytes in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
