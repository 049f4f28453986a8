"""A full disk ends in one line that names the file, whichever library wrote it; no half-written file stays."""

import errno
import json
import os
import re
import resource
import shutil
import signal
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
from attune.errors import BadInput
from attune.files import replacing, writing
from attune.plots import write_csv
from attune.tables import write

ROOT = Path(__file__).resolve().parents[2]
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
}


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_every_library_that_finds_no_room_is_one_line_with_the_file(
    tmp_path: Path, writer: Callable[[Path], object]
) -> None:
    """Errors of open files and of libraries name no file; the old file stays as it was, and no unfinished one."""
    file = tmp_path / "file"
    file.write_text("old")
    with little_room(), pytest.raises(BadInput) as caught, replacing(file) as unfinished:
        writer(unfinished)
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
        writing(tmp_path / "first.partial", tmp_path / "second.partial"),
    ):
        (tmp_path / "second.partial" / "part" / "last").write_text("x" * 2 * ROOM)


def test_a_library_that_removes_its_file_leaves_the_folder_to_be_named(tmp_path: Path) -> None:
    """safetensors does: a file beside it, which had room, must not be blamed."""
    folder = tmp_path / "model.partial"
    with little_room(), pytest.raises(BadInput) as caught, writing(folder):
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        os.utime(folder / "config.json", (1, 1))
        save_file({"w": MUCH}, folder / "model.safetensors")
    assert str(caught.value).startswith(f"{tmp_path}/model: cannot be written (File too large)")


@pytest.mark.parametrize("copy", [shutil.copy2, shutil.copyfile], ids=["all", "bytes"])
def test_copying_a_folder_names_the_copy_without_room(tmp_path: Path, copy: Callable[[str, str], object]) -> None:
    """shutil raises a list of tuples; the first of them is told, with the copy and not with the original."""
    (tmp_path / "model" / "onnx").mkdir(parents=True)
    (tmp_path / "model" / "small").write_text("x")
    (tmp_path / "model" / "onnx" / "large").write_text("x" * 2 * ROOM)
    with little_room(), pytest.raises(BadInput) as caught, writing(tmp_path / "out.partial"):
        shutil.copytree(tmp_path / "model", tmp_path / "out.partial", copy_function=copy)
    (line,) = caught.value.args
    assert line.startswith(f"{tmp_path}/out/onnx/large: cannot be written (File too large); make room")


def test_a_file_that_cannot_be_copied_is_one_line(tmp_path: Path) -> None:
    """A link that leads nowhere: shutil's list of tuples is no message, and room would not help."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "gone").symlink_to("nowhere")
    with pytest.raises(BadInput) as caught, writing(tmp_path / "out.partial"):
        shutil.copytree(tmp_path / "model", tmp_path / "out.partial")
    (line,) = caught.value.args
    assert line.startswith(f"{tmp_path}/model/gone: cannot be copied ([Errno 2] No such file") and "room" not in line


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_every_number_of_a_full_disk_is_known(tmp_path: Path, number: int) -> None:
    """No space, no quota, a limit on the size of files."""
    with pytest.raises(BadInput, match=os.strerror(number)), writing(tmp_path):
        raise OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    "error", [ValueError("wrong"), PermissionError(errno.EACCES, "denied", "file"), BadInput("a: b"), RuntimeError()]
)
def test_other_errors_stay_as_they_are(tmp_path: Path, error: Exception) -> None:
    """A fault of the program keeps its traceback, and a line its words."""
    with pytest.raises(type(error)) as caught, writing(tmp_path):
        raise error
    assert caught.value is error


def test_vectors_are_written_only_where_there_is_room_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole file is allocated first: no shard is read before."""

    def full(_: int, begin: int, size: int) -> None:
        assert (begin, size) == (0, 128 + 2000 * 4 * 4)  # NumPy's header, then the rows
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(BadInput, match=r"out\.npy: cannot be written \(No space left"), writing(tmp_path):
        shards.write_vectors([tmp_path / "no shard"] * 2, np.arange(2000), 4, tmp_path / "out.npy")


ALONE = ("unshare", "--map-root-user", "--mount")  # in a mount namespace of its own


def small_disks(folder: Path, *command: str | Path) -> "subprocess.CompletedProcess[str]":
    """Runs a command that mounts; skips the test where this machine allows none."""
    try:
        subprocess.run([*ALONE, "mount", "-t", "tmpfs", "tmpfs", folder], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs a small disk, which this machine does not let tests mount: {error}")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("src", "tests"))}
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)


# a stage of the miniature (/: with its scratch folder), the disk's size in KiB, and the file that finds no room
STAGES = {
    "collect": (256, "data/raw"),
    "embed@base": (256, "data/embeddings/base"),
    "embed@base/": (256, "scratch/embed"),
    "train@r1/": (2048, "scratch/train"),
    "merge": (2048, "models/tuned"),
    "export": (2048, "models/exported"),
    "report": (64, "metrics"),
    "release": (2048, "models/onnx"),
}


def test_every_stage_that_finds_no_room_is_one_line(finished: Path, warm_stages: Path, tmp_path: Path) -> None:
    """With the file and what to do; nothing is left but what the next run resumes from."""
    stages = [f"{name}={size}" for name, (size, _) in STAGES.items()]
    done = small_disks(tmp_path, warm_stages, "-m", "full_disks", finished, tmp_path, *stages)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    for name, (_, place) in STAGES.items():
        result, stage = results[name], name.partition("@")[0]
        assert result["code"] == 1, name
        (line,) = [line for line in result["stderr"].splitlines() if line.startswith("attune ")]
        assert re.match(
            rf"attune {stage}: (.*/disk/)?{place}[^ ]*: cannot be written \(No space left on device\); ", line
        )
        assert "Traceback" not in result["stderr"] and ".partial" not in line, name
        assert all(file.startswith("scratch/") and not file.endswith(".partial") for file in result["left"]), name


VECTORS = """
import sys
import numpy as np
from pathlib import Path
from attune.encoding import shards
folder = Path(sys.argv[1])
PLANTED
files = [folder / f"{number}.npy" for number in range(3)]
shards.write_vectors(files, np.arange(3000), 384, folder / "disk" / "corpus.npy")
"""


def test_without_taking_the_room_first_vectors_end_by_a_signal(tmp_path: Path) -> None:
    """Plants the fault: a memory map on a full disk dies of SIGBUS, not a word said."""
    for number in range(3):
        np.save(tmp_path / f"{number}.npy", np.ones((shards.SIZE, 384), dtype=np.float32))
    (tmp_path / "disk").mkdir()
    mount = (
        f"import subprocess; subprocess.run('mount -t tmpfs -o size=1m tmpfs {tmp_path}/disk', shell=True, check=True)"
    )
    for planted, code in (("", 1), ("; shards._allocate = lambda *_: None", -signal.SIGBUS)):
        (tmp_path / "program.py").write_text(VECTORS.replace("PLANTED", mount + planted))
        done = small_disks(tmp_path / "disk", *ALONE, sys.executable, tmp_path / "program.py", tmp_path)
        assert done.returncode in (code, 128 - code), done.stderr
