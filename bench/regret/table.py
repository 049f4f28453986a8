"""Regret and gain of each measured cell, and the tables and goals that sum them up.

Regret is the test nDCG@10 of the best rival, less attune's. The best is chosen on test, which no user can do: a bar
that flatters the rivals. Intervals are those of stage report (clusters of test queries). The interval of the mean
regret leaves out one data set at a time, because cells of one share their test queries.
"""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from attune.errors import BadInput
from attune.evaluation.report.markdown import score, signed
from attune.evaluation.statistics.clusters import by_cluster, numbered
from attune.evaluation.statistics.decision import decision_interval
from bench.regret.data import SETS
from bench.section import Section, Target, table

CONFIDENCE = 0.95
LARGEST_REGRET = 0.01  # of one cell
MEASURE = "test_ndcg@10"
RIVALS = ("base", "adapter", "plain")  # cells measured before a rival was there lack it
NOT_MEASURED = "Not measured yet: `make bench-regret`."


@dataclass(frozen=True)
class Result:
    """A measured cell.

    Attributes:
        figures: as `Cell.measure` returns them.
        regret: of attune, against the rival with the best mean on test.
        best: name of that rival.
        gain: attune minus base.
        low: low end of the gain's interval.
        high: high end.
    """

    figures: dict[str, Any]
    regret: float
    best: str
    gain: float
    low: float
    high: float

    @classmethod
    def of(cls, figures: dict[str, Any], scores: pl.DataFrame) -> "Result":
        """Computes regret and gain from nDCG@10 per test query.

        Args:
            figures: of the cell.
            scores: columns cluster_id, attune, and one for each rival.
        """
        own = scores["attune"].to_numpy()
        means = {name: float(scores[name].to_numpy().mean()) for name in figures["rivals"]}
        best = max(means, key=lambda name: means[name])
        sums = by_cluster(own - scores["base"].to_numpy(), numbered(scores["cluster_id"].to_list()))
        low, high = decision_interval(sums, CONFIDENCE)
        mean = float(own.mean())
        return cls(figures, means[best] - mean, best, mean - means["base"], float(low), float(high))

    @property
    def key(self) -> tuple[int, float, int]:
        """Order in the tables: data set, number of pairs, seed."""
        pairs = self.figures["pairs"]
        sets = list(SETS)
        return sets.index(self.figures["data"]), float("inf") if pairs == "all" else pairs, self.figures["seed"]

    def cells(self) -> list[str]:
        """Returns the row of this cell."""
        figures, own = self.figures, self.figures["attune"]
        plain = figures["rivals"]["plain"]
        return [
            figures["data"],
            f"{figures['pairs']} ({figures['n_pairs']:,})",
            str(figures["seed"]),
            *(score(figures["rivals"].get(name, {}).get(MEASURE)) for name in RIVALS[:2]),
            f"{score(plain[MEASURE])} at {plain['learning_rate']:g}",
            f"{score(own[MEASURE])} at {own['learning_rate']:g}",
            chosen(own),
            interval(self.gain, self.low, self.high),
            signed(self.regret, 3),
            str(own["seconds"]),
        ]


HEAD = ["data", "pairs", "seed", *RIVALS, "attune", "chosen", "attune minus base", "regret", "seconds"]


def chosen(own: dict[str, Any]) -> str:
    """Returns what stage merge chose, in words: base, or step and share, and how many checkpoints are averaged."""
    if not own["share"]:
        return "base"
    step = f"step {own['step']}, " if "step" in own else ""
    averaged = f", {own['n_averaged']} averaged" if own.get("n_averaged", 1) > 1 else ""
    return f"{step}share {own['share']:g}{averaged}"


def interval(value: float, low: float, high: float) -> str:
    """Returns a difference with its interval."""
    return f"{signed(value, 3)} [{signed(low, 3)}, {signed(high, 3)}]"


def results(cells: Path) -> list[Result]:
    """Returns every measured cell in a folder.

    Raises:
        BadInput: a file is not what the bench writes.
    """
    found = []
    for file in sorted(cells.glob("*.json")):
        try:
            figures = json.loads(file.read_text(encoding="utf-8"))
            found.append(Result.of(figures, pl.read_parquet(file.with_suffix(".parquet"))))
        except (ValueError, KeyError, FileNotFoundError, pl.exceptions.PolarsError) as error:
            raise BadInput(f"{file}: not a measured cell ({error!r}); remove it and run the bench again") from None
    return sorted(found, key=lambda result: result.key)


def grouped(measured: Sequence[Result]) -> str:
    """Returns a table with a row per data set and number of pairs: means over seeds, and the regret of each seed."""
    groups: dict[tuple[int, float], list[Result]] = {}
    for result in measured:
        groups.setdefault(result.key[:2], []).append(result)
    rows = []
    for group in groups.values():
        figures = [result.figures for result in group]
        rivals = [name for name in RIVALS if all(name in one["rivals"] for one in figures)]
        systems = {name: [one["rivals"][name][MEASURE] for one in figures] for name in rivals}
        systems["attune"] = [one["attune"][MEASURE] for one in figures]
        rows.append(
            [
                figures[0]["data"],
                str(figures[0]["pairs"]),
                f"{statistics.mean(one['n_pairs'] for one in figures):,.0f}",
                *(score(statistics.mean(systems[name]) if name in systems else None) for name in (*RIVALS, "attune")),
                signed(statistics.mean(result.gain for result in group), 3),
                signed(statistics.mean(result.regret for result in group), 3),
                ", ".join(signed(result.regret, 3) for result in group),
            ]
        )
    head = ["data", "pairs", "number", *RIVALS, "attune", "gain", "regret", "by seed"]
    return table(head, rows, n_text=2)


def mean_regret(measured: Sequence[Result]) -> tuple[float, float, float]:
    """Returns the mean regret over cells and its interval, by the jackknife over data sets; nan with one data set."""
    regrets = np.array([result.regret for result in measured])
    clusters = numbered([result.figures["data"] for result in measured])
    if clusters.max() == 0:
        return float(regrets.mean()), float("nan"), float("nan")
    low, high = by_cluster(regrets, clusters).interval(CONFIDENCE)
    return float(regrets.mean()), float(low), float(high)


def goals(measured: Sequence[Result]) -> list[Target]:
    """Returns the goals of the bench with their results."""
    mean, low, high = mean_regret(measured)
    shown = signed(mean, 4) if np.isnan(low) else f"{signed(mean, 4)} [{signed(low, 4)}, {signed(high, 4)}]"
    below = [result for result in measured if result.high < 0]
    behind = [result for result in measured if result.regret > LARGEST_REGRET]
    n = len(measured)
    return [
        Target("mean regret", "<= 0", shown, mean <= 0),
        Target("cells below base by more than their interval", "0", f"{len(below)} of {n}{named(below)}", not below),
        Target(
            f"cells more than {LARGEST_REGRET:g} below the best rival",
            "0",
            f"{len(behind)} of {n}{named(behind)}",
            not behind,
        ),
    ]


def named(cells: Sequence[Result]) -> str:
    """Returns the names of cells, to be put behind their number."""
    names = (f"{cell.figures['data']} {cell.figures['pairs']} seed {cell.figures['seed']}" for cell in cells)
    return f": {', '.join(names)}" if cells else ""


def fill(section: Section, measured: Sequence[Result]) -> None:
    """Adds the goals and the tables to a section."""
    section.targets += goals(measured)
    versions = {result.figures["code"] for result in measured}
    note = f"\n\nCells were measured with {len(versions)} versions of attune's code or settings."
    by_cell = table(HEAD, [one.cells() for one in measured], n_text=3)
    section.add(goal_table(section.targets) + (note if len(versions) > 1 else ""), grouped(measured), by_cell)


def section_of(measured: Sequence[Result]) -> Section:
    """Returns a section without tables, under the dates and the machines of the cells."""
    dates = sorted({result.figures["date"] for result in measured})
    machines = sorted({result.figures["machine"] for result in measured})
    date = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    return Section("Regret", "python -m bench.regret", date, machine=" Or: ".join(machines))


def goal_table(targets: Sequence[Target]) -> str:
    """Returns the table of the goals."""
    rows = [[goal.what, goal.wanted, "yes" if goal.is_met else "**no**", goal.found] for goal in targets]
    return table(["what", "goal", "met", "measured"], rows, n_text=3)


def summary(figures: Path) -> str:
    """Returns what docs/benchmarks.md shows: date and CPU, the goals, and the table by data set and number of pairs."""
    file = figures / "regret.json"
    if not file.is_file():
        return NOT_MEASURED
    section = Section.read(file)
    return "\n\n".join([f"Measured {section.date}; {section.machine}", *section.body[:2]])
