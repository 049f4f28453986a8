"""Measures the rehearsal in stage base: seconds with it and without it, in turn, and the bytes that the stage leaves.

Each run is the stage's command in a new process, with its outputs in scratch/bench. Without: `rehearsed` returns at
once what metrics/base_encoder.json says. CPU time (user and system) stands beside wall time, which varies on a busy
machine.

    python -m bench.parts.rehearsal [--rounds N]
"""

import argparse
import shutil
import statistics
import sys
from pathlib import Path

from attune.errors import BadInput
from attune.stage import sha256_of
from bench.alternating import Spread
from bench.parts.startup import Cost, run
from bench.section import KEPT, ROOT, Section, Target, show, table

WANTED_SECONDS = 10.0
OUTS = ("base", "base_exported")
WITHOUT = """
import json
from attune.stage import run
from attune.stages import base as stage
from attune.tuning.rehearsal import STEPS, Rehearsal
is_wrong = json.load(open("metrics/base_encoder.json"))["is_bf16_wrong"]
stage.rehearsed = lambda *_: Rehearsal("fp32", is_wrong, STEPS)
run(stage.base)
"""


def command(is_rehearsed: bool, out: Path) -> list[str]:
    """Returns the command of stage base, as dvc.yaml has it, with its outputs in a folder."""
    program = ["-m", "attune.stages.base"] if is_rehearsed else ["-c", WITHOUT]
    inputs = ["--corpus", "data/prepared/corpus.parquet", "--train", "data/splits/train", "--parameters", "params.yaml"]
    outs = ["--out", str(out / OUTS[0]), "--exported", str(out / OUTS[1]), "--receipt", str(out / "base_encoder.json")]
    return [sys.executable, *program, *inputs, *outs]


def hashes(folder: Path) -> dict[str, str]:
    """Returns the sha256 of each file of the two outputs, by its path in the folder.

    Raises:
        BadInput: the folder has no outputs.
    """
    files = sorted(path for name in OUTS for path in (folder / name).rglob("*") if path.is_file())
    if not files:
        raise BadInput(f"rehearsal: {folder / OUTS[0]}: no files, expected those of stage base; run `make repro` first")
    return {str(path.relative_to(folder)): sha256_of(path) for path in files}


def measure(section: Section, options: argparse.Namespace) -> None:
    """Adds the table of seconds, and a target each for the time and for the bytes."""
    expected, out = hashes(ROOT / "models"), KEPT / "rehearsal"
    costs: dict[bool, list[Cost]] = {True: [], False: []}
    changed: set[str] = set()
    for _ in range(options.rounds):
        for is_rehearsed, own in costs.items():
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir(parents=True)
            own.append(run(command(is_rehearsed, out))[0])
            changed |= {name for name, _ in hashes(out).items() ^ expected.items()}
    shutil.rmtree(out)
    rows = [
        [name, *(f"{statistics.median(getattr(cost, kind) for cost in costs[key]):.1f}" for kind in Cost._fields)]
        for name, key in (("with the rehearsal", True), ("without", False))
    ]
    section.add(
        f"Seconds of stage base with this project's encoder; medians of {options.rounds} rounds.",
        table(["", *(f"{kind}, s" for kind in Cost._fields)], rows),
    )
    added = [one.wall - other.wall for one, other in zip(costs[True], costs[False], strict=True)]
    is_met = statistics.median(added) <= WANTED_SECONDS
    wanted = f"<= {WANTED_SECONDS:.0f} s"
    section.targets += [
        Target("seconds that the rehearsal adds", wanted, f"{Spread.of(added).cell(1)} s", is_met),
        Target("files that stage base changes", "none", f"{len(changed)} of {len(expected)}", not changed),
    ]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind")
    show("rehearsal", "Rehearsal", parser, measure)


if __name__ == "__main__":
    main()
