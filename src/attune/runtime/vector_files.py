"""Builds a search index from vectors in parquet files, such as the parts that Ray, Spark or another engine has written.

Needs pyarrow (`pip install pyarrow`, or the extra `parquet`), which is imported at first use, and FAISS.
"""

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attune.errors import BadInput
from attune.files import writing
from attune.runtime.arrays import Float32, Int64
from attune.runtime.search import Search

ID, VECTOR = "id", "vector"  # columns: a string, and a list of dim numbers
ROWS = 8192  # read at a time
MAX_LENGTH_ERROR = 0.01  # of a vector; float16 rounds by less
REMEDY = "write the file again"


def build_index(
    folder: Path | str,
    encoder: str = "",
    factory: str = "flat",
    queries: Float32 | None = None,
    storage: str = "float32",
    scratch: Path | str | None = None,
) -> Search:
    """Indexes the documents in all parquet files below a folder, in the order of their ids.

    The index is therefore the same, to the byte, however an engine has cut and ordered the files. Rows are read in
    blocks and go to one temporary file of 4 dim bytes each; memory holds the ids, and the index.

    Args:
        folder: of files with columns `id` (string) and `vector` (list of float32, or of another float), rows of
            length 1. Names that begin with `_` or `.` are skipped, as engines give them to what is not finished.
        encoder: `Embedder.fingerprint`, as for `Search.build`; so are factory, queries and storage.
        scratch: folder of the temporary file; None takes the system's.

    Raises:
        BadInput: no file; a column is missing or of another type; a value is missing; a vector has another dimension
            than the first, is not finite or not of length 1; an id stands twice; no room for the temporary file.
        ValueError: factory, queries or storage are refused by `Search.build`.
    """
    files = vector_files(folder)
    ids, order = _sorted_ids(files)
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.arange(len(order))
    with tempfile.TemporaryDirectory(prefix="attune-vectors-", dir=scratch) as temporary:
        vectors = _in_order(files, places, Path(temporary) / "vectors.f32")
        return Search.build(vectors, ids, encoder, factory, queries, storage=storage)


def vector_files(folder: Path | str) -> list[Path]:
    """Returns the parquet files below a folder, sorted, without those that an engine has not finished.

    Raises:
        BadInput: there are none.
    """
    folder = Path(folder)
    names = (file.relative_to(folder) for file in folder.rglob("*.parquet"))
    files = sorted(folder / name for name in names if not any(part[0] in "._" for part in name.parts))
    if not files:
        raise BadInput(f"{folder}: no parquet file in it, expected some with columns {ID} and {VECTOR}; embed first")
    return files


def _load_pyarrow() -> tuple[ModuleType, ModuleType]:
    try:
        import pyarrow.compute  # noqa: PLC0415  an extra
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError:
        raise ImportError("attune.runtime.vector_files needs pyarrow; pip install pyarrow") from None
    return pyarrow, pyarrow.parquet


def _batches(file: Path, column: str) -> Iterator[Any]:
    """Yields the values of a column in arrays of at most ROWS.

    Raises:
        BadInput: the file cannot be read, lacks the column, or a value of it is missing.
    """
    arrow, parquet = _load_pyarrow()
    try:
        with parquet.ParquetFile(file) as opened:
            if column not in opened.schema_arrow.names:
                got = ", ".join(opened.schema_arrow.names)
                raise BadInput(f"{file}: columns are {got}; expected {ID} and {VECTOR}; rename them")
            first = 0
            for batch in opened.iter_batches(ROWS, columns=[column]):
                values = batch.column(0)
                if values.null_count:
                    row = first + int(values.is_null().to_numpy(zero_copy_only=False).argmax())
                    raise BadInput(f"{file}: row {row} has no {column}, expected one in each; {REMEDY}")
                yield values
                first += len(values)
    except (OSError, arrow.ArrowException) as error:
        raise BadInput(f"{file}: cannot be read as parquet ({error}); {REMEDY}") from None


def _sorted_ids(files: list[Path]) -> tuple[list[str], Int64]:
    """Returns the ids of all files in ascending order, and the rows, counted over all files, that they stand in."""
    arrow, _ = _load_pyarrow()
    n_rows, chunks = [], []
    for file in files:
        own = list(_batches(file, ID))
        n_rows.append(sum(map(len, own)))
        for values in own:
            if not (arrow.types.is_string(values.type) or arrow.types.is_large_string(values.type)):
                raise BadInput(f"{file}: column {ID} is {values.type}, expected string; convert the ids to strings")
            chunks.append(values.cast(arrow.large_string()))
    if not chunks:
        raise BadInput(f"{files[0]}: no row in it or in the files beside it, expected a document in each; embed first")
    ids = arrow.chunked_array(chunks)
    order: Int64 = arrow.compute.sort_indices(ids).to_numpy().astype(np.int64)
    ids = ids.take(arrow.array(order)).combine_chunks()
    is_doubled = arrow.compute.equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)
    if is_doubled.any():
        first = int(is_doubled.argmax())
        rows = np.sort(order[first : first + 2])
        places = [files[place] for place in np.searchsorted(np.cumsum(n_rows), rows, "right")]
        raise BadInput(
            f"{places[1]}: id {ids[first].as_py()[:80]!a} stands twice, also in {places[0]}, "
            "expected one row per document; remove one of the two"
        )
    return ids.to_pylist(), order


def _in_order(files: list[Path], places: Int64, path: Path) -> Float32:
    """Writes each row's vector to its place in a file; returns the file as a memory map, (n, dim)."""
    first, dim = 0, None
    with writing(path), path.open("wb") as stream:
        for file in files:
            start = first
            for values in _batches(file, VECTOR):
                vectors = _checked(file, first - start, values, dim)
                dim = vectors.shape[1]
                # no memory map to write to: on a full disk it ends the process
                for place, vector in zip(places[first : first + len(vectors)], vectors, strict=True):
                    if os.pwrite(stream.fileno(), vector, int(place) * vector.nbytes) != vector.nbytes:
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                first += len(vectors)
    assert dim is not None  # `_sorted_ids` has seen a row
    return np.memmap(path, dtype=np.float32, mode="r", shape=(len(places), dim))


def _checked(file: Path, first: int, values: Any, dim: int | None) -> Float32:  # noqa: ANN401  of pyarrow
    """Returns vectors as float32, (n, dim); `first` is the first row's number, `dim` None takes the first row's."""
    arrow, _ = _load_pyarrow()
    kinds = arrow.types
    is_list = kinds.is_list(values.type) or kinds.is_large_list(values.type) or kinds.is_fixed_size_list(values.type)
    if not is_list or not kinds.is_floating(values.type.value_type):
        raise BadInput(f"{file}: column {VECTOR} is {values.type}, expected a list of float32; {REMEDY}")
    sizes = arrow.compute.list_value_length(values).to_numpy()
    dim = dim or max(1, int(sizes[0]))
    _refuse(sizes != dim, file, first, lambda row: f"{sizes[row]} numbers, expected {dim}: embed all by one encoder")
    numbers = values.flatten()
    is_missing = numbers.is_null().to_numpy(zero_copy_only=False).reshape(-1, dim).any(axis=1)
    vectors: Float32 = numbers.to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, dim)
    finite = np.isfinite(vectors).all(axis=1) & ~is_missing
    _refuse(~finite, file, first, lambda _: "NaN, infinite or missing numbers, expected finite ones; embed it again")
    lengths = np.linalg.norm(vectors, axis=1)
    is_off = np.abs(lengths - 1) > MAX_LENGTH_ERROR
    _refuse(is_off, file, first, lambda row: f"a vector of length {lengths[row]:.3g}, expected 1; divide by the length")
    return vectors


def _refuse(is_bad: NDArray[np.bool_], file: Path, first: int, what: Callable[[int], str]) -> None:
    if is_bad.any():
        row = int(is_bad.argmax())
        raise BadInput(f"{file}: row {first + row} has {what(row)}")
