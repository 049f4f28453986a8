"""An index from parquet files of vectors: the same however they were cut, and what does not fit is refused by place."""

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from attune.errors import BadInput
from attune.runtime import vector_files
from attune.runtime.search import IDS, INDEX, Search
from attune.runtime.vector_files import build_index

N, DIM = 11, 4
DOCUMENTS = [f"d{n:02}" for n in range(N)]
VECTORS = np.random.default_rng(0).normal(size=(N, DIM)).astype(np.float32)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)
KINDS = {
    "list": pa.list_(pa.float32()),
    "large_list": pa.large_list(pa.float32()),
    "fixed": pa.list_(pa.float32(), DIM),
    "double": pa.list_(pa.float64()),
}


def write(file: Path, ids: list[Any], vectors: list[Any], kind: pa.DataType = KINDS["list"]) -> Path:
    """Writes a file of vectors as an engine does."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"id": pa.array(ids), "vector": pa.array(vectors, kind)}), file)
    return file


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cuts", [[], [4], [1, 5, 6]])
def test_an_index_is_the_same_however_an_engine_cut_the_files(
    kind: str, cuts: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes are those of the vectors in one array in the order of the ids, for every list type and block."""
    monkeypatch.setattr(vector_files, "ROWS", 2)
    order = np.random.default_rng(len(cuts)).permutation(N)
    for name, rows in zip("dacb", np.split(order, cuts), strict=False):
        ids = [DOCUMENTS[row] for row in rows]
        write(tmp_path / "out" / f"step-{name}" / "part.parquet", ids, VECTORS[rows].tolist(), KINDS[kind])
    build_index(tmp_path / "out", "encoder", scratch=tmp_path).save(tmp_path / "found")
    Search.build(VECTORS, DOCUMENTS, "encoder", "flat").save(tmp_path / "expected")
    for name in (INDEX, IDS, "search.json"):
        assert (tmp_path / "found" / name).read_bytes() == (tmp_path / "expected" / name).read_bytes()
    assert not list(tmp_path.glob("attune-vectors-*"))


def test_half_precision_is_taken_and_storage_passed_on(tmp_path: Path) -> None:
    """float16 vectors, off length 1 by their rounding, make the index that was asked for."""
    halves = list(VECTORS.astype(np.float16))
    write(tmp_path / "a.parquet", DOCUMENTS, halves, pa.list_(pa.float16()))
    index = build_index(tmp_path, storage="float16")
    assert index.description == "SQfp16"
    assert [hits[0][0] for hits in index.top(VECTORS, 1)] == DOCUMENTS


def test_unfinished_parts_are_skipped(tmp_path: Path) -> None:
    """Files that an engine or a dead job left under a name with an underscore or a dot are not indexed."""
    write(tmp_path / "a.parquet", DOCUMENTS[:2], VECTORS[:2].tolist())
    for name in ("_temporary/0/b.parquet", "_step-00001/b.parquet", ".b.parquet"):
        write(tmp_path / name, DOCUMENTS[2:], VECTORS[2:].tolist())
    assert len(build_index(tmp_path)) == 2


def changed(row: int, column: int, value: float) -> list[list[float]]:
    """Returns the first three vectors with one number replaced."""
    vectors = VECTORS[:3].copy()
    vectors[row, column] = value
    return vectors.tolist()


THREE = VECTORS[:3].tolist()
BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "dimension": (
        lambda file: write(file, ["x", "y", "z"], [*THREE[:2], THREE[2][:3]]),
        r"b\.parquet: row 2 has 3 numbers, expected 4: embed all by one encoder",
    ),
    "another file's dimension": (
        lambda file: write(file, ["x"], [[1.0, 0.0]]),
        r"b\.parquet: row 0 has 2 numbers, expected 4: embed all by one encoder",
    ),
    "no number": (lambda file: write(file, ["x"], [[]]), r"b\.parquet: row 0 has 0 numbers, expected 4"),
    "nan": (
        lambda file: write(file, ["x", "y", "z"], changed(1, 3, np.nan)),
        r"b\.parquet: row 1 has NaN, infinite or missing numbers, expected finite ones; embed it again",
    ),
    "infinite": (lambda file: write(file, ["x", "y", "z"], changed(0, 0, -np.inf)), r"row 0 has NaN, infinite or"),
    "missing number": (lambda file: write(file, ["x"], [[1.0, 0.0, None, 0.0]]), r"row 0 has NaN, infinite or missing"),
    "missing vector": (lambda file: write(file, ["x", "y"], [THREE[0], None]), r"row 1 has no vector, expected one in"),
    "missing id": (
        lambda file: write(file, ["x", None], THREE[:2]),
        r"b\.parquet: row 1 has no id, expected one in each",
    ),
    "length": (
        lambda file: write(file, ["x"], [[2.0, 0.0, 0.0, 0.0]]),
        r"b\.parquet: row 0 has a vector of length 2, expected 1; divide by the length",
    ),
    "doubled id": (
        lambda file: write(file, ["x", "d05"], THREE[:2]),
        r"b\.parquet: id 'd05' stands twice, also in .*a\.parquet, expected one row per document",
    ),
    "ids that are numbers": (lambda file: write(file, [1], THREE[:1]), r"column id is int64, expected string"),
    "whole numbers": (
        lambda file: write(file, ["x"], [[1, 0, 0, 0]], pa.list_(pa.int64())),
        r"column vector is list<.*int64>, expected a list of float32",
    ),
    "another column": (
        lambda file: pq.write_table(pa.table({"id": ["x"], "embedding": THREE[:1]}), file),
        r"columns are id, embedding; expected id and vector; rename them",
    ),
    "no parquet": (lambda file: file.write_bytes(b"PAR1"), r"b\.parquet: cannot be read as parquet \(.*\); write the"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_does_not_fit_is_refused_by_file_and_row(what: str, tmp_path: Path) -> None:
    """The line names the place, and no temporary file is left."""
    write(tmp_path / "a.parquet", DOCUMENTS, VECTORS.tolist())
    BAD[what][0](tmp_path / "b.parquet")
    with pytest.raises(BadInput, match=BAD[what][1]):
        build_index(tmp_path, scratch=tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]


def test_rows_are_numbered_through_the_blocks_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault beyond the first block is named by its row in the file."""
    monkeypatch.setattr(vector_files, "ROWS", 2)
    write(tmp_path / "a.parquet", DOCUMENTS, VECTORS.tolist())
    vectors = VECTORS.copy()
    vectors[7] = np.nan
    write(tmp_path / "b.parquet", [f"e{n}" for n in range(N)], vectors.tolist())
    with pytest.raises(BadInput, match=r"b\.parquet: row 7 has NaN"):
        build_index(tmp_path)
    write(tmp_path / "b.parquet", [*"abcdefgh", None, "j"], VECTORS[:10].tolist())
    with pytest.raises(BadInput, match=r"b\.parquet: row 8 has no id"):
        build_index(tmp_path)


@pytest.mark.parametrize("room", [0, 16 * N - 6], ids=["none", "for all but half of a row"])
def test_a_full_disk_is_one_line_with_the_temporary_file(room: int, tmp_path: Path) -> None:
    """Also where the last row that fits is written in part, which the system does not call an error."""
    write(tmp_path / "a.parquet", DOCUMENTS, VECTORS.tolist())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))  # stands in for the disk
    try:
        with pytest.raises(BadInput, match=r"vectors\.f32: cannot be written \(.*\); make room on its disk"):
            build_index(tmp_path, scratch=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [file.name for file in tmp_path.iterdir()] == ["a.parquet"]


def test_a_folder_without_rows_is_refused(tmp_path: Path) -> None:
    """Neither an empty folder nor empty files make an index."""
    with pytest.raises(BadInput, match="no parquet file in it"):
        build_index(tmp_path)
    write(tmp_path / "a.parquet", [], [])
    with pytest.raises(BadInput, match="no row in it"):
        build_index(tmp_path)
