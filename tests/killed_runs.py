"""Runs stage train in forked processes, some of which kill themselves with SIGKILL; reads and writes lines of JSON.

An audit hook counts events in a run's folder (files opened for writing, renamed, removed, copied) and training steps. A
job gives the count at which the process kills itself, so every change of a file can be interrupted, reproducibly. One
process loads the libraries and warms up once, and forks each run. A request is a line {"folder", "jobs"}; its answer is
a line with a result per job.
"""

import gc
import json
import os
import resource
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import torch
from training import inputs_of, params, sha256, trained
from transformers import TrainerCallback
from transformers.trainer_callback import CallbackHandler

from attune.encoding.encoders import load_torch
from attune.stages import train as stage

WATCHED = ("open", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "shutil.copyfile", "os.mkdir", "step")


class Steps(TrainerCallback):
    """Raises an audit event at each training step."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        sys.audit("step", f"step {args.seed} {state.global_step}")


def watch(folder: Path, kill_at: int, log: Path) -> None:
    """Logs the events of this process, and kills it before event number `kill_at` takes effect."""
    events = []

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event not in WATCHED or (event == "open" and not (isinstance(args[2], int) and args[2] & os.O_ACCMODE)):
            return
        name = str(args[0])
        path = name if event == "step" else os.path.abspath(name)  # noqa: PTH100
        if path == str(log) or not (event == "step" or path.startswith(str(folder))):
            return
        events.append(f"{event} {path.removeprefix(str(folder))}")
        if len(events) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if path.endswith(".json.partial") and event == "os.rename":  # the last event of the stage
            log.write_text("\n".join(events))

    sys.addaudithook(hook)


def train(folder: Path, changes: dict[str, Any], kill_at: int, largest_file: int | None, log: Path) -> None:
    """Runs the stage and ends this process; writes an error to the file `error`."""
    os.chdir(folder)
    inputs = inputs_of(folder)
    watch(folder, kill_at, log)
    if largest_file is not None:  # simulates a full disk
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    try:
        trained(folder, inputs, params(**changes), "out")
    except BaseException:
        (folder / "error").write_text(traceback.format_exc())
        os._exit(1)
    os._exit(0)


def run(folder: Path, changes: dict[str, Any], kill_at: int = 0, largest_file: int | None = None) -> dict[str, Any]:
    """Runs the stage in a fork; returns its signal and error, or events, hashes, receipt, curves and leftover files."""

    def read(name: str) -> str:
        return (folder / name).read_text()

    log, error = folder / "events", folder / "error"
    for path in (log, error):
        path.unlink(missing_ok=True)
    if (child := os.fork()) == 0:
        train(folder, changes, kill_at, largest_file, log)
    _, status = os.waitpid(child, 0)
    if not os.WIFEXITED(status) or os.WEXITSTATUS(status):
        signal_number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        return {"signal": signal_number, "error": error.read_text() if error.exists() else ""}
    return {
        "signal": None,
        "events": log.read_text().split("\n"),
        "result": [sha256(folder / "out"), *(read(f"out{end}") for end in (".json", ".csv", "-rates.csv"))],
        "left": [path.name for path in (folder / "scratch" / "train").iterdir()],
        "partial": [path.name for path in folder.glob("*.partial")],
    }


def warm_up(base: Path) -> None:
    """Fills caches by loading and saving an encoder, and by listing attune's loaded files: forks inherit them.

    One thread, because a fork has none of its parent's. Frozen objects cost a fork's garbage collection no time.
    """
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        load_torch(base).save_pretrained(folder)
    stage.code_files()
    gc.collect()
    gc.freeze()


def main() -> None:
    """Answers requests until the input ends."""
    trainer_init = CallbackHandler.__init__

    def with_steps(self: CallbackHandler, callbacks: list[TrainerCallback], *args: Any) -> None:
        trainer_init(self, [*callbacks, Steps()], *args)

    CallbackHandler.__init__ = with_steps
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # keeps prints of a run out of the answers
    for place, line in enumerate(sys.stdin):
        request = json.loads(line)
        if place == 0:
            warm_up(Path(request["folder"]) / "base")
        print(json.dumps([run(Path(request["folder"]), **job) for job in request["jobs"]]), file=answers, flush=True)


if __name__ == "__main__":
    main()
