"""The receipts of finished stages, as the report reads them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attune.errors import BadInput
from attune.evaluation.scoring.measures import MEASURES


def read_receipts(folder: Path, names: Sequence[str], systems: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The receipts of all stages and systems, by name.

    Raises:
        BadInput: one is missing, is not JSON, or is a system's and lacks a measure.
    """
    receipts = {}
    for name in names:
        path = folder / f"{name}.json"
        try:
            receipts[name] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BadInput(f"{path}: not found; run `dvc repro` to make it") from None
        except ValueError as error:
            raise BadInput(f"{path}: not JSON ({error}); delete it and run `dvc repro`") from None
        lacking = [measure for measure in MEASURES if name in systems and measure not in receipts[name]]
        if lacking:
            raise BadInput(f"{path}: no {', '.join(lacking)}; run `dvc repro`")
    return receipts


def receipts_of(folder: Path, names: Sequence[str], systems: Sequence[str], round: str) -> dict[str, dict[str, Any]]:
    """The same; of a round after the first, what was trained and mined then.

    Raises:
        BadInput: one is missing or damaged.
    """
    receipts = read_receipts(folder, names, systems)
    if round != "r1":
        later = read_receipts(folder, [f"train_{round}", f"mine_{round}"], ())
        receipts |= {name: later[f"{name}_{round}"] for name in ("train", "mine")}
    return receipts
