"""Checks the label curve's forecast: hides a part of train's labels, and forecasts all of them from the rest.

A user with fewer labels is played exactly: of train's clusters a share stays (--known, drawn by a hash), stage curve's
points are measured on these alone, at its shares and draws, and its forecast is taken for as many labels as the folder
has. The truth is what the adapter scores with all labels, mean over the draws. Done for several hidden parts.

    python -m bench.parts.forecast [--known 0.5] [--times 3] FOLDER...

FOLDER is the project's root or a folder made by `make example`, in which stage embed@base has run. Nothing is written
there. Twice five shares of three draws took seven minutes of CPU on MedQuAD, in two threads.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attune.errors import BadInput
from attune.evaluation.label_points import SCORED, Labelled, forecasts_of
from attune.runtime.arrays import Int64
from attune.stage import all_params, fail, load_params
from attune.stages.curve import CurveInput, CurveParams, in_order, points, read_input
from attune.tuning.adapter.fit import AdapterParams
from bench.section import table

FIRST_HIDDEN = 1000  # added to the number of a hidden part, so that its draw is none of stage curve's
HEAD = ["data", "score", "queries", "hidden part", "of all: forecast", "interval", "measured", "held"]


class Check(NamedTuple):
    """A forecast of all labels from some of them, and what all of them brought.

    Attributes:
        column: score, one of SCORED.
        part: number of the hidden part.
        n_known: queries whose labels were known.
        n_all: queries with labels.
        value: forecast.
        low: end of its interval.
        high: other end.
        truth: measured with all labels.
    """

    column: str
    part: int
    n_known: int
    n_all: int
    value: float
    low: float
    high: float
    truth: float

    @property
    def is_held(self) -> bool:
        """Tells whether the interval holds the truth."""
        return self.low <= self.truth <= self.high


def known_only(data: CurveInput, is_known: NDArray[np.bool_]) -> CurveInput:
    """Returns the input without the queries whose labels are hidden, (n_queries,) flags; documents all stay."""
    new_row = np.cumsum(is_known) - 1
    pairs = data.pairs

    def kept(rows: Int64) -> Int64:
        own = rows[is_known[rows[:, 0]]]
        return np.column_stack([new_row[own[:, 0]], own[:, 1]])

    left = replace(pairs, queries=pairs.queries[is_known], pairs=kept(pairs.pairs), masked=kept(pairs.masked))
    return data._replace(pairs=left, cluster_ids=data.cluster_ids.filter(is_known))


def drawn(data: CurveInput, known: float, seed: int, part: int) -> NDArray[np.bool_]:
    """Returns which queries keep their labels, (n_queries,): those of a share of the clusters."""
    order = in_order(data.cluster_ids, seed, FIRST_HIDDEN + part)
    kept = set(order[: max(1, round(known * len(order)))])
    return np.array([id_ in kept for id_ in data.cluster_ids], dtype=np.bool_)


def checks(known: Sequence[Labelled], whole: Sequence[Labelled], part: int, confidence: float) -> Iterator[Check]:
    """Yields a check per score.

    Raises:
        BadInput: the points have too few different numbers of labels for a forecast.
    """
    n_known, n_all = (float(np.mean([one.n_queries for one in own if one.share == 1])) for own in (known, whole))
    for column in SCORED:
        truth = float(np.mean([one.scores[column] for one in whole]))
        found = forecasts_of(known, column, 1, [n_all / n_known], confidence)
        if not found:
            raise BadInput("curve.shares: fewer than four different numbers of labels; more shares, or raise --known")
        yield Check(column, part, round(n_known), round(n_all), found[0].value, found[0].low, found[0].high, truth)


def measure(folder: Path, known: float, n_times: int) -> list[Check]:
    """Measures all hidden parts of one folder's labels."""
    file = folder / "params.yaml"
    params, adapter = load_params(CurveParams, "curve", file), load_params(AdapterParams, "adapter", file)
    if not (params.draws and adapter.steps):
        raise BadInput(f"{folder}: curve.draws and adapter.steps are {params.draws} and {adapter.steps}, expected > 0")
    settings = all_params(file)
    seed, confidence = settings["train"]["seeds"][0], settings["gate"]["confidence"]
    embeddings, prepared, splits = (folder / "data" / name for name in ("embeddings/base", "prepared", "splits"))
    data = read_input(embeddings, prepared, splits)
    whole = points(params.model_copy(update={"shares": [1.0]}), adapter, seed, data)
    found: list[Check] = []
    for part in range(n_times):
        left = known_only(data, drawn(data, known, seed, part))
        found += checks(points(params, adapter, seed, left), whole, part + 1, confidence)
        print(f"attune bench: {name_of(folder)}: hidden part {part + 1} of {n_times}", file=sys.stderr, flush=True)
    return found


def name_of(folder: Path) -> str:
    """Returns a folder's name."""
    return folder.resolve().name


def row(name: str, check: Check) -> list[str]:
    """Returns a check as cells of HEAD."""
    figures = [f"{number:.3f}" for number in (check.value, check.truth)]
    between = f"{check.low:.3f} to {check.high:.3f}"
    of_queries = f"{check.n_known:,} of {check.n_all:,}"
    held = "yes" if check.is_held else "**no**"
    return [name, check.column.replace("_", " "), of_queries, f"{check.part}", figures[0], between, figures[1], held]


def main() -> None:
    """Prints a row per score and hidden part, and how many intervals held."""
    parser = argparse.ArgumentParser(description="checks the label curve's forecast by hiding labels")
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--known", type=float, default=0.5, help="share of the clusters whose labels are known, 0 to 1")
    parser.add_argument("--times", type=int, default=3, help="hidden parts, each drawn anew")
    options = parser.parse_args()
    if not 0 < options.known < 1 or options.times < 1:
        parser.error("expected --known between 0 and 1, and --times of 1 or more")
    rows, ends = [], []
    try:
        for folder in options.folders:
            found = measure(folder, options.known, options.times)
            rows += [row(name_of(folder), check) for check in sorted(found)]
            ends.append(f"{name_of(folder)}: {sum(one.is_held for one in found)} of {len(found)} intervals held.")
    except (BadInput, OSError) as error:
        fail("forecast", error)
    print(table(HEAD, rows, n_text=2))
    print("\n" + "\n".join(ends))


if __name__ == "__main__":
    main()
