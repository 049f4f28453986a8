"""Provenance of a report: its parameters, library versions, and the hashes of its inputs.

Holds no date and no commit: equal inputs give equal bytes, and a file cannot hold the commit it is part of. The class
of CPU (`cpu.py`) is an input, too: vectors and scores are equal to the byte on one class only.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from attune.errors import BadInput
from attune.stage import all_params, sha256_of

NOT_RUN = ("demo", "judge")  # sections that no stage reads


def parameters(file: Path) -> dict[str, dict[str, Any]]:
    """Returns the sections of params.yaml and advanced.yaml that stages read, each as {dotted key: value}.

    Raises:
        BadInput: a file is missing or not YAML, or a key stands in both.
    """
    return {name: dict(_flat(section)) for name, section in all_params(file).items() if name not in NOT_RUN}


def versions(file: Path) -> dict[str, str]:
    """Returns the pinned versions of libraries.yaml, by library, without section attune of a user's repository.

    Raises:
        BadInput: the file is missing or is not a YAML mapping.
    """
    try:
        content = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{file}: not found; run: git checkout -- {file}") from None
    except YAMLError as error:
        raise BadInput(f"{file}: not valid YAML ({error}); run: git checkout -- {file}") from None
    if not isinstance(content, dict):
        raise BadInput(
            f"{file}: got {type(content).__name__}, expected versions by library; run: git checkout -- {file}"
        )
    return {str(name): str(version) for name, version in content.items() if not isinstance(version, dict)}


def _flat(value: object, above: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, dict) or not value:
        return [(above, value)] if above else []
    return [pair for key, item in value.items() for pair in _flat(item, f"{above}.{key}".lstrip("."))]


def fingerprints(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Returns path, size in bytes and sha256 of each file, and of all parquet files in each folder, sorted by name.

    Raises:
        BadInput: a path is missing.
    """
    rows = []
    for path in paths:
        if not path.exists():
            raise BadInput(f"{path}: not found; run `dvc repro` to make it")
        files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
        rows += [{"path": file.as_posix(), "n_bytes": file.stat().st_size, "sha256": sha256_of(file)} for file in files]
    return rows


def exported_graphs(folder: Path, manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns path, size in bytes and sha256 of the ONNX graphs that the manifest of an exported folder lists."""
    return [
        {"path": (folder / name).as_posix(), "n_bytes": file["size"], "sha256": file["sha256"]}
        for name, file in manifest["files"].items()
        if name.endswith(".onnx")
    ]
