"""What starting costs: seconds until each stage could begin, and a `dvc repro` that has nothing to do.

Each figure is that of a process of its own, after one that fills the page cache: the median over the repetitions, CPU
time (user and system, of the process and its children) beside wall time, which on a busy machine says little. What a
stage imports inside its functions, and needs in the default pipeline, counts; what it only sometimes needs does not.
The floor is what the libraries cost by themselves.

    python -m bench.parts.startup                  all of it, a few minutes
    python -m bench.parts.startup split report     some stages
    python -m bench.parts.startup repro            nothing-to-do runs only
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
# imported at their first use, which in the default pipeline comes
AT_FIRST_USE = {"embed": ("attune.encoding.encoders",)}
COMMANDS = tuple(f"attune.cli.{name}" for name in ("review.gate", "review.comment", "check", "main", "demo.comparison"))
REPRO = "dvc repro, nothing to do"


class Cost(NamedTuple):
    """Seconds of one process: on the clock, and of CPU time."""

    wall: float
    cpu: float


def run(command: Sequence[str]) -> tuple[Cost, str]:
    """Runs a command in the project's root; its cost and what it printed.

    Raises:
        BadInput: it failed.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "PATH": path}
    before, start = os.times(), time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - start, os.times()
    if done.returncode:
        raise BadInput(f"{' '.join(command)}: exited with {done.returncode}: {done.stderr.strip()[-300:]}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(wall, cpu), done.stdout


def median_cost(command: Sequence[str], repetitions: int) -> Cost:
    """The medians over the repetitions, after one run that does not count."""
    costs = [run(command)[0] for _ in range(repetitions + 1)][1:]
    return Cost(*(statistics.median(values) for values in zip(*costs, strict=True)))


def importing(*modules: str) -> list[str]:
    """A process that imports modules, and no more."""
    return [sys.executable, "-c", f"import {', '.join(modules)}" if modules else "pass"]


def repro(*options: str) -> list[str]:
    """DVC on this project."""
    return [sys.executable, "-m", "dvc", "repro", *options]


def rows(wanted: Sequence[str]) -> dict[str, list[str]]:
    """What is measured, by name.

    Raises:
        BadInput: a name is that of no stage.
    """
    stages = sorted({path.stem for path in (ROOT / "src" / "attune" / "stages").glob("*.py")} - {"__init__"})
    if unknown := set(wanted) - {*stages, "repro"}:
        raise BadInput(f"startup: got {', '.join(sorted(unknown))}, expected stages ({', '.join(stages)}) or repro")
    found: dict[str, list[str]] = (
        {} if wanted else {"python": importing()} | {f"import {name}": importing(name) for name in FLOOR}
    )
    for stage in stages:
        if not wanted or stage in wanted:
            found[f"stage {stage}"] = importing(f"attune.stages.{stage}", *AT_FIRST_USE.get(stage, ()))
    if not wanted:
        found |= {f"import {name}": importing(name) for name in COMMANDS}
    if not wanted or "repro" in wanted:
        found[REPRO] = repro()
    return found


def check_up_to_date() -> None:
    """A run that would do something must not be started by a measurement.

    Raises:
        BadInput: there is something to do.
    """
    if "up to date" not in run(repro("--dry"))[1]:
        raise BadInput(
            "startup: the pipeline is not up to date, so there is no run with nothing to do; run `make repro`"
        )


def measure(section: Section, given: argparse.Namespace) -> None:
    """The table, and a target for all stages."""
    measured = rows(given.names)
    if REPRO in measured:
        check_up_to_date()
    costs = {name: median_cost(command, given.repetitions) for name, command in measured.items()}
    section.add(
        f"Seconds until each could begin; medians of {given.repetitions}.",
        table(
            ["", "CPU, s", "wall, s"], [[name, f"{cost.cpu:.2f}", f"{cost.wall:.2f}"] for name, cost in costs.items()]
        ),
    )
    stages = {name: cost.wall for name, cost in costs.items() if name.startswith("stage ")}
    if given.names:
        return  # the target is for all stages
    slow = sorted(name.removeprefix("stage ") for name, wall in stages.items() if wall > WANTED_SECONDS)
    note = f"slower: {', '.join(slow)}" if slow else ""
    found = Spread.of(stages.values()).cell(1)
    section.targets.append(Target("start of each stage", f"<= {WANTED_SECONDS} s", f"{found} s", not slow, note))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="stages, or repro; all of it without any")
    parser.add_argument("--repetitions", type=int, default=3)
    show("startup", "Start-up", parser, measure)


if __name__ == "__main__":
    main()
