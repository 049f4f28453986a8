"""Processes that share a stage end together: one line says why, nothing half-written is left, nobody stays behind."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from failing_stage import fail

from attune.encoding import launch
from attune.encoding.launch import SharedParams
from attune.errors import BadInput
from attune.stage import Machine

TESTS = Path(__file__).resolve().parents[1]
ONE_THREAD = Machine(threads=1, precision="fp32", batch_tokens=64)
TWO = SharedParams(processes=2, machine=ONE_THREAD)
Run = Callable[[str], "subprocess.CompletedProcess[str]"]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def are_alive(folder: Path) -> bool:
    """Says if one of the two processes that left their ids in a folder is still running."""
    return any(is_alive(int((folder / str(rank)).read_text())) for rank in range(2))


@pytest.fixture
def run_stage(tmp_path: Path, warm_stages: Path) -> Run:
    """Runs the failing stage on two interpreters as dvc.yaml runs stages; the launcher alone is a fork."""
    return partial(_run_stage, tmp_path, warm_stages)


def _run_stage(folder: Path, python: Path, how: str) -> "subprocess.CompletedProcess[str]":
    machine = "machine: {threads: 1, precision: fp32, batch_tokens: 64}\n"
    (folder / "params.yaml").write_text(machine + "fail: {processes: 2}\n")
    (folder / "pids").mkdir()
    environment = os.environ | {"PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent / 'src'}"}
    command = [python, "-m", "failing_stage", "--how", how, "--pids", "pids", "--out", "out"]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600
    )


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ("bad input", "rows.csv:3: got 'x', expected a number; mend it"),
        ("bad input everywhere", "rows.csv:3: got 'x', expected a number; mend it"),
        ("killed", "process 2 of 2 was ended by SIGKILL, perhaps for want of memory; run again"),
    ],
)
def test_one_process_fails_and_all_end_with_its_line(tmp_path: Path, run_stage: Run, how: str, line: str) -> None:
    """That line is all of stderr, exit code 1; neither output nor partial output is left."""
    done = run_stage(how)
    assert (done.returncode, done.stderr) == (1, f"attune fail: {line}\n")
    assert not are_alive(tmp_path / "pids")
    assert {path.name for path in tmp_path.iterdir()} == {"params.yaml", "pids"}


def test_a_traceback_is_of_the_process_that_had_the_fault(tmp_path: Path, run_stage: Run) -> None:
    """Rank 0 fails later, for want of rank 1; its lost connection explains nothing and is not shown."""
    done = run_stage("fault")
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1
    assert done.stderr.splitlines()[-1] == "KeyError: 'a fault of the program'"
    assert not are_alive(tmp_path / "pids")
    assert {path.name for path in tmp_path.iterdir()} == {"params.yaml", "pids"}


def test_processes_end_when_their_launcher_is_killed(tmp_path: Path, run_stage: Run) -> None:
    """Within seconds, by SIGKILL, which it cannot answer; the output never gets its name."""
    done = run_stage("orphaned")
    assert done.returncode == 128 + signal.SIGKILL, done.stderr
    deadline = time.monotonic() + 300
    while are_alive(tmp_path / "pids") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not are_alive(tmp_path / "pids")
    assert not (tmp_path / "out").exists()


def test_torchrun_with_another_number_of_processes_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Rank 0 names both numbers; the other ranks say nothing."""
    for name, value in {"WORLD_SIZE": "4", "LOCAL_RANK": "0", "MASTER_ADDR": "host", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(launch, "GRACE", 0.0)
    arguments = {"how": "", "pids": tmp_path, "out": tmp_path / "out"}
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(BadInput, match=r"fail.processes: got 2, but torchrun started 4; set it to 4"):
        launch.call(fail, TWO, None, **arguments)
    monkeypatch.setenv("RANK", "3")
    with pytest.raises(SystemExit):
        launch.call(fail, TWO, None, **arguments)
    assert not list(tmp_path.iterdir())
