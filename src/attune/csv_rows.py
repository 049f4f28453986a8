"""Rows of the csv files in metrics/plots, with their types; an empty cell is None."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attune.errors import BadInput

Types = Mapping[str, type[str] | type[int] | type[float]]

COMPARISONS: Types = {
    **{"task": str, "measure": str, "n": int},
    **dict.fromkeys(("base", "tuned", "delta", "low", "high", "p", "p_holm"), float),
    **{"wins": int, "ties": int, "losses": int, "smallest_detectable": float},
}
SLICES: Types = {
    **{"slice": str, "bin": str, "n": int},
    **dict.fromkeys(("base", "tuned", "delta", "low", "high", "p_holm"), float),
}


def read_rows(file: Path, types: Types) -> list[dict[str, Any]]:
    """The rows of a csv file that has these columns (others are left out).

    Raises:
        BadInput: the file is missing, lacks a column, or holds a cell that is no such number.
    """
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines)
            lacking = [name for name in types if name not in (reader.fieldnames or ())]
            if lacking:
                raise BadInput(f"{file}: no column {', '.join(lacking)}; delete it and run `dvc repro`")
            return [_row(row, types, f"{file}:{reader.line_num}") for row in reader]
    except FileNotFoundError:
        raise BadInput(f"{file}: not found; run `dvc repro` to make it") from None


def _row(row: Mapping[str, str | None], types: Types, place: str) -> dict[str, Any]:
    found = {}
    for name, kind in types.items():
        cell = row[name]
        try:
            found[name] = None if cell in ("", None) else kind(cell)
        except ValueError:
            raise BadInput(
                f"{place}: {name} is {cell!r}, expected {kind.__name__}; delete the file and run `dvc repro`"
            ) from None
    return found
