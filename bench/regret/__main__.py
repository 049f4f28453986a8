"""Regret of attune with untouched settings, by data set, number of training pairs and seed; hours.

    python -m bench.regret [--data NAME ...] [--pairs N ...] [--seeds N ...] [--workers N] [--datasets DIR] [--dry]

A cell is a data set, a number of training pairs (0: all) and a seed, which draws pairs, batches and dropout. The plain
recipe's learning rate is chosen on dev with the first seed and kept for the others. Cells with few pairs come first.
Two cells side by side, `--workers 2 --threads 1`, end sooner on two cores than one after another. All is saved in
--work: an interrupted bench resumes, and runs anew only what an edit touches. The tables hold every cell that is saved
there, whatever the options; --dry measures nothing and writes them.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from attune.errors import BadInput
from attune.stage import fail
from bench.regret.cells import Cell, Place
from bench.regret.data import MEASURED, SETS, missing, shared_folder
from bench.regret.table import fill, results, section_of
from bench.section import FIGURES, ROOT, Section
from bench.texts import DATASETS

PAIRS = (100, 300, 1000, 0)
SEEDS = (13, 14, 15)


class Job(NamedTuple):
    """Cells of one data set and number of pairs, which share the plain recipe's learning rate.

    Attributes:
        place: where they are measured.
        n_pairs: 0 for all.
        seeds: the first one chooses the rate.
    """

    place: Place
    n_pairs: int
    seeds: Sequence[int]


def jobs(names: Sequence[str], pairs: Sequence[int], seeds: Sequence[int], places: dict[str, Place]) -> Iterator[Job]:
    """Yields the jobs, few pairs first; leaves out numbers of pairs that a data set does not have."""
    for n_pairs, name in product(sorted(pairs, key=lambda n: n or sys.maxsize), names):
        n_all = sum(places[name].pairs_by_query.values())
        if n_pairs < n_all:
            yield Job(places[name], n_pairs, seeds)
        else:
            print(f"attune bench: {name} has {n_all:,} train pairs, no {n_pairs:,} to draw", file=sys.stderr)


def work_on(job: Job) -> None:
    """Measures the cells of a job, one seed after another, and prints a line for each."""
    rate = None
    for seed in job.seeds:
        cell = Cell(job.place, job.n_pairs, seed)
        figures = cell.measure(rate)
        rate = figures["rivals"]["plain"]["learning_rate"]
        systems = {"attune": figures["attune"], **figures["rivals"]}
        shown = ", ".join(f"{name} {run['test_ndcg@10']:.4f}" for name, run in systems.items())
        print(f"attune bench: {cell.name}: test nDCG@10 {shown}", file=sys.stderr, flush=True)


def measure(options: argparse.Namespace) -> list[str]:
    """Measures the cells that are not saved; returns the reasons why data sets are left out."""
    left_out = [reason for name in options.data if (reason := missing(SETS[name], options.datasets))]
    names = [name for name in options.data if not missing(SETS[name], options.datasets)]
    places = {}
    for name in names:
        print(f"attune bench: {name}: data, split and embeddings", file=sys.stderr, flush=True)
        shared = shared_folder(SETS[name], options.work, options.datasets)
        places[name] = Place(SETS[name], shared, options.work, options.threads)
    listed = list(jobs(names, options.pairs, options.seeds, places))
    if options.workers > 1:
        with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
            list(pool.map(work_on, listed))
    else:
        for job in listed:
            work_on(job)
    return left_out


def write(options: argparse.Namespace, left_out: Sequence[str]) -> None:
    """Prints the tables of all saved cells, and saves them in bench/figures and in bench/regret/RESULTS.md."""
    measured = results(options.work / "cells")
    if not measured:
        raise BadInput(f"{options.work}: no cell is measured; run without --dry")
    section = section_of(measured)
    for reason in left_out:
        section.leave_out(reason)
    fill(section, measured)
    if options.work == WORK:
        section.write(FIGURES / "regret.json")
        PAGE.write_text(f"{Section.read(FIGURES / 'regret.json').markdown().removeprefix('#')}\n", encoding="utf-8")


WORK = ROOT / "scratch" / "regret"
PAGE = Path(__file__).with_name("RESULTS.md")


def options_of(arguments: Sequence[str]) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(prog="bench.regret", description="regret of attune with untouched settings")
    parser.add_argument("--data", nargs="+", choices=list(SETS), default=MEASURED, metavar="NAME", help=", ".join(SETS))
    parser.add_argument("--pairs", nargs="+", type=int, default=PAIRS, help="training pairs; 0 for all")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--workers", type=int, default=1, help="processes, a cell each")
    parser.add_argument("--threads", type=int, help="CPU threads of each process, instead of machine.threads")
    parser.add_argument("--datasets", type=Path, default=DATASETS, help="folder of the data sets; $ATTUNE_DATASETS")
    parser.add_argument(
        "--work", type=Path, default=WORK, help="folder for saved runs; tables of another are printed only"
    )
    parser.add_argument("--dry", action="store_true", help="measure nothing, write the tables of the saved cells")
    return parser.parse_args(arguments)


def main() -> None:
    """Measures what is not saved, and writes the tables."""
    options = options_of(sys.argv[1:])
    os.chdir(ROOT)  # parameters name files of the project by relative paths
    try:
        write(options, [] if options.dry else measure(options))
    except (BadInput, OSError) as error:
        fail("bench", error)


if __name__ == "__main__":
    main()
