"""Tables of metrics/plots, which stand in git: their columns, and how they are read and written as csv."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from attune.errors import BadInput
from attune.tables import Columns

# training loss and dev nDCG@10 by seed and step, empty where not measured
TRAINING_CURVE: Columns = {"seed": pl.Int64, "step": pl.Int64, "loss": pl.Float64, "dev_ndcg@10": pl.Float64}
# nDCG@10 on dev of every probed learning rate after a few steps, by share of the trained weights
RATES: Columns = {
    **{"learning_rate": pl.Float64, "n_steps": pl.Int64},
    **{"share": pl.Float64, "dev_ndcg@10": pl.Float64, "is_chosen": pl.Boolean},
}
# candidates of merge, base (step 0) first: a checkpoint, or the average of the last n_averaged ones up to a step,
# at a share of its weights; se: standard error of the paired difference to base on dev; near-domain: mean over the
# tasks; both others are empty where a candidate did not come into question
MERGE_CURVE: Columns = {
    **{"step": pl.Int64, "n_averaged": pl.Int64, "share": pl.Float64},
    **dict.fromkeys(("dev_ndcg@10", "se", "general_ndcg@10", "near_domain_ndcg@10"), pl.Float64),
    **{"is_chosen": pl.Boolean, "is_next": pl.Boolean},
}
# base against tuned by task and measure
COMPARISONS: Columns = {
    **{"task": pl.String, "measure": pl.String, "n": pl.Int64},
    **dict.fromkeys(("base", "tuned", "delta", "low", "high", "p", "p_holm"), pl.Float64),
    **{"wins": pl.Int64, "ties": pl.Int64, "losses": pl.Int64, "smallest_detectable": pl.Float64},
}
# base against tuned by slice of the test queries
SLICES: Columns = {
    **{"slice": pl.String, "bin": pl.String, "n": pl.Int64},
    **dict.fromkeys(("base", "tuned", "delta", "low", "high", "p_holm"), pl.Float64),
}


def read_csv(path: Path, columns: Columns) -> pl.DataFrame:
    """Reads these columns of a csv file; other columns are left out, empty cells are null.

    Args:
        path: a file of metrics/plots.
        columns: names and types: text, whole numbers, numbers, booleans (`true`, `false`).

    Raises:
        BadInput: the file is missing, is not csv, lacks a column, or a cell is not of its column's type.
    """
    if not path.is_file():
        raise BadInput(f"{path}: not found; run `dvc repro` to make it")
    try:
        cells = pl.read_csv(path, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise BadInput(f"{path}: not a readable csv file ({error}); delete it and run `dvc repro`") from None
    lacking = [name for name in columns if name not in cells.columns]
    if lacking:
        raise BadInput(f"{path}: no column {', '.join(lacking)}; delete it and run `dvc repro`")
    return cells.select(_typed(path, cells[name], kind) for name, kind in columns.items())


def _typed(path: Path, cells: pl.Series, kind: pl.DataType | type[pl.DataType]) -> pl.Series:
    """Returns a csv column, read as text, as its type; names the first cell that is not of that type."""
    if kind == pl.Boolean:
        values = cells.replace_strict({"true": True, "false": False}, default=None, return_dtype=pl.Boolean)
    else:
        values = cells.cast(kind, strict=False)
    wrong = (cells.is_not_null() & values.is_null()).arg_true()
    if wrong.len():
        row = wrong[0]
        raise BadInput(
            f"{path}:{row + 2}: {cells.name} is {cells[row]!r}, expected {kind}; delete the file and run `dvc repro`"
        )
    return values


def records_table(records: Iterable[Any], columns: Columns) -> pl.DataFrame:
    """Returns dataclass records as a table, floats rounded to six digits after the point.

    Args:
        records: one per row, with a field for each column.
        columns: names and types, in the order of the fields.
    """
    rows = [
        # + 0.0 turns -0.0 into 0.0
        {name: round(value, 6) + 0.0 if isinstance(value, float) else value for name, value in asdict(record).items()}
        for record in records
    ]
    return pl.DataFrame(rows, schema=dict(columns))


def write_csv(frame: pl.DataFrame, path: Path, columns: Columns) -> None:
    """Writes a table as csv; the frame must have exactly these columns, null becomes an empty cell.

    Raises:
        OSError: the file cannot be written, for example because the disk is full.
    """
    if dict(frame.schema) != dict(columns):
        raise ValueError(f"{path}: columns are {dict(frame.schema)}, expected {dict(columns)}")
    try:
        frame.write_csv(path)
    except pl.exceptions.PolarsError as error:  # how polars reports a full disk
        raise OSError(f"{path}: cannot be written ({error}); make room or check the permissions") from None
