"""What a part of the bench has found: tables for people, a row for each target. Printed as Markdown, kept as JSON."""

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
KEPT = ROOT / "scratch" / "bench"  # what is made on the way
FIGURES = ROOT / "bench" / "figures"  # each part's findings, in git: one part can be measured again without the others


# a Markdown table; all columns but the first (n_text) hold numbers
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
        """Of the table of targets."""
        return [self.what, self.wanted, "yes" if self.is_met else "**no**", self.found, self.note]


TARGETS = ["what", "target", "met", "min / **median** / max", "note"]


@dataclass
class Section:
    """A part's findings.

    Attributes:
        title: its heading.
        command: what makes it again.
        date: of the day it was made, UTC.
        body: paragraphs and tables, Markdown.
        left_out: competitors that are not here, and why.
    """

    title: str
    command: str
    date: str
    body: list[str] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    machine: str = ""  # what its figures depend on, without naming it

    def add(self, *paragraphs: str) -> None:
        """Adds to the body, and shows it at once."""
        self.body += paragraphs
        for paragraph in paragraphs:
            print(f"\n{paragraph}", flush=True)

    def leave_out(self, reason: str) -> None:
        """Says what is missing, on stderr and in the section."""
        print(f"attune bench: left out: {reason}", file=sys.stderr, flush=True)
        if reason not in self.left_out:
            self.left_out.append(reason)

    def markdown(self) -> str:
        """The section as it stands in the results, without its targets."""
        head = [f"## {self.title}", f"`{self.command}`, {self.date}; {self.machine}"]
        missing = [f"Left out: {'; '.join(self.left_out)}."] if self.left_out else []
        return "\n\n".join([*head, *self.body, *missing])

    def write(self, file: Path) -> None:
        """Keeps it, unless what is kept there has more: nobody without a data set wipes what was measured with it."""
        if file.is_file() and (missing := self._missing(self.read(file))):
            print(f"attune bench: {file.name} stays as it was; missing now: {'; '.join(missing)}", file=sys.stderr)
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        content = json.dumps(asdict(self), indent=2, default=lambda number: number.item())  # NumPy's too
        file.write_text(content + "\n", encoding="utf-8")

    def _missing(self, kept: Self) -> list[str]:
        """What the kept one has and this has not: targets that were not measured, competitors that were left out."""
        measured = {target.what for target in self.targets}
        targets = [target.what for target in kept.targets if target.what not in measured]
        return targets + [reason for reason in self.left_out if reason not in kept.left_out]

    @classmethod
    def read(cls, file: Path) -> Self:
        """What `write` kept."""
        content = json.loads(file.read_text(encoding="utf-8"))
        return cls(**content | {"targets": [Target(**target) for target in content["targets"]]})


def machine() -> str:
    """What the figures depend on, without naming the machine."""
    import torch  # noqa: PLC0415

    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    has = {
        "AVX-512": torch.cpu._is_avx512_supported(),
        "its bf16": torch.cpu._is_avx512_bf16_supported(),
        "AMX": torch.cpu._is_amx_tile_supported(),
        "VNNI": torch.cpu._is_vnni_supported(),
    }
    return f"{threads} CPU threads; " + ", ".join(f"{name}: {'yes' if it else 'no'}" for name, it in has.items()) + "."


def show(part: str, title: str, parser: argparse.ArgumentParser, measure: Callable[..., None]) -> None:
    """Runs a part as a program: reads its options, measures into a section, prints it, keeps it in bench/figures.

    Raises:
        SystemExit: what it needs is not there; one line on stderr says what.
    """
    given = parser.parse_args()
    # sys.argv[0] would be a path of this machine
    command = " ".join([f"python -m bench.parts.{part}", *sys.argv[1:]])
    section = Section(title, command, datetime.now(UTC).date().isoformat(), machine=machine())
    print(f"## {title}", flush=True)
    try:
        measure(section, given)
        if section.targets:
            print(f"\n{table(TARGETS, [target.cells() for target in section.targets], n_text=2)}", flush=True)
        section.write(FIGURES / f"{part}.json")
    except (BadInput, Gone, OSError, subprocess.CalledProcessError) as error:
        fail("bench", error)
