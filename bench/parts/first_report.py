"""From a csv to a report as a new user gets there: an empty folder, an empty environment and attune's wheel.

    python -m bench.parts.first_report [--rows 1000] [--data FILE --column query=COLUMN --column document=COLUMN]

Counts and times the user's commands: make an environment, install the wheel with its extra `pipeline`, `attune new`,
`make repro`. The csv holds pairs of the default data (data/raw of this checkout) unless --data names another one. The
seconds of the installation depend on the network and on pip's cache, those of the run on nothing else running here.
"""

import argparse
import csv
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from attune.data.raw_tables import read_raw
from attune.errors import BadInput
from bench.parts.empty_environment import build_wheel, variables
from bench.parts.startup import Cost
from bench.section import ROOT, Section, Target, show, table

MOST_FILES, MOST_COMMANDS = 15, 4  # the user's before the first run; from nothing to the report
WRITTEN = {"dvc.yaml", "libraries.yaml", "constraints.txt"}  # anew by each `attune upgrade`, so not the user's
COLUMNS = ("query=question", "document=answer")  # of the csv


def write_pairs(raw: Path, n_rows: int, file: Path) -> int:
    """Writes a csv with a row per query, in the order of query ids, and its first relevant document.

    Args:
        raw: folder of the raw data.
        n_rows: most rows.
        file: to write.

    Returns:
        The number of rows.

    Raises:
        BadInput: the raw data are missing.
    """
    documents, queries, qrels = read_raw(raw)
    relevant = pl.concat(qrels.values()).filter(pl.col("relevance") > 0).sort("query_id", "document_id")
    answers = relevant.unique("query_id", keep="first", maintain_order=True)
    pairs = queries.join(answers, "query_id").join(documents, "document_id", suffix="_of_document").sort("query_id")
    rows = pairs.select("text", "text_of_document").head(n_rows).rows()
    with file.open("w", newline="", encoding="utf-8") as text:
        csv.writer(text).writerows([("question", "answer"), *rows])
    return len(rows)


def commands(wheel: Path, data: Path, columns: Sequence[str]) -> dict[str, tuple[str, list[str]]]:
    """Returns the user's commands by what they do, each with the folder in which it runs."""
    pip = ["environment/bin/python", "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    named = [word for column in columns for word in ("--column", column)]
    return {
        "make an environment": (".", ["python3", "-m", "venv", "environment"]),
        "install the wheel": (".", [*pip, "-c", str(ROOT / "constraints.txt"), f"{wheel}[pipeline]"]),
        "attune new": (".", ["attune", "new", "shop", "--data", str(data), *named]),
        "make repro": ("shop", ["make", "repro"]),
    }


def timed_run(command: Sequence[str], folder: Path, environment: dict[str, str]) -> Cost:
    """Runs a command; returns its cost, that of its children included.

    Raises:
        BadInput: the command failed.
    """
    before, start = os.times(), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - start, os.times()
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-500:]
        raise BadInput(f"{' '.join(map(str, command))} in {folder.name}: exit code {done.returncode}: {said}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(wall, cpu)


def files_in_git(folder: Path) -> tuple[set[str], set[str]]:
    """Returns the files in git that belong to the user, and those that `attune upgrade` writes."""
    listed = subprocess.run(["git", "ls-files"], cwd=folder, capture_output=True, text=True, check=True)
    files = set(listed.stdout.splitlines())
    return files - WRITTEN, files & WRITTEN


def measure(section: Section, options: argparse.Namespace) -> None:
    """Lives through the first hour of a user, and adds its table and its targets."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        wheel, data, n_rows = build_wheel(place), options.data, 0
        if data is None:
            data = place / "faq.csv"
            n_rows = write_pairs(ROOT / "data/raw", options.rows, data)
        search = os.pathsep.join([str(place / "environment/bin"), os.environ["PATH"]])
        costs: dict[str, Cost] = {}
        for what, (folder, command) in commands(wheel, data.resolve(), options.column or COLUMNS).items():
            costs[what] = timed_run(command, place / folder, variables() | {"PATH": search})
            if what == "attune new":
                own, written = files_in_git(place / "shop")
        report = json.loads((place / "shop/metrics/report.json").read_text(encoding="utf-8"))
        n_lines = len((place / "shop/dvc.yaml").read_text(encoding="utf-8").splitlines())
    cells = [[what, f"{cost.wall:.0f}", f"{cost.cpu:.0f}"] for what, cost in costs.items()]
    total = sum(cost.wall for cost in costs.values())
    start = f"{n_rows:,} pairs in a csv" if n_rows else data.name
    section.add(
        f"From {start} to a report: {len(costs)} commands, {total:.0f} s. "
        f"{report['verdict']} Before the first run {len(own)} files in git are the user's; {len(written)} more are "
        f"written by `attune upgrade`, among them a dvc.yaml of {n_lines} lines.",
        table(["command", "wall, s", "CPU, s"], cells),
    )
    for what, n, most in (("commands", len(costs), MOST_COMMANDS), ("files of the user's", len(own), MOST_FILES)):
        section.targets.append(Target(f"csv to report, {what}", f"<= {most}", f"**{n}**", n <= most))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1000, help="pairs of the default data in the csv")
    parser.add_argument("--data", type=Path, help="a file of your own instead")
    parser.add_argument("--column", action="append", help="its columns, such as query=question")
    show("first_report", "From a csv to a report", parser, measure)


if __name__ == "__main__":
    main()
