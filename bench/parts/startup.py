"""Start-up: seconds until each stage has its imports, and of `dvc repro` with nothing to do, the gate and the comment.

Each figure is the median over repetitions in new processes, after one that fills the page cache. CPU time (user and
system, of the process and its children) stands beside wall time, which varies on a busy machine. Imports inside a
stage's functions count if the default pipeline needs them. Imports of the libraries alone are measured as the floor.

    python -m bench.parts.startup                  everything, a few minutes
    python -m bench.parts.startup split report     these stages only
    python -m bench.parts.startup repro gate comment   what a team waits for daily
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from attune.errors import BadInput
from bench.alternating import Spread
from bench.section import ROOT, Section, Target, show, table

WANTED_SECONDS = 1.5
FLOOR = ("numpy", "polars", "scipy.stats", "torch", "sentence_transformers")
# imports inside functions that the default pipeline calls
AT_FIRST_USE = {"embed": ("attune.encoding.encoders",)}
COMMANDS = tuple(f"attune.cli.{name}" for name in ("review.gate", "review.comment", "check", "main", "demo.comparison"))
REPRO, GATE, COMMENT = "dvc repro, nothing to do", "attune gate --against HEAD", "attune comment --against HEAD"
DAILY = {REPRO: 2.0, GATE: 3.0, COMMENT: 4.0}  # seconds that are wanted at most


class Cost(NamedTuple):
    """Seconds of one process: wall time and CPU time."""

    wall: float
    cpu: float


def run(command: Sequence[str]) -> tuple[Cost, str]:
    """Runs a command in the project's root; returns its cost and its output.

    Raises:
        BadInput: the command failed.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "PATH": path}
    before, start = os.times(), time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - start, os.times()
    if done.returncode not in ((0, 1) if "gate" in command else (0,)):  # 1: the gate's verdict
        raise BadInput(f"{' '.join(command)}: exited with {done.returncode}: {done.stderr.strip()[-300:]}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(wall, cpu), done.stdout


def median_cost(command: Sequence[str], repetitions: int) -> Cost:
    """Returns the medians over the repetitions, after one uncounted run."""
    costs = [run(command)[0] for _ in range(repetitions + 1)][1:]
    return Cost(*(statistics.median(values) for values in zip(*costs, strict=True)))


def importing(*modules: str) -> list[str]:
    """Returns the command of a process that only imports modules."""
    return [sys.executable, "-c", f"import {', '.join(modules)}" if modules else "pass"]


def repro(*options: str) -> list[str]:
    """Returns the command `dvc repro`."""
    return [sys.executable, "-m", "dvc", "repro", *options]


def rows(wanted: Sequence[str]) -> dict[str, list[str]]:
    """Returns the commands to measure by the name of their row; all if `wanted` is empty.

    Raises:
        BadInput: a name is neither a stage nor repro, gate or comment.
    """
    reviews = [[sys.executable, "-m", "attune", name, "--against", "HEAD"] for name in ("gate", "comment")]
    daily = dict(zip(("repro", "gate", "comment"), zip(DAILY, (repro(), *reviews), strict=True), strict=True))
    stages = sorted({path.stem for path in (ROOT / "src" / "attune" / "stages").glob("*.py")} - {"__init__"})
    if unknown := set(wanted) - {*stages, *daily}:
        raise BadInput(
            f"startup: got {', '.join(sorted(unknown))}, expected stages ({', '.join(stages)}), repro, gate or comment"
        )
    commands: dict[str, list[str]] = (
        {} if wanted else {"python": importing()} | {f"import {name}": importing(name) for name in FLOOR}
    )
    for stage in stages:
        if not wanted or stage in wanted:
            commands[f"stage {stage}"] = importing(f"attune.stages.{stage}", *AT_FIRST_USE.get(stage, ()))
    if not wanted:
        commands |= {f"import {name}": importing(name) for name in COMMANDS}
    return commands | dict(command for name, command in daily.items() if not wanted or name in wanted)


def check_up_to_date() -> None:
    """Checks that `dvc repro` has nothing to do, so that measuring it runs no stage.

    Raises:
        BadInput: the pipeline is not up to date.
    """
    if "up to date" not in run(repro("--dry"))[1]:
        raise BadInput("startup: the pipeline is not up to date, expected nothing to do; run `make repro` first")


def measure(section: Section, options: argparse.Namespace) -> None:
    """Adds the table, and the target if all stages were measured."""
    measured = rows(options.names)
    if REPRO in measured:
        check_up_to_date()
    costs = {name: median_cost(command, options.repetitions) for name, command in measured.items()}
    section.add(
        f"Seconds until each could begin; medians of {options.repetitions}.",
        table(
            ["", "CPU, s", "wall, s"], [[name, f"{cost.cpu:.2f}", f"{cost.wall:.2f}"] for name, cost in costs.items()]
        ),
    )
    for name, most in DAILY.items():
        if name in costs:
            wall = costs[name].wall
            section.targets.append(Target(name, f"<= {most:g} s", f"**{wall:.1f}** s", wall <= most, ""))
    stages = {name: cost.wall for name, cost in costs.items() if name.startswith("stage ")}
    if options.names:
        return  # the target needs all stages
    slow = sorted(name.removeprefix("stage ") for name, wall in stages.items() if wall > WANTED_SECONDS)
    note = f"slower: {', '.join(slow)}" if slow else ""
    spread = Spread.of(stages.values()).cell(1)
    section.targets.append(Target("start of each stage", f"<= {WANTED_SECONDS} s", f"{spread} s", not slow, note))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="stages, or repro; everything by default")
    parser.add_argument("--repetitions", type=int, default=3)
    show("startup", "Start-up", parser, measure)


if __name__ == "__main__":
    main()
