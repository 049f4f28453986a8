"""The pipeline: `dvc repro` where nothing changed, and after each typical edit, on the miniature; about 8 minutes.

    python -m bench.parts.pipeline [--cold] [--rounds 5] [--folder scratch/bench/miniature]

Edits are made one after another in one folder, and DVC's run cache is not asked, which would have the outputs of an
earlier bench. --cold begins with an empty folder and so times the whole pipeline, too; without it that happens once.
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
    """Adds to a parameter."""

    def edit(folder: Path) -> None:
        now = all_params(folder / "params.yaml")[section][name]
        miniature.change(folder, {section: {name: now + more}})

    return edit


def code(file: str) -> Edit:
    """Adds a line to a file; a comment would do, for DVC looks at bytes."""

    def edit(folder: Path) -> None:
        path = folder / "src/attune" / file
        path.write_text(path.read_text(encoding="utf-8") + "\n# edited by the bench\n", encoding="utf-8")

    return edit


# from what wakes least to what wakes most
EDITS: dict[str, Edit] = {
    "a report knob (report.n_examples)": knob("report", "n_examples", 1),
    "a measure's code (measures.py)": code("evaluation/scoring/measures.py"),
    "a mining knob (mine.depth)": knob("mine", "depth", 1),
    "a training knob (train.learning_rate)": knob("train", "learning_rate", 1e-6),
    "one more document (collect.max_documents)": knob("collect", "max_documents", 1),
}


def repro(folder: Path) -> tuple[float, list[str]]:
    """Seconds of `dvc repro`, the start of the interpreter included, and the stages that ran."""
    start = time.perf_counter()
    done = miniature.dvc(folder, "repro", "--no-run-cache")
    return time.perf_counter() - start, RAN.findall(done.stdout)


def prepare(section: Section, folder: Path, cold: bool) -> None:
    """Lays out the folder with the code as it is now, and brings it up to date; times that where it began empty."""
    if cold:
        shutil.rmtree(folder, ignore_errors=True)
    is_empty = not (folder / "dvc.lock").is_file()
    miniature.make(folder)
    seconds, ran = repro(folder)
    if is_empty:
        section.add(f"Cold, 300 documents: {len(ran)} stages in {seconds:.0f} s.")


def names(stages: list[str]) -> str:
    """A few of them, and how many more."""
    return ", ".join(stages[:4]) + (f" and {len(stages) - 4} more" if len(stages) > 4 else "")


def measure(section: Section, given: argparse.Namespace) -> None:
    """No-op first, then the edits."""
    folder = given.folder.resolve()
    prepare(section, folder, given.cold)
    repro(folder)  # warms up
    nothing = Spread.of(timed(lambda: repro(folder))() for _ in range(given.rounds))
    rows = [["nothing", "0", "", nothing.cell()]]
    for name, edit in EDITS.items():
        edit(folder)
        seconds, ran = repro(folder)
        rows.append([name, str(len(ran)), names(ran), f"{seconds:.1f}"])
    section.add(
        f"`dvc repro` of the miniature (300 documents) after each edit; nothing: minimum / **median** / maximum of "
        f"{given.rounds}, edits once each.",
        table(["what changed", "stages", "which", "seconds"], rows, n_text=3),
    )
    is_met = nothing.median <= WANTED_SECONDS
    wanted = f"<= {WANTED_SECONDS} s"
    section.targets.append(Target("dvc repro with nothing to do", wanted, f"{nothing.cell()} s", is_met))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=KEPT / "miniature")
    show("pipeline", "Pipeline", parser, measure)


if __name__ == "__main__":
    main()
