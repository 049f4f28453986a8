"""attune.json: what stage base knows of an encoder, beside its weights and those of all encoders tuned from it."""

import json
from pathlib import Path
from typing import Any

ORIGIN = "attune.json"


def right_precision(folder: Path) -> str:
    """Returns the number format that an encoder must be run in: fp32 where bf16 is wrong, "" where either is right."""
    origin = folder / ORIGIN
    known: dict[str, Any] = json.loads(origin.read_text(encoding="utf-8")) if origin.is_file() else {}
    return str(known.get("precision") or "")
