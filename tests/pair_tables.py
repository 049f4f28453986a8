"""Writes and reads tables of pairs in every format."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from attune.data.sources.files.cells import ColumnNames
from attune.data.sources.pairs import read_pairs
from attune.data.sources.raw import RawData
from attune.errors import BadInput

FORMATS = ("csv", "tsv", "jsonl", "parquet")
Row = dict[str, Any]


def columns(**names: Any) -> ColumnNames:
    """Returns column names: q and d, and others as given."""
    none = dict.fromkeys(("title", "relevance", "query_id", "document_id", "group", "stratum", "split"), "")
    return ColumnNames(**{"query": "q", "document": "d", "negatives": [], **none, **names})


def encode(form: str, rows: list[Row]) -> bytes:
    """Returns the bytes of a table in this format, with the columns of the first row."""
    if form == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    names = list(rows[0])
    if form == "parquet":
        sink = io.BytesIO()
        pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), sink)
        return sink.getvalue()
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, delimiter="," if form == "csv" else "\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def read(folder: Path, form: str, rows: list[Row], **names: Any) -> RawData:
    """Writes a table and reads it as pairs."""
    path = folder / f"t.{form}"
    path.write_bytes(encode(form, rows))
    return read_pairs(path, columns(**names))


def refusal(folder: Path, form: str, rows: list[Row], **names: Any) -> list[str]:
    """Returns the problems found in a table, without the folder in their paths."""
    with pytest.raises(BadInput) as error:
        read(folder, form, rows, **names)
    return [line.replace(f"{folder}/", "") for line in error.value.args]


def place(form: str, row: int) -> str:
    """Returns the place of a row (from 1) in messages."""
    return {"jsonl": f"t.jsonl:{row}", "parquet": f"t.parquet: row {row}"}.get(form, f"t.{form}:{row + 1}")


def table(header: str, *lines: str) -> list[Row]:
    """Returns rows from a header and lines with bars between the cells."""
    return [dict(zip(header.split("|"), line.split("|"), strict=True)) for line in lines]
