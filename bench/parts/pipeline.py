"""Pipeline: `dvc repro` of the miniature with no change and after typical edits; about 8 minutes.

    python -m bench.parts.pipeline [--cold] [--rounds 5] [--folder scratch/bench/miniature]

Edits are made one after another in one folder, without DVC's run cache, which may hold outputs of an earlier bench.
--cold empties the folder first and thus times the whole pipeline, too, as the first run in a new folder does.
"""

import argparse
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from attune.stage import all_params
from bench.alternating import Spread, timed
from bench.rivals.environments import module
from bench.section import KEPT, Section, Target, show, table

WANTED_SECONDS = 1.5
RAN = re.compile(r"Running stage '([^']+)'")


miniature = module("tests/miniature.py")
Edit = Callable[[Path], None]


def knob(section: str, name: str, more: float) -> Edit:
    """Returns an edit that increases a parameter."""

    def edit(folder: Path) -> None:
        now = all_params(folder / "params.yaml")[section][name]
        miniature.change(folder, {section: {name: now + more}})

    return edit


def code(file: str) -> Edit:
    """Returns an edit that appends a comment to a file of the code; DVC compares bytes."""

    def edit(folder: Path) -> None:
        path = folder / "src/attune" / file
        path.write_text(path.read_text(encoding="utf-8") + "\n# edited by the bench\n", encoding="utf-8")

    return edit


# ordered by the number of stages that run again
EDITS: dict[str, Edit] = {
    "a report knob (report.n_examples)": knob("report", "n_examples", 1),
    "a measure's code (measures.py)": code("evaluation/scoring/measures.py"),
    "a mining knob (mine.depth)": knob("mine", "depth", 1),
    "a training knob (train.learning_rate)": knob("train", "learning_rate", 1e-6),
    "one more document (collect.max_documents)": knob("collect", "max_documents", 1),
}


def repro(folder: Path) -> tuple[float, list[str]]:
    """Returns the seconds of `dvc repro`, start of the interpreter included, and the stages that ran."""
    start = time.perf_counter()
    done = miniature.dvc(folder, "repro", "--no-run-cache")
    return time.perf_counter() - start, RAN.findall(done.stdout)


def prepare(section: Section, folder: Path, cold: bool) -> None:
    """Copies the current code into the folder and runs the pipeline; reports the time of a run in a new folder."""
    if cold:
        shutil.rmtree(folder, ignore_errors=True)
    is_empty = not (folder / "dvc.lock").is_file()
    miniature.make(folder)
    seconds, ran = repro(folder)
    if is_empty:
        section.add(f"Cold, 300 documents: {len(ran)} stages in {seconds:.0f} s.")


def names(stages: list[str]) -> str:
    """Returns the first four stages and the number of the others."""
    return ", ".join(stages[:4]) + (f" and {len(stages) - 4} more" if len(stages) > 4 else "")


def measure(section: Section, options: argparse.Namespace) -> None:
    """Measures `dvc repro` with no change, then after each edit."""
    folder = options.folder.resolve()
    prepare(section, folder, options.cold)
    repro(folder)  # warm-up
    no_change = Spread.of(timed(lambda: repro(folder))() for _ in range(options.rounds))
    rows = [["nothing", "0", "", no_change.cell()]]
    for name, edit in EDITS.items():
        edit(folder)
        seconds, ran = repro(folder)
        rows.append([name, str(len(ran)), names(ran), f"{seconds:.1f}"])
    section.add(
        f"`dvc repro` of the miniature (300 documents) after each edit; nothing: minimum / **median** / maximum of "
        f"{options.rounds}, edits once each.",
        table(["what changed", "stages", "which", "seconds"], rows, n_text=3),
    )
    is_met = no_change.median <= WANTED_SECONDS
    wanted = f"<= {WANTED_SECONDS} s"
    section.targets.append(Target("dvc repro with nothing to do", wanted, f"{no_change.cell()} s", is_met))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=KEPT / "miniature")
    show("pipeline", "Pipeline", parser, measure)


if __name__ == "__main__":
    main()
