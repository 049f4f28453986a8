"""Runs stage train in processes of their own, some of which SIGKILL themselves; requests in, results out, as JSON.

Python calls its audit hook for every file that is opened, renamed, removed or copied; a run counts those under its own
folder, and its training steps. A job gives the count at which the process dies, so the moments are among all that
change files, and are the same each time. One process loads the libraries, once for all requests; each run is a fork of
it. A request is a line {"folder", "jobs"}, its answer a line with a result for each job.
"""

import json
import os
import resource
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import CallbackHandler

sys.path.insert(0, str(Path(__file__).parent))
from training import params, sha256, trained

WATCHED = ("open", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "shutil.copyfile", "os.mkdir", "step")


class Steps(TrainerCallback):
    """Makes an event of each training step."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        sys.audit("step", f"step {args.seed} {state.global_step}")


def watch(folder: Path, kill_at: int, log: Path) -> None:
    """Logs this process's events, and kills it before the given one takes effect."""
    seen = []

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event not in WATCHED or (event == "open" and not (isinstance(args[2], int) and args[2] & os.O_ACCMODE)):
            return
        name = str(args[0])
        path = name if event == "step" else os.path.abspath(name)  # noqa: PTH100
        if path == str(log) or not (event == "step" or path.startswith(str(folder))):
            return
        seen.append(f"{event} {path.removeprefix(str(folder))}")
        if len(seen) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if path.endswith(".json.partial") and event == "os.rename":  # the last of the stage
            log.write_text("\n".join(seen))

    sys.addaudithook(hook)


def train(folder: Path, changes: dict[str, Any], kill_at: int, largest_file: int | None, log: Path) -> None:
    """Runs the stage in this process and ends the process; an error is left in a file."""
    os.chdir(folder)
    inputs = {name: folder / name for name in ("base", "prepared", "mined", "dev_split")}
    watch(folder, kill_at, log)
    if largest_file is not None:  # stands in for a full disk
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    try:
        trained(folder, inputs | {"start": folder / "base"}, params(**changes), "out")
    except BaseException:
        (folder / "error").write_text(traceback.format_exc())
        os._exit(1)
    os._exit(0)


def run(folder: Path, changes: dict[str, Any], kill_at: int = 0, largest_file: int | None = None) -> dict[str, Any]:
    """Runs the stage in a fork; returns its signal, events, models, receipt and curve."""
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
        "result": [sha256(folder / "out"), (folder / "out.json").read_text(), (folder / "out.csv").read_text()],
        "left": [path.name for path in (folder / "scratch" / "train").iterdir()],
        "partial": [path.name for path in folder.glob("*.partial")],
    }


def main() -> None:
    """Answers requests until there are no more."""
    trainer_init = CallbackHandler.__init__

    def with_steps(self: CallbackHandler, callbacks: list[TrainerCallback], *args: Any) -> None:
        trainer_init(self, [*callbacks, Steps()], *args)

    CallbackHandler.__init__ = with_steps
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # prints of a run are no answers
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps([run(Path(request["folder"]), **job) for job in request["jobs"]]), file=answers, flush=True)


if __name__ == "__main__":
    main()
