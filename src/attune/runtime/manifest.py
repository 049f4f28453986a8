"""Manifest of an exported encoder: the settings that a service needs, and the size and sha256 of every file."""

import hashlib
import json
from dataclasses import dataclass, fields
from pathlib import Path

from attune.errors import BadInput
from attune.runtime import folders, rules

MANIFEST, GRAPH, TOKENIZER = "manifest.json", "onnx/model.onnx", "tokenizer.json"
ENCODER = "encoder.json"  # in place of graph and tokenizer, names an encoder behind an endpoint
REMEDY = "fetch or export the encoder again"
RULE = rules.record(
    {
        "dim": rules.whole(1, 2**20),
        "max_length": rules.whole(1, 2**31 - 1),
        "prompts": rules.table(rules.text),
        "default_prompt_name": rules.or_null(rules.text),
        "files": rules.table(rules.record({"sha256": rules.sha256}, {"size": rules.whole(0, 2**63)})),
    }
)


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

        Of an encoder behind an endpoint, name and dimensions stand for graph and tokenizer.
        fp32 and int8 graphs of one encoder share it: queries of one may search documents of the other.
        """
        names = (GRAPH, TOKENIZER) if GRAPH in self.files else (ENCODER,)
        hashes = [self.files.get(name, {}).get("sha256") for name in names]
        parts = [*hashes, self.max_length, self.prompts, self.default_prompt_name]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """Returns the sha256 of a file's bytes in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Reads folder/manifest.json.

    Raises:
        BadInput: the file is missing or is not a manifest, or a name in it leads out of the folder.
    """
    missing = "give the folder of an exported encoder, such as models/onnx"
    content = folders.read_json(folder, MANIFEST, RULE, "a manifest of attune", missing, REMEDY)
    manifest = Manifest(**{field.name: content[field.name] for field in fields(Manifest)})
    outside = next((name for name in manifest.files if not folders.is_inside(name)), None)
    if outside is not None:
        raise BadInput(f"{folder / MANIFEST}: the name {outside[:80]!a} leads out of the folder; {REMEDY}")
    if manifest.default_prompt_name not in (None, *manifest.prompts):
        raise BadInput(f"{folder / MANIFEST}: default_prompt_name is none of the prompts; {REMEDY}")
    return manifest
