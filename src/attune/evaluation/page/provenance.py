"""Where a report comes from: the parameters, the libraries, and the hashes of what it was made of.

No date and no commit: the same inputs give the same bytes, and a file cannot hold the commit that it is part of.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from attune.errors import BadInput

NOT_RUN = ("demo", "gate")  # sections of params.yaml that shape no output


def parameters(file: Path) -> dict[str, dict[str, Any]]:
    """The sections of params.yaml that shape outputs, each as {dotted key: value}.

    Raises:
        BadInput: the file is missing or is no YAML mapping of sections.
    """
    return {name: dict(_flat(value)) for name, value in _mapping(file).items() if name not in NOT_RUN}


def versions(file: Path) -> dict[str, str]:
    """The pinned versions of the libraries that shape outputs.

    Raises:
        BadInput: the file is missing or is no YAML mapping.
    """
    return {name: str(version) for name, version in _mapping(file).items()}


def _mapping(file: Path) -> dict[str, Any]:
    try:
        content = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{file}: not found; bring it back: git checkout -- {file}") from None
    except YAMLError as error:
        raise BadInput(f"{file}: not YAML ({error}); mend it or git checkout -- {file}") from None
    if not isinstance(content, dict):
        raise BadInput(f"{file}: got {type(content).__name__}, expected sections of keys; see its history in git")
    return {str(name): value for name, value in content.items()}


def _flat(value: object, above: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, dict) or not value:
        return [(above, value)] if above else []
    return [pair for key, item in value.items() for pair in _flat(item, f"{above}.{key}".lstrip("."))]


def fingerprints(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """The path, size in bytes and sha256 of each file, and of each parquet file of a folder, at any depth, by name.

    Raises:
        BadInput: a path is missing.
    """
    found = []
    for path in paths:
        if not path.exists():
            raise BadInput(f"{path}: not found; run `dvc repro` to make it")
        files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
        found += [_fingerprint(file) for file in files]
    return found


def _fingerprint(file: Path) -> dict[str, Any]:
    with file.open("rb") as content:
        return {
            "path": file.as_posix(),
            "n_bytes": file.stat().st_size,
            "sha256": hashlib.file_digest(content, "sha256").hexdigest(),
        }


def shipped(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The same of the graphs that ship, as the manifest of the ONNX folder has them."""
    return [
        {"path": f"models/onnx/{name}", "n_bytes": file["size"], "sha256": file["sha256"]}
        for name, file in manifest["files"].items()
        if name.endswith(".onnx")
    ]
