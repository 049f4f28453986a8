"""A full disk ends in one line that names the file, whichever library wrote it; no half-written file stays."""

import errno
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import polars as pl
import pytest
import torch
from safetensors.numpy import save_file

from attune.encoding import shards
from attune.errors import BadInput, naming
from attune.stage import fail, replacing
from attune.tables import write, write_csv

ROOM = 100_000  # bytes
MUCH = np.arange(100_000, dtype=np.float32)
COLUMNS = {"value": pl.Float32}


@contextmanager
def little_room() -> Iterator[None]:
    """Limits the size of files, which stands in for a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def saved_graph(path: Path) -> None:
    weights = onnx.numpy_helper.from_array(MUCH, "w")
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [weights])), path)


def stored(path: Path) -> None:
    with sqlite3.connect(path) as store:
        store.execute("PRAGMA max_page_count = 8")
        store.execute("CREATE TABLE t (value BLOB)")
        store.execute("INSERT INTO t VALUES (?)", [MUCH.tobytes()])


WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("x" * 2 * ROOM),
    "lines": lambda path: path.open("w").writelines(["x" * 80] * ROOM),
    "numpy": lambda path: np.save(path.open("wb"), MUCH),
    "a memory map": lambda path: np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=MUCH.shape),
    "safetensors": lambda path: save_file({"w": MUCH}, path),
    "torch": lambda path: torch.save(torch.from_numpy(MUCH), path),
    "onnx": saved_graph,
    "parquet": lambda path: write(pl.DataFrame({"value": MUCH}), path, COLUMNS),
    "csv": lambda path: write_csv(pl.DataFrame({"value": MUCH}), path, COLUMNS),
    "sqlite": stored,
}


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_every_library_that_finds_no_room_is_one_line_with_the_file(
    tmp_path: Path, writer: Callable[[Path], object]
) -> None:
    """Errors of open files and of libraries name no file; the old file stays as it was, and no unfinished one."""
    file = tmp_path / "file"
    file.write_text("old")
    with little_room(), pytest.raises(BadInput) as caught, replacing(file) as writing:
        writer(writing)
    (line,) = caught.value.args
    assert line.startswith(f"{file}: cannot be written (")
    assert line.endswith("); make room on its disk and run again") and line.isprintable()
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and file.read_text() == "old"


def test_of_several_outputs_the_one_without_room_is_named(tmp_path: Path) -> None:
    """It was written last, in whichever folder; the ending of unfinished outputs is no name that a user knows."""
    for name in ("first.partial", "second.partial/part"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "done").write_text("x")
        os.utime(tmp_path / name / "done", (1, 1))
    with (
        little_room(),
        pytest.raises(BadInput, match=rf"^{tmp_path}/second/part/last: cannot be written \(File too large\)"),
        naming(tmp_path / "first.partial", tmp_path / "second.partial"),
    ):
        (tmp_path / "second.partial" / "part" / "last").write_text("x" * 2 * ROOM)


@pytest.mark.parametrize("copy", [shutil.copy2, shutil.copyfile], ids=["all", "bytes"])
def test_copying_a_folder_names_the_copy_without_room(tmp_path: Path, copy: Callable[[str, str], object]) -> None:
    """shutil raises a list of tuples; the first of them is told, with the copy and not with the original."""
    (tmp_path / "model" / "onnx").mkdir(parents=True)
    (tmp_path / "model" / "small").write_text("x")
    (tmp_path / "model" / "onnx" / "large").write_text("x" * 2 * ROOM)
    with little_room(), pytest.raises(BadInput) as caught, naming(tmp_path / "out.partial"):
        shutil.copytree(tmp_path / "model", tmp_path / "out.partial", copy_function=copy)
    (line,) = caught.value.args
    assert line.startswith(f"{tmp_path}/out/onnx/large: cannot be written (File too large); make room")


def test_copying_what_may_not_be_read_is_no_list_of_tuples(tmp_path: Path) -> None:
    """A link that leads nowhere cannot be copied: one line, too."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "gone").symlink_to("nowhere")
    with pytest.raises(BadInput) as caught, naming(tmp_path / "out.partial"):
        shutil.copytree(tmp_path / "model", tmp_path / "out.partial")
    (line,) = caught.value.args
    assert line.startswith(f"{tmp_path}/out/gone: cannot be written ([Errno 2] No such file") and "(" in line


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_every_number_of_a_full_disk_is_known(tmp_path: Path, number: int) -> None:
    """No space, no quota, a limit on the size of files."""
    with pytest.raises(BadInput, match=os.strerror(number)), naming(tmp_path):
        raise OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    "error", [ValueError("wrong"), PermissionError(errno.EACCES, "denied", "file"), BadInput("a: b"), RuntimeError()]
)
def test_other_errors_stay_as_they_are(tmp_path: Path, error: Exception) -> None:
    """A fault of the program keeps its traceback, and a line its words."""
    with pytest.raises(type(error)) as caught, naming(tmp_path):
        raise error
    assert caught.value is error


def test_the_line_reaches_the_user(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As every expected error of a stage does, with exit code 1."""
    try:
        with naming(tmp_path / "out"):
            raise OSError(errno.ENOSPC, "No space left on device")
    except BadInput as error:
        with pytest.raises(SystemExit, match="1"):
            fail("release", error)
    assert capsys.readouterr().err == (
        f"attune release: {tmp_path}/out: cannot be written (No space left on device); "
        "make room on its disk and run again\n"
    )


def test_vectors_are_written_only_where_there_is_room_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole file is allocated first: no shard is read before."""

    def full(_: int, begin: int, size: int) -> None:
        assert (begin, size) == (0, 128 + 2000 * 4 * 4)  # NumPy's header, then the rows
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(BadInput, match=r"out\.npy: cannot be written \(No space left"), naming(tmp_path):
        shards.write_vectors(tmp_path / "no shards", np.arange(2000), 4, tmp_path / "out.npy")


SMALL_DISK = """
import sys
from pathlib import Path
import numpy as np
from attune.encoding import shards
from attune.errors import BadInput, naming
shards_in, disk = Path(sys.argv[1]), Path(sys.argv[2])
try:
    with naming(disk):
        shards.write_vectors(shards_in, np.arange(3000), 384, disk / "corpus.npy")
except BadInput as error:
    print(error)
"""


def test_on_a_full_disk_vectors_end_in_a_line_and_not_by_a_signal(tmp_path: Path) -> None:
    """A disk of 1 MiB, for 4 MB of vectors: writing through a memory map alone dies of SIGBUS (planted below)."""
    for number in range(3):
        np.save(tmp_path / f"{number}.npy", np.ones((shards.SIZE, 384), dtype=np.float32))
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = f'mount -t tmpfs -o size=1m tmpfs {disk} && exec {sys.executable} -c "$0" {tmp_path} {disk}'
    if (
        shutil.which("unshare") is None
        or subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("needs a mount of its own, which this machine does not allow")
    run = ["unshare", "-rm", "sh", "-c", mounted]
    done = subprocess.run([*run, SMALL_DISK], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout
        == f"{disk}/corpus.npy: cannot be written (No space left on device); make room on its disk and run again\n"
    )
    planted = SMALL_DISK.replace("try:", "shards._allocate = lambda *_: None\ntry:")
    assert subprocess.run([*run, planted], check=False, capture_output=True).returncode in (-7, 135)
