"""Runs `dvc repro` and shows which stage of how many runs, what it does, and the time that is left.

    python -m attune.cli.repro [ARGUMENTS OF dvc repro]

DVC and its stages write to a pseudo-terminal, so they draw their progress bars into a log, too. On a terminal all
passes through but DVC's lines about stages, which get number, description and estimate. Without a terminal a stage is
one line, and one more each minute with the state of its progress bar. The seconds of each stage are kept in DVC's
.dvc/tmp, which git ignores, for the estimates of the next run.
"""

import codecs
import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path

from attune.cli.review.conflicts import refuse_conflicts
from attune.errors import BadInput

DVC = (sys.executable, "-m", "dvc", "repro")
STAGE = re.compile(r"(?:Running s|S)tage '([^']+)'(:| didn't change, skipping| is cached)")
HIDDEN = re.compile(r"> .*python -m attune\.(stages|cli\.repository\.stage)\b|(Updating|Generating) lock file |$")
CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # colours and moves of the cursor
BAR = re.compile(r"\s*(?P<what>.*?):? *(?P<share>\d+)%\|.*?\| *(?P<done>\S+) \[[\d:]+<(?P<left>[\d:?]+)(?P<rest>.*)\]")
# other bars, of DVC's cache and of data without a known length, and what a terminal makes of DVC's erasures
NOISE = re.compile(r".*\[\d+:\d\d(:\d\d)?[<,].*\]$|!$")
COLUMNS, ROWS = 120, 24  # of the pseudo-terminal, where output goes to a file
MINUTE = 60.0


def in_words(seconds: float) -> str:
    """Returns a time in the two units that matter: 35 s, 18 min, 1 h 5 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def seconds_file(folder: Path) -> Path:
    """Returns the file with the seconds of a project's stages; each project of a DVC repository has one of its own.

    Args:
        folder: the project's root, which is DVC's root or lies below it.
    """
    here = folder.resolve()
    root = next((path for path in (here, *here.parents) if (path / ".dvc").is_dir()), here)
    file = root / ".dvc" / "tmp" / "attune_seconds" / here.relative_to(root)
    return file.with_name(f"{file.name}.json")


def descriptions(folder: Path) -> dict[str, str]:
    """Returns `desc` of each stage in dvc.yaml by the name that DVC prints, such as embed@base, in the file's order."""
    from ruamel.yaml import YAML  # noqa: PLC0415 - a run with nothing to do reads no YAML here

    pipeline, values = (
        YAML(typ="safe").load((folder / name).read_text(encoding="utf-8")) for name in ("dvc.yaml", "advanced.yaml")
    )
    found: dict[str, str] = {}
    for name, stage in pipeline["stages"].items():
        instances = stage.get("foreach", {})
        if isinstance(instances, str):  # "${encoders}"
            instances = values[instances[2:-1]]
        content = stage.get("do", stage)
        names = [f"{name}@{key}" for key in instances] or [name]
        found |= dict.fromkeys(names, content.get("desc", ""))
    return found


class Picture:
    """Prints the progress of a run from DVC's output, given to `feed`; call `tick` about once a second.

    Args:
        folder: the project's root, with dvc.yaml.
        is_terminal: passes progress bars through; otherwise each is a line per minute.
    """

    def __init__(self, folder: Path, is_terminal: bool) -> None:
        self.folder, self.is_terminal = folder, is_terminal
        self.seconds_file = seconds_file(folder)
        self.seconds = self._read_seconds()  # by stage, of this run or an earlier one
        self.passed: dict[str, bool] = {}  # stages so far; whether they ran
        self.stages: dict[str, str] = {}
        self.running, self.bar, self.rest = "", "", ""
        self.begin = self.start = self.last_line = time.monotonic()

    def _read_seconds(self) -> dict[str, float]:
        with contextlib.suppress(OSError, ValueError):
            content = json.loads(self.seconds_file.read_text(encoding="utf-8"))
            return {str(name): float(value) for name, value in content.items()}
        return {}

    def feed(self, text: str) -> None:
        """Takes in output, a whole or a part of a line."""
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            self._line(line)
        if not self.is_terminal:
            self._bar(self.rest)
            self.rest = "".join(self.rest.rpartition("\r")[1:])
        elif self.rest.startswith(("\r", "\x1b")):  # DVC's lines about stages begin with a letter
            self.flush()

    def flush(self) -> None:
        """Passes a part of a line on to the terminal."""
        if self.is_terminal:
            self._write(self.rest)
            self.rest = ""

    def _line(self, line: str) -> None:
        before, returned, last = line.rpartition("\r")  # DVC clears its own bars before it writes a line
        plain = CODES.sub("", last).rstrip()
        if match := STAGE.match(plain):
            if self.is_terminal:
                self._write(before + returned)
            self._stage(match[1], match[2])
        elif self.is_terminal:
            if not plain or not HIDDEN.match(plain):
                self._write(f"{line}\n")
        elif not self._bar(line) and not HIDDEN.match(plain) and not NOISE.match(plain):
            self._write(f"{plain}\n")

    def _bar(self, text: str) -> bool:
        """Remembers the state of a progress bar; tells if the text ends in one."""
        state = next((part for part in reversed(CODES.sub("", text).split("\r")) if part.strip()), "")
        if match := BAR.match(state):
            what = match["what"] or self.running
            bar = f"{what}: {match['done']} ({match['share']}%), {match['left']} left{match['rest']}"
            self.bar = "" if match["share"] == "100" else bar
        return bool(match)

    def _stage(self, name: str, event: str) -> None:
        self.finish()
        is_running = event == ":"
        self.passed[name] = is_running
        if event == " didn't change, skipping":
            return
        self.stages = self.stages or descriptions(self.folder)
        if is_running:
            self.running, self.bar = name, ""
            self.start = self.last_line = time.monotonic()
        what = self.stages.get(name, "") + self._estimate() if is_running else "its outputs are in DVC's cache"
        self._write(f"[{len(self.passed)} of {self._total()}] {name}: {what}\n")

    def _total(self) -> int:
        return max(len(self.stages), len(self.passed))

    def _estimate(self) -> str:
        """Returns what this stage took last time, and the sum over all that may still run; empty if it never ran."""
        if self.running not in self.seconds:
            return ""
        left = self.seconds[self.running] + sum(self.seconds.get(n, 0) for n in self.stages if n not in self.passed)
        return f" ({in_words(self.seconds[self.running])} last time; at most {in_words(left)} left)"

    def tick(self) -> None:
        """Prints the state of a stage if it has been silent for a minute and no terminal shows its bar."""
        now = time.monotonic()
        if self.running and not self.is_terminal and now - self.last_line >= MINUTE:
            self.last_line = now
            state = f"; {self.bar}" if self.bar else self._estimate()
            self._write(f"  {self.running}: {in_words(now - self.start)}{state}\n")

    def finish(self) -> None:
        """Keeps the seconds of the stage that ran, because the next has begun or DVC has ended well."""
        if self.running:
            self.seconds[self.running] = round(time.monotonic() - self.start, 1)
            self.running = ""
            with contextlib.suppress(OSError):
                self.seconds_file.parent.mkdir(parents=True, exist_ok=True)
                self.seconds_file.write_text(json.dumps(self.seconds), encoding="utf-8")

    def end(self, exit_code: int) -> None:
        """Prints what is left of the output, and how much ran."""
        self.flush()
        if self.rest:
            self._line(self.rest)
        if exit_code == 0:
            self.finish()
            if n_ran := sum(self.passed.values()):
                seconds = in_words(time.monotonic() - self.begin)
                self._write(f"attune: {n_ran} of {self._total()} stages ran, in {seconds}\n")

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


def open_terminal() -> tuple[int, int]:
    """Opens a pseudo-terminal that changes no bytes; returns its two ends, ours and the program's."""
    ours, theirs = pty.openpty()
    attributes = termios.tcgetattr(theirs)
    attributes[1] &= ~termios.OPOST  # else \n becomes \r\n
    termios.tcsetattr(theirs, termios.TCSANOW, attributes)
    resize(theirs)
    return ours, theirs


def resize(descriptor: int) -> None:
    """Gives a pseudo-terminal the size of the terminal that this program writes to, or of one that suits a log."""
    size = (0, 0)
    with contextlib.suppress(termios.error):
        size = termios.tcgetwinsize(1)
    termios.tcsetwinsize(descriptor, size if size[1] else (ROWS, COLUMNS))


def run(command: Sequence[str], picture: Picture) -> int:
    """Runs a command, with its output in the picture; returns its exit code, 128 and more for a signal.

    Ctrl-C reaches the command from the terminal, as without this program; SIGTERM is passed on.
    """
    ours, theirs = open_terminal()
    signal.signal(signal.SIGWINCH, lambda *_: resize(ours))
    signal.signal(signal.SIGINT, lambda *_: None)  # not SIG_IGN, which the command would inherit
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, cwd=picture.folder) as process:
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        os.close(theirs)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while True:
            is_ready = bool(select.select([ours], [], [], 0.5)[0])
            picture.tick()
            if is_ready:
                try:
                    picture.feed(decoder.decode(os.read(ours, 1 << 16)))
                except OSError:  # EIO: the command has ended
                    break
            else:
                picture.flush()
                if process.poll() is not None:  # something that it started keeps the terminal open
                    break
        code = process.wait()
    os.close(ours)
    code = code if code >= 0 else 128 - code
    picture.end(code)
    return code


def main() -> None:
    """Runs `dvc repro` with the arguments of this program in the current folder, and exits with its code."""
    try:
        refuse_conflicts(Path())
    except BadInput as error:
        sys.exit(f"attune repro: {error}")
    sys.exit(run([*DVC, *sys.argv[1:]], Picture(Path(), sys.stdout.isatty())))


if __name__ == "__main__":
    main()
