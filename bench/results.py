"""All parts of the bench, one after another, into bench/RESULTS.md: targets first, then each part's tables.

    python -m bench.results [--dry] [PART ...]

A part that fails, or has nothing to measure, says so in a line and the rest goes on; what it found before stays in the
page under its own date, as do parts that are not asked for. The parts' own options are their defaults: to give others,
run `python -m bench.PART ...`, and then this with --dry, which measures nothing and writes the page again.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from bench.section import FIGURES, ROOT, TARGETS, Section, table

PARTS = {  # and what each takes on two cores, in words
    "ceilings": "half a minute",
    "encode": "6 minutes",
    "train": "9 minutes",
    "mine": "3 minutes",
    "evaluate": "2 minutes",
    "serve": "4 minutes",
    "pipeline": "8 minutes, 3 more the first time",
    "startup": "4 minutes",
    "scale_search": "10 minutes",
}
PAGE = Path(__file__).with_name("RESULTS.md")


def sections() -> list[Section]:
    """What is kept of all parts, in their order."""
    return [Section.read(FIGURES / f"{part}.json") for part in PARTS if (FIGURES / f"{part}.json").is_file()]


def page(found: list[Section]) -> str:
    """The whole page."""
    targets = [target.cells() for section in found for target in section.targets]
    parts = [
        "# What attune costs, beside its rivals",
        "Made by `make bench`; not written by hand. All competitors of a table run in turn, on one machine, in one "
        "run, which its heading names by what the CPU has: ratios hold on others like it, times do not. Figures are "
        "minimum / **median** / maximum over the rounds; a ratio is taken within a round.",
        "## Targets",
        table(TARGETS, targets, n_text=2),
        *(section.markdown() for section in found),
    ]
    return "\n\n".join(parts) + "\n"


def run(part: str) -> bool:
    """Runs a part in sight of the user; what it prints is its section."""
    return not subprocess.run([sys.executable, "-m", f"bench.parts.{part}"], cwd=ROOT, check=False).returncode


def main() -> None:
    """Says what it is going to do, does it, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--dry", action="store_true", help="measure nothing, write the page from what is kept")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"got {', '.join(sorted(unknown))}, expected some of {', '.join(PARTS)}")
    failed = []
    for part in [] if given.dry else given.parts or PARTS:
        print(f"attune: bench {part}, about {PARTS[part]} on 2 cores", flush=True)
        if not run(part):
            failed.append(part)
            print(f"attune bench: {part} failed, see above; the page keeps what it found before", file=sys.stderr)
    found = sections()
    PAGE.write_text(page(found), encoding="utf-8")
    print(f"attune: {PAGE.relative_to(ROOT)} has {len(found)} parts; commit it and bench/figures")
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
