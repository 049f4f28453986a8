"""Results of a part of the bench: tables, and a row per target; printed as Markdown and saved as JSON."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Self

from attune.errors import BadInput
from attune.evaluation.report.markdown import table as markdown_table
from attune.stage import fail
from bench.workers import Gone

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "scratch" / "bench"  # intermediate files
FIGURES = ROOT / "bench" / "figures"  # results of each part, in git, so that one part can be re-run alone


# Markdown table whose first n_text columns (one by default) hold text, the others numbers
table = partial(markdown_table, n_text=1)


@dataclass(frozen=True)
class Target:
    """A target of the bench with its result.

    Attributes:
        what: the compared figure.
        wanted: the target, in words.
        found: minimum, median and maximum, formatted.
        is_met: True if the median meets the target.
        note: a remark on the measurement.
    """

    what: str
    wanted: str
    found: str
    is_met: bool
    note: str = ""

    def cells(self) -> list[str]:
        """Returns the row of the table of targets."""
        return [self.what, self.wanted, "yes" if self.is_met else "**no**", self.found, self.note]


TARGETS = ["what", "target", "met", "min / **median** / max", "note"]


@dataclass
class Section:
    """Results of one part.

    Attributes:
        title: heading of the section.
        command: command that measures the part again.
        date: day of the measurement, UTC.
        body: paragraphs and tables, Markdown.
        targets: targets with their results.
        left_out: reasons why a system or a kind of text was not measured.
        machine: features of the CPU on which the figures depend, without its name.
    """

    title: str
    command: str
    date: str
    body: list[str] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    machine: str = ""

    def add(self, *paragraphs: str) -> None:
        """Appends paragraphs to the body and prints them."""
        self.body += paragraphs
        for paragraph in paragraphs:
            print(f"\n{paragraph}", flush=True)

    def leave_out(self, reason: str) -> None:
        """Records, and prints to stderr, the reason why something was not measured."""
        print(f"attune bench: left out: {reason}", file=sys.stderr, flush=True)
        if reason not in self.left_out:
            self.left_out.append(reason)

    def markdown(self) -> str:
        """Returns the section of bench/RESULTS.md, without its targets."""
        head = [f"## {self.title}", f"`{self.command}`, {self.date}; {self.machine}"]
        missing = [f"Left out: {'; '.join(self.left_out)}."] if self.left_out else []
        return "\n\n".join([*head, *self.body, *missing])

    def write(self, file: Path) -> None:
        """Saves unless the saved result is more complete, so a run without a data set overwrites no results on it."""
        if file.is_file() and (missing := self._missing(self.read(file))):
            print(f"attune bench: {file.name} stays as it was; missing now: {'; '.join(missing)}", file=sys.stderr)
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        content = json.dumps(asdict(self), indent=2, default=lambda number: number.item())  # NumPy scalars
        file.write_text(content + "\n", encoding="utf-8")

    def _missing(self, saved: Self) -> list[str]:
        """Returns the saved targets that this section lacks, and its reasons for omission that the saved one lacks."""
        measured = {target.what for target in self.targets}
        targets = [target.what for target in saved.targets if target.what not in measured]
        return targets + [reason for reason in self.left_out if reason not in saved.left_out]

    @classmethod
    def read(cls, file: Path) -> Self:
        """Returns the section that `write` saved."""
        content = json.loads(file.read_text(encoding="utf-8"))
        return cls(**content | {"targets": [Target(**target) for target in content["targets"]]})


def machine() -> str:
    """Returns the features of the CPU on which the figures depend, without its name."""
    import torch  # noqa: PLC0415

    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    features = {
        "AVX-512": torch.cpu._is_avx512_supported(),
        "its bf16": torch.cpu._is_avx512_bf16_supported(),
        "AMX": torch.cpu._is_amx_tile_supported(),
        "VNNI": torch.cpu._is_vnni_supported(),
    }
    cells = (f"{name}: {'yes' if has else 'no'}" for name, has in features.items())
    return f"{threads} CPU threads; {', '.join(cells)}."


def show(part: str, title: str, parser: argparse.ArgumentParser, measure: Callable[..., None]) -> None:
    """Runs a part as a program: parses its options, measures, prints the section and saves it in bench/figures.

    Raises:
        SystemExit: an input or a system is missing or failed; one line on stderr names it.
    """
    options = parser.parse_args()
    # sys.argv[0] would be an absolute path
    command = " ".join([f"python -m bench.parts.{part}", *sys.argv[1:]])
    section = Section(title, command, datetime.now(UTC).date().isoformat(), machine=machine())
    print(f"## {title}", flush=True)
    try:
        measure(section, options)
        if section.targets:
            print(f"\n{table(TARGETS, [target.cells() for target in section.targets], n_text=2)}", flush=True)
        section.write(FIGURES / f"{part}.json")
    except (BadInput, Gone, OSError, subprocess.CalledProcessError) as error:
        fail("bench", error)
