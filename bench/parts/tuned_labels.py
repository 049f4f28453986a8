"""Label curve by full tuning, beside the query adapter's: test nDCG@10 by labelled train queries, on what time allows.

Stage curve trains the adapter, whose points cost seconds. A point of full tuning costs minutes to hours, and reads what
mine, train and merge read; as a part of stage curve it would make that stage depend on all of their code, so that an
edit of a loss would run it again. Here each point is a cell of the bench of regret: these stages, with the settings of
the data set's folder, on the pairs of some queries. Points are saved there, the smallest is measured first, and after
--minutes no further one begins: a later call goes on.

    python -m bench.parts.tuned_labels [--data default] [--shares 0.0625 0.125 0.25 0.5 1] [--seeds 13] [--minutes 60]
"""

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from attune.errors import BadInput
from attune.evaluation.label_curve import forecasts
from attune.evaluation.label_points import FACTORS
from attune.stage import all_params, fail
from bench.regret.__main__ import WORK
from bench.regret.cells import Cell, Place
from bench.regret.data import SETS, missing, shared_folder
from bench.section import table
from bench.texts import DATASETS

SYSTEMS = ("base", "adapter", "tuned")
HEAD = ["seed", "queries", "pairs", *SYSTEMS, "tuned in"]


class Point(NamedTuple):
    """Test nDCG@10 of each system with the labels of some train queries.

    Attributes:
        seed: of the draw and of training.
        n_queries: whose labels are known.
        n_pairs: their pairs.
        scores: by system.
        seconds: that mine, train and merge took.
    """

    seed: int
    n_queries: int
    n_pairs: int
    scores: dict[str, float]
    seconds: float

    def cells(self) -> list[str]:
        """Returns the point as cells of HEAD."""
        scores = [f"{self.scores[name]:.3f}" for name in SYSTEMS]
        return [f"{self.seed}", f"{self.n_queries:,}", f"{self.n_pairs:,}", *scores, f"{self.seconds / 60:.0f} min"]


def sizes(n_pairs: int, shares: Sequence[float]) -> list[int]:
    """Returns the numbers of pairs of some shares, rising; 0 stands for all of them."""
    return sorted({0 if share == 1 else max(1, round(share * n_pairs)) for share in shares}, key=lambda n: n or n_pairs)


def points(cells: Iterable[Cell], seconds: float, clock: Callable[[], float] = time.monotonic) -> Iterator[Point]:
    """Yields the point of each cell, until the time is used up; the one that runs then is finished.

    Args:
        cells: the smallest first.
        seconds: after which no further one begins.
        clock: in seconds.
    """
    start = clock()
    for cell in cells:
        if clock() - start >= seconds:
            return
        runs = {"base": cell.base(), "adapter": cell.adapter(), "tuned": cell.attune()}
        shutil.rmtree(cell.folder, ignore_errors=True)
        n_pairs = sum(cell.place.pairs_by_query[id_] for id_ in cell.queries)
        scores = {name: run.mean("test") for name, run in runs.items()}
        yield Point(cell.seed, len(cell.queries), n_pairs, scores, float(runs["tuned"].figures["seconds"]))


def forecast(measured: Sequence[Point], system: str, confidence: float) -> str:
    """Returns what more labels would bring to a system, in words; too few points are said."""
    most = max(point.n_queries for point in measured)
    n = [float(point.n_queries) for point in measured]
    own = [point.scores[system] for point in measured]
    found = forecasts(n, own, [factor * most for factor in FACTORS.values()], confidence)
    if not found:
        return f"{system}: fewer than four different numbers of queries, no forecast"
    words = [
        f"{name.replace('_', ' ')} the labels {one.value:.3f} ({one.low:.3f} to {one.high:.3f})"
        for name, one in zip(FACTORS, found, strict=True)
    ]
    return f"{system}: {'; '.join(words)}"


def measure(options: argparse.Namespace) -> tuple[list[Point], float]:
    """Measures what time allows; returns the points and the confidence of forecasts.

    Raises:
        BadInput: the data set is not there, or a stage fails.
    """
    if reason := missing(SETS[options.data], options.datasets):
        raise BadInput(f"{reason}; --datasets names another folder")
    folder = shared_folder(SETS[options.data], options.work, options.datasets)
    place = Place(SETS[options.data], folder, options.work)
    n_all = sum(place.pairs_by_query.values())
    cells = (Cell(place, n_pairs, seed) for n_pairs in sizes(n_all, options.shares) for seed in options.seeds)
    found = []
    for point in points(cells, 60 * options.minutes):
        found.append(point)
        print(f"attune bench: {options.data}: {', '.join(point.cells())}", file=sys.stderr, flush=True)
    return found, all_params(folder / "params.yaml")["gate"]["confidence"]


def main() -> None:
    """Prints a row per point, and forecasts."""
    parser = argparse.ArgumentParser(description="label curve by full tuning, on what time allows")
    parser.add_argument("--data", choices=list(SETS), default="default", metavar="NAME", help=", ".join(SETS))
    parser.add_argument("--shares", nargs="+", type=float, default=[0.0625, 0.125, 0.25, 0.5, 1.0], help="of the pairs")
    parser.add_argument("--seeds", nargs="+", type=int, default=[13], help="of draws and trainings")
    parser.add_argument("--minutes", type=float, default=60.0, help="after which no further point begins")
    parser.add_argument("--datasets", type=Path, default=DATASETS, help="folder of the data sets; $ATTUNE_DATASETS")
    parser.add_argument("--work", type=Path, default=WORK, help="folder for saved runs, that of the bench of regret")
    options = parser.parse_args()
    if not all(0 < share <= 1 for share in options.shares):
        parser.error(f"--shares: got {options.shares}, expected numbers above 0 up to 1")
    try:
        measured, confidence = measure(options)
    except (BadInput, OSError) as error:
        fail("tuned_labels", error)
    print(f"Test nDCG@10 on {options.data}:\n")
    print(table(HEAD, [point.cells() for point in measured]))
    for system in SYSTEMS[1:] if measured else ():
        print(f"\n{forecast(measured, system, confidence)}")


if __name__ == "__main__":
    main()
