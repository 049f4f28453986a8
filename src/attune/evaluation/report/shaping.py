"""Where a model comes from: the parameters that shaped it, as values and as one hash."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from attune.errors import BadInput

# every section that a weight of the shipped encoder or a byte of its folder depends on
SHAPING = ("base", "collect", "prepare", "split", "embed", "mine", "train", "rounds", "merge", "export")


def shaping_params(file: Path) -> dict[str, Any]:
    """The sections of params.yaml that shaped the model.

    Raises:
        BadInput: a section is missing.
    """
    sections = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    lacking = [name for name in SHAPING if name not in sections]
    if lacking:
        raise BadInput(f"{file}: section '{lacking[0]}' is missing; restore it from the project's history")
    return {name: sections[name] for name in SHAPING}


def params_sha256(sections: Mapping[str, Any]) -> str:
    """One hash of parameters that layout, comments and order of keys do not change."""
    return hashlib.sha256(json.dumps(sections, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
