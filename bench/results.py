"""Runs the parts of the bench and writes bench/RESULTS.md: targets first, then each part's tables.

    python -m bench.results [--dry] [PART ...]

A part that fails, or has nothing to measure, prints one line and the next part runs. The page keeps the earlier results
of such parts, and of parts not named, under their own dates. Parts run with their default options; for others run
`python -m bench.parts.PART ...`, then this program with --dry, which measures nothing and rewrites the page.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from bench.section import FIGURES, ROOT, TARGETS, Section, table

PARTS = {  # by part: its duration on two cores, in words
    "ceilings": "half a minute",
    "encode": "6 minutes",
    "train": "9 minutes",
    "large_encoder": "8 minutes",
    "mine": "3 minutes",
    "evaluate": "2 minutes",
    "serve": "4 minutes",
    "pipeline": "8 minutes, 3 more the first time",
    "startup": "4 minutes",
    "rehearsal": "4 minutes",
    "scale_search": "10 minutes",
}
FORMER_NAMES = {  # in saved results: stages, keys and modules by what they are now; measuring again removes them there
    "stage page": "part of stage report",
    "report, page": "stage report",
    "release, page": "stages report and release",
    "embed.precision": "machine.precision",
    "evaluate@onnx": "evaluate@tuned",
    "attune.gate": "attune.cli.review.gate",
    "attune.comment": "attune.cli.review.comment",
    "attune.check": "attune.cli.check",
    "attune.cli |": "attune.cli.main",
    "attune.side_by_side": "attune.cli.demo.comparison",
}
PAGE = Path(__file__).with_name("RESULTS.md")


def sections() -> list[Section]:
    """Returns the saved sections of all parts, in the order of PARTS."""
    return [Section.read(FIGURES / f"{part}.json") for part in PARTS if (FIGURES / f"{part}.json").is_file()]


def explained(section: Section) -> str:
    """Returns a section with a last line on the names in it that have changed since it was measured."""
    text = section.markdown()
    former = [f"{old.rstrip(' |')} is {new}" for old, new in FORMER_NAMES.items() if old in text]
    return f"{text}\n\nNames changed since: {'; '.join(former)}." if former else text


def page(saved: list[Section]) -> str:
    """Returns the text of bench/RESULTS.md."""
    targets = [target.cells() for section in saved for target in section.targets]
    parts = [
        "# What attune costs, beside its rivals",
        "Made by `make bench`; not written by hand. All competitors of a table run in turn, on one machine, in one "
        "run, which its heading names by what the CPU has: ratios hold on others like it, times do not. Figures are "
        "minimum / **median** / maximum over the rounds; a ratio is taken within a round.",
        "## Targets",
        table(TARGETS, targets, n_text=2),
        *map(explained, saved),
    ]
    return "\n\n".join(parts) + "\n"


def run(part: str) -> bool:
    """Runs a part, whose output goes to the terminal; returns True if it succeeded."""
    return not subprocess.run([sys.executable, "-m", f"bench.parts.{part}"], cwd=ROOT, check=False).returncode


def main() -> None:
    """Runs the parts, printing the name and duration of each, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--dry", action="store_true", help="measure nothing, write the page from the saved results")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"got {', '.join(sorted(unknown))}, expected any of {', '.join(PARTS)}")
    failed = []
    for part in [] if options.dry else options.parts or PARTS:
        print(f"attune: bench {part}, about {PARTS[part]} on 2 cores", flush=True)
        if not run(part):
            failed.append(part)
            print(f"attune bench: {part} failed, see above; the page keeps its earlier results", file=sys.stderr)
    saved = sections()
    PAGE.write_text(page(saved), encoding="utf-8")
    print(f"attune: {PAGE.relative_to(ROOT)} has {len(saved)} parts; commit it and bench/figures")
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
