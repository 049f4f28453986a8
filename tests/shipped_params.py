"""The parameters as attune ships them: read by tests of the product, whatever this checkout's files say by now.

The folder `shipped` holds copies of params.yaml and advanced.yaml, and one run's receipts that stage release reads. As
a program, takes them over from this checkout, after defaults or receipts have changed: python tests/shipped_params.py
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import miniature

SHIPPED = Path(__file__).with_name("shipped")
NAMES = ("params.yaml", "advanced.yaml")
RECEIPTS = SHIPPED / "receipts.json"  # by name of the file in metrics/
PANEL = SHIPPED / "params.yaml"  # read-only; advanced.yaml stands beside it


def write_shipped(folder: Path, changes: Mapping[str, Mapping[str, Any]] | None = None) -> None:
    """Writes both parameter files as they are shipped, with changes."""
    for name in NAMES:
        shutil.copyfile(SHIPPED / name, folder / name)
    if changes:
        miniature.change(folder, changes)


def make_shipped(folder: Path, changes: Mapping[str, Mapping[str, Any]]) -> None:
    """Copies the pipeline into a folder with the miniature's parameters and changes, all others as they are shipped."""
    miniature.make(folder, changes, parameters=SHIPPED)


def main() -> None:
    """Takes over the parameters and receipts of this checkout."""
    for each in NAMES:
        shutil.copyfile(miniature.ROOT / each, SHIPPED / each)
    names = json.loads(RECEIPTS.read_text(encoding="utf-8"))
    metrics = {name: json.loads((miniature.ROOT / "metrics" / f"{name}.json").read_text()) for name in names}
    RECEIPTS.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
