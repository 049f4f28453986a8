"""Killed at any time, a run that is started again ends in the same bytes, and repeats no seed that was finished."""

import json
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from training import ENVIRONMENT, add_answers, inputs_of, task

from attune.tuning.training.checkpoints import last_complete_checkpoint

# everything with a state that a checkpoint must hold: dropout, patience, seeds, general rows, distillation
ALL = {
    "seeds": [5, 6], "epochs": 2, "n_evaluations": 4, "patience": 2, "general_share": 0.2, "distill_weight": 1.0,
}  # fmt: skip
ADAPTED = {
    "epochs": 2, "loss": "gist", "mini_batch_size": 4, "matryoshka_dims": [8], "lora_rank": 2, "learning_rate": 2e-2,
}  # fmt: skip
# rates are ten times as high with adapters: the highest suits this encoder
SEARCHED = {"epochs": 2, "learning_rate": "auto", "lora_rank": 2, "n_evaluations": 2}


class Runs:
    """Client of a process that runs the stage and has loaded the libraries, which takes longer than all the runs."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def __call__(self, folder: Path, *jobs: dict[str, Any]) -> list[dict[str, Any]]:
        """Runs the stage once per job, in one folder, each run killed at its event, if it has one."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps({"folder": str(folder), "jobs": jobs}) + "\n")
        self.process.stdin.flush()
        results: list[dict[str, Any]] = json.loads(self.process.stdout.readline())
        return results


@pytest.fixture(scope="module")
def runs(warm_stages: Path) -> Iterator[Runs]:
    program = [warm_stages, "-m", "killed_runs"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(program, env=ENVIRONMENT, text=True, **pipes) as process:
        yield Runs(process)
        assert process.stdin
        process.stdin.close()
    assert process.returncode == 0


def job(changes: dict[str, Any], kill_at: int = 0, **more: Any) -> dict[str, Any]:
    return {"changes": changes, "kill_at": kill_at, **more}


@pytest.fixture
def folder(tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    task(tmp_path, tiny_encoder)
    return tmp_path


def moments(events: list[str], *kinds: tuple[str, int], seed: int = 13) -> list[int]:
    """Draws random moments, by a seed, among the events of some kinds: n of each."""
    chance = random.Random(seed)
    return [
        place
        for word, n in kinds
        for place in chance.sample([place for place, event in enumerate(events, start=1) if word in event], n)
    ]


def assert_killed_runs_end_alike(
    folder: Path, runs: Runs, changes: dict[str, Any], whole: dict[str, Any], at: list[int]
) -> None:
    results = runs(folder, *(job(changes, kill_at) for moment in at for kill_at in (moment, 0)))
    for moment, killed, resumed in zip(at, results[::2], results[1::2], strict=True):
        where = whole["events"][moment - 1]
        assert killed["signal"] == signal.SIGKILL, where
        assert resumed["result"] == whole["result"], where
        assert resumed["left"] == resumed["partial"] == [], where


def test_a_run_killed_at_six_random_moments_ends_in_the_same_bytes(folder: Path, runs: Runs) -> None:
    """Models, candidates, receipt, curve: in training, an evaluation, a checkpoint, a result, at the end."""
    (whole,) = runs(folder, job(ALL))
    assert whole["left"] == []
    kinds = (("step", 2), ("checkpoint-", 1), ("evaluations", 1), ("result.json", 1), ("/out", 1))
    assert_killed_runs_end_alike(folder, runs, ALL, whole, moments(whole["events"], *kinds))


def test_adapters_matryoshka_and_guide_resume_to_the_same_bytes(folder: Path, runs: Runs) -> None:
    """peft renames weights while it trains; a checkpoint of them is read all the same."""
    (whole,) = runs(folder, job(ADAPTED))
    assert_killed_runs_end_alike(
        folder, runs, ADAPTED, whole, moments(whole["events"], ("step", 2), ("checkpoint-", 1))
    )


def test_a_run_with_limited_pairs_and_steps_resumes_to_the_same_bytes(folder: Path, runs: Runs) -> None:
    """Two of four pairs of each query are drawn anew in each epoch of 18 steps; the run ends in the third."""
    add_answers(inputs_of(folder), 3)
    limited = {"epochs": 4, "max_steps": 40, "max_pairs_per_query": 2, "n_evaluations": 4, "patience": 4}
    (whole,) = runs(folder, job(limited))
    assert json.loads(whole["result"][1])["n_steps"] == 40
    steps = [place for place, event in enumerate(whole["events"], start=1) if event.startswith("step")]
    # within the second epoch, and within the third
    assert_killed_runs_end_alike(folder, runs, limited, whole, [steps[25], steps[38]])


def test_a_search_of_the_rate_resumes_to_the_same_bytes(folder: Path, runs: Runs) -> None:
    """Killed in a probe, in a probe's evaluation and in the run itself; no probe that was finished is repeated."""
    (whole,) = runs(folder, job(SEARCHED))
    probes = [place for place, event in enumerate(whole["events"], start=1) if "probe-" in event]
    results = [place for place in probes if "result.json" in whole["events"][place - 1]]
    scores = [place for place in probes if "evaluations" in whole["events"][place - 1]]
    steps = [place for place, event in enumerate(whole["events"], start=1) if event.startswith("step")]
    at = [results[2] - 1, scores[-1], steps[-1]]
    assert_killed_runs_end_alike(folder, runs, SEARCHED, whole, at)
    _, resumed = runs(folder, job(SEARCHED, steps[-1]), job(SEARCHED))
    assert not any("probe-" in event and "open" in event for event in resumed["events"])
    assert not any("checkpoint-" in whole["events"][place - 1] for place in probes)


def test_a_run_killed_after_it_decided_to_stop_takes_no_further_step(folder: Path, runs: Runs) -> None:
    """Killed between the last checkpoint and the result: the rerun trains no more, and keeps the same weights."""
    impatient = {"epochs": 3, "n_evaluations": 12, "patience": 1, "learning_rate": 2e-2, "shares": []}
    (whole,) = runs(folder, job(impatient))
    receipt = json.loads(whole["result"][1])
    assert receipt["n_steps"] < 3 * 9 and receipt["kept_step"] < receipt["n_steps"]
    final = next(place for place, event in enumerate(whole["events"], start=1) if "result.json.partial" in event)
    killed, resumed = runs(folder, job(impatient, final), job(impatient))
    assert killed["signal"] == signal.SIGKILL
    assert resumed["result"] == whole["result"]
    assert not any(event.startswith("step") for event in resumed["events"])


def test_a_finished_seed_and_finished_steps_are_not_repeated(folder: Path, runs: Runs) -> None:
    """Killed in the second seed's last step: the rerun takes no step of the first, and few of the second."""
    (whole,) = runs(folder, job(ALL))
    steps = [event for event in whole["events"] if event.startswith("step")]
    last = whole["events"].index([event for event in steps if event.startswith("step step 6")][-1]) + 1
    _, resumed = runs(folder, job(ALL, last), job(ALL))
    again = [event for event in resumed["events"] if event.startswith("step")]
    assert again and again == steps[-len(again) :]
    assert len(again) < len([event for event in steps if "step 6" in event])


def test_a_finished_checkpoint_of_other_parameters_is_not_reused(folder: Path, runs: Runs) -> None:
    """Killed late with one learning rate: with another every step is taken, and nothing of the first run is touched."""
    slow, fast = ({"learning_rate": rate, "epochs": 2} for rate in (1e-3, 2e-3))
    (whole,) = runs(folder, job(fast))
    steps = [event for event in whole["events"] if event.startswith("step")]
    killed, other = runs(folder, job(slow, whole["events"].index(steps[-1]) + 1), job(fast))
    assert killed["signal"] == signal.SIGKILL
    assert other["result"] == whole["result"]
    assert [event for event in other["events"] if event.startswith("step")] == steps
    (left,) = other["left"]
    assert last_complete_checkpoint(folder / "scratch" / "train" / left / "run-0.001-rows")


@pytest.mark.parametrize("missing", ["trainer_state.json", "optimizer.pt", "rng_state.pth"])
def test_an_incomplete_checkpoint_is_removed_and_passed_over(tmp_path: Path, missing: str) -> None:
    """One that a kill or a full disk cut short is removed, and the one before it continued."""
    for step in (9, 18):
        (tmp_path / f"checkpoint-{step}").mkdir()
        for name in ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
            (tmp_path / f"checkpoint-{step}" / name).touch()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text("{}")
    assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-18")
    (tmp_path / "checkpoint-18" / missing).unlink()
    if missing == "trainer_state.json":
        (tmp_path / "checkpoint-18" / missing).write_text('{"half')
    assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-9")
    assert not (tmp_path / "checkpoint-18").exists()


def test_a_full_disk_while_writing_a_checkpoint_is_one_line(folder: Path, runs: Runs) -> None:
    """torch raises RuntimeError there; the user gets the file's name and what to do (a file-size limit stands in)."""
    size = (folder / "base" / "model.safetensors").stat().st_size * 3 // 2
    (full,) = runs(folder, job({}, largest_file=size))
    last = full["error"].strip().splitlines()[-1]
    assert full["signal"] == 0
    assert "BadInput" in last and "scratch/train/" in last and "checkpoint-" in last
    assert "cannot be written" in last and "make room on its disk and run again" in last
    assert not (folder / "out").exists()
