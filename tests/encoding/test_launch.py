"""Processes that share a stage end together: one line says why, nothing half-written is left, nobody stays behind."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from failing_stage import fail

from attune.encoding import launch
from attune.encoding.launch import SharedParams
from attune.errors import BadInput

TESTS = Path(__file__).resolve().parents[1]
SOURCE = TESTS.parent / "src"
TWO = SharedParams(processes=2, threads=1)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def pids(folder: Path) -> list[int]:
    return [int((folder / str(place)).read_text()) for place in range(2)]


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ("bad input", r"rows.csv:3: got 'x', expected a number; mend it"),
        ("killed", r"process 2 of 2 was ended by SIGKILL, perhaps for want of memory; run again"),
    ],
)
def test_one_process_fails_and_all_end_with_its_line(tmp_path: Path, how: str, line: str) -> None:
    with pytest.raises(BadInput, match=line) as failed:
        launch.call(fail, TWO, None, how=how, pids=tmp_path, out=tmp_path / "out")
    assert len(failed.value.args) == 1
    assert not any(is_alive(pid) for pid in pids(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


def test_a_fault_is_told_by_the_process_that_had_it(tmp_path: Path) -> None:
    """The first process fails later, for want of the second; its lost connection explains nothing."""
    with pytest.raises(RuntimeError, match="KeyError: 'a fault of the program'"):
        launch.call(fail, TWO, None, how="fault", pids=tmp_path, out=tmp_path / "out")
    assert not any(is_alive(pid) for pid in pids(tmp_path))
    assert not (tmp_path / "out").exists()


PROGRAM = """
import sys
from pathlib import Path
sys.path[:0] = {paths}
from failing_stage import fail
from attune.encoding import launch
from attune.encoding.launch import SharedParams
if __name__ == "__main__":
    folder = Path({folder!r})
    launch.call(fail, SharedParams(processes=2, threads=1), None, how="orphaned", pids=folder, out=folder / "out")
"""


def test_processes_end_when_what_started_them_is_killed(tmp_path: Path) -> None:
    """Within seconds, by SIGKILL, which it cannot answer; the output never gets its name."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(paths=[str(TESTS), str(SOURCE)], folder=str(tmp_path)))
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode < 0, done.stderr
    deadline = time.monotonic() + 10
    while any(is_alive(pid) for pid in pids(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(is_alive(pid) for pid in pids(tmp_path))
    assert not (tmp_path / "out").exists()


def test_torchrun_with_another_number_of_processes_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Both numbers are named; other processes than the first say nothing."""
    for name, value in {"WORLD_SIZE": "4", "LOCAL_RANK": "0", "MASTER_ADDR": "host", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    arguments = {"how": "", "pids": tmp_path, "out": tmp_path / "out"}
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(BadInput, match=r"fail.processes: got 2, but torchrun started 4; set it to 4"):
        launch.call(fail, TWO, None, **arguments)
    monkeypatch.setenv("RANK", "3")
    with pytest.raises(SystemExit):
        launch.call(fail, TWO, None, **arguments)
    assert not list(tmp_path.iterdir())
