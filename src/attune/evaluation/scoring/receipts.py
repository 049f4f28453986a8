"""Receipts of finished stages (metrics/*.json), checked as they are read."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attune.errors import BadInput
from attune.evaluation.scoring.measures import MEASURES


def read_receipts(folder: Path, names: Sequence[str], systems: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Reads receipts by name.

    Args:
        folder: holds a JSON file per name.
        names: of stages and of evaluated systems.
        systems: those of the names whose receipts must hold every measure.

    Raises:
        BadInput: a receipt is missing, is not JSON, or is a system's and lacks a measure.
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
    """Reads receipts as `read_receipts` does; those of train and mine are of the given round.

    Raises:
        BadInput: a receipt is missing or damaged.
    """
    receipts = read_receipts(folder, names, systems)
    if round != "r1":
        later = read_receipts(folder, [f"train_{round}", f"mine_{round}"], ())
        receipts |= {name: later[f"{name}_{round}"] for name in ("train", "mine")}
    return receipts


def leaks_of_test(split: Mapping[str, Any]) -> str:
    """Counts of test items that also occur in train or dev, in words ("2 near queries, 1 exact documents").

    Args:
        split: receipt of stage split.

    Returns:
        An empty text where nothing leaks.

    Raises:
        BadInput: the receipt holds no leak audit.
    """
    counts = {key.removeprefix("test_leaks."): n for key, n in split.items() if key.startswith("test_leaks.")}
    if not counts:
        raise BadInput("metrics/split.json: no test_leaks.*; run `dvc repro`")
    return ", ".join(f"{n:,} {kind.replace('_', ' ')}" for kind, n in counts.items() if n)
