"""Tables in parquet, read one batch of rows at a time."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq

from attune.data.sources.files.lines import shown
from attune.errors import Problems

_BATCH = 1024
# errors that pyarrow raises for a damaged file: its own, and plain ones from the code around it
_DAMAGED = (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError, RuntimeError, TypeError, LookupError)


def read_parquet(path: Path, problems: Problems, only: Collection[str] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields `path: row N` (from 1) and the cells of each row by column, for columns of strings, numbers and lists.

    Raises:
        BadInput: the file is missing, empty or damaged, or one of the columns `only` holds something else.
    """
    file = _open(path, problems)
    names = _readable(_schema(file, path, problems), path, problems, only)
    n_rows = 0
    for batch in _batches(file, names, path, problems):
        for number, record in _records(batch, n_rows + 1, path, problems):
            yield f"{path}: row {number}", record
        n_rows += batch.num_rows
    if n_rows != file.metadata.num_rows or not n_rows:
        problems.stop(str(path), f"{n_rows} rows, expected {file.metadata.num_rows or 'some'}; write the file again")


def parquet_columns(path: Path, problems: Problems) -> list[str]:
    """Returns the names of all columns, in order.

    Raises:
        BadInput: the file is missing or damaged.
    """
    return [str(name) for name in _schema(_open(path, problems), path, problems).names]


def _open(path: Path, problems: Problems) -> pq.ParquetFile:
    if not path.is_file():
        problems.stop(str(path), "not found; correct collect.path in params.yaml")
    try:
        return pq.ParquetFile(path)
    except _DAMAGED as error:
        _stop(path, problems, error)


def _stop(path: Path, problems: Problems, error: Exception) -> NoReturn:
    problems.stop(str(path), f"not parquet, or damaged ({shown(str(error).strip())}); write the file again")


def _schema(file: pq.ParquetFile, path: Path, problems: Problems) -> pa.Schema:
    try:
        schema = file.schema_arrow
        names = list(schema.names)
    except _DAMAGED as error:
        _stop(path, problems, error)
    repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if repeated:
        problems.stop(str(path), f"column {shown(repeated[0])} is there twice; give each column its own name")
    return schema


def _readable(schema: pa.Schema, path: Path, problems: Problems, only: Collection[str]) -> list[str]:
    """Returns the columns `only`, or all columns of strings, numbers and lists."""
    for field in schema:
        if field.name in only and not _is_plain(field.type):
            expected = "strings, numbers or lists of strings"
            what = f"column {shown(field.name)} holds {field.type}, expected {expected}; convert the column"
            problems.stop(str(path), what)
    return [f.name for f in schema if _is_plain(f.type) and (not only or f.name in only)]


def _is_plain(kind: pa.DataType) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if is_list or pa.types.is_dictionary(kind):
        return _is_plain(kind.value_type)
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return bool(is_text or is_number or pa.types.is_null(kind))


def _batches(file: pq.ParquetFile, names: list[str], path: Path, problems: Problems) -> Iterator[pa.RecordBatch]:
    try:
        yield from file.iter_batches(batch_size=_BATCH, columns=names)
    except _DAMAGED as error:
        _stop(path, problems, error)


def _records(batch: pa.RecordBatch, first: int, path: Path, problems: Problems) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the rows of a batch with their numbers; a damaged batch row by row, so that only bad rows are lost."""
    try:
        batch.validate(full=True)
        rows = batch.to_pylist()
    except _DAMAGED as error:
        if batch.num_rows > 1:
            for index in range(batch.num_rows):
                yield from _records(batch.slice(index, 1), first + index, path, problems)
        else:
            problems.add(f"{path}: row {first}", f"damaged ({shown(str(error))}); correct or remove the row")
        return
    yield from enumerate(rows, start=first)
