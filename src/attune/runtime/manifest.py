"""The manifest of an exported encoder: what a service must know of it, and every file's size and sha256."""

import hashlib
import json
from dataclasses import dataclass, fields
from pathlib import Path

from attune.errors import BadInput

MANIFEST, GRAPH, TOKENIZER = "manifest.json", "onnx/model.onnx", "tokenizer.json"


@dataclass(frozen=True)
class Manifest:
    """The part of manifest.json that the runtime reads; the file holds more, for people and other programs."""

    dim: int
    max_length: int
    prompts: dict[str, str]
    default_prompt_name: str | None
    files: dict[str, dict[str, str | int]]

    def fingerprint(self) -> str:
        """What an index must know of the encoder of its rows: a sha256 over graph, tokenizer, cut and prompts.

        fp32 and int8 have one fingerprint: either's queries may search the other's documents.
        """
        hashes = [self.files.get(name, {}).get("sha256") for name in (GRAPH, TOKENIZER)]
        parts = [*hashes, self.max_length, self.prompts, self.default_prompt_name]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


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
