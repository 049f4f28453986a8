"""Goes back from the tuned encoder towards the base as far as dev allows, and keeps what general text demands.

Each share of the tuned weights is scored on dev and on general text that no training saw. Among the shares that keep
enough of the base's general score, and enough of the gain that the best one of them has on dev, the smallest one
becomes models/tuned: what is nearest to the base has moved least. All seeds get the share of the first one.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import polars as pl
from pydantic import Field
from tqdm import tqdm

from attune.encoding.encoders import best_precision
from attune.errors import BadInput
from attune.stage import Machine, Out, Params, Receipt, run, write_json
from attune.tables import CORPUS, full_texts, read
from attune.tuning.curve import DEV_MEASURE
from attune.tuning.dev import Dev, DevEvaluator, read_dev
from attune.tuning.general_text import Practice, read_practice
from attune.tuning.interpolation import Line

MEASURE = DEV_MEASURE.removeprefix("eval_")  # as the evaluator itself calls it
ROUNDING = 1e-6  # of nDCG@10: nearer scores are equal
ENDS = (0.0, 1.0)  # base and tuned, scored always: the curve from one to the other

Share = Annotated[float, Field(ge=0, le=1)]


class MergeParams(Params):
    """Which round's encoders, which shares of their weights, and what must be left of general text and of the gain."""

    round: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    shares: list[Share] = Field(min_length=1, max_length=100)
    min_retention: float = Field(ge=0, le=1)
    min_gain_kept: float = Field(ge=0, le=1)
    general: str = Field(min_length=1)
    machine: Machine


class Point(NamedTuple):
    """A share of the tuned weights, and the nDCG@10 on dev and on general text at it."""

    share: float
    dev: float
    general: float


class Choice(NamedTuple):
    """The point that is taken, and whether it keeps enough of the general score."""

    point: Point
    is_retention_met: bool


def general_task(practice: Practice) -> Dev:
    """The held-out queries over their passages; equal texts are one, with all their answers.

    Passages of the other half are no distractors: trained on, they would be nearer to their own queries than to these.
    """
    relevant: dict[str, set[str]] = {}
    for query, passage in practice.held_out:
        relevant.setdefault(query, set()).add(passage)
    passages = sorted({pair.passage for pair in practice.held_out})
    return Dev({query: query for query in relevant}, {passage: passage for passage in passages}, relevant)


def retention(point: Point, base: Point) -> float:
    """The share of the base's general score that is left; 1 where there was nothing to lose."""
    return point.general / base.general if base.general else 1.0


def choose(points: Sequence[Point], base: Point, min_retention: float, min_gain_kept: float) -> Choice:
    """The smallest share that keeps enough of the general score and of the gain; else the one that forgets least.

    The gain is that of the best point on dev among those that keep enough of the general score. Where none does, the
    one that keeps most of it is taken, ties to the better one on dev, then to the smaller share.

    Args:
        points: to choose from, at least one.
        base: the point at share 0.
        min_retention: the least share of the base's general score.
        min_gain_kept: the least share of the gain over the base in nDCG@10 on dev.
    """
    kept = [point for point in points if retention(point, base) >= min_retention]
    if not kept:
        return Choice(max(points, key=lambda p: (round(p.general, 6), round(p.dev, 6), -p.share)), False)
    best = max(point.dev for point in kept)
    floor = best - (1 - min_gain_kept) * max(best - base.dev, 0)
    near = [point for point in kept if point.dev >= floor - ROUNDING]
    return Choice(min(near, key=lambda point: point.share), True)


def score(line: Line, shares: Sequence[float], dev: Dev, general: Dev, precision: str) -> list[Point]:
    """The encoders at these shares, each scored on both tasks."""
    evaluators = [DevEvaluator(task, precision) for task in (dev, general)]
    points = []
    for share in tqdm(shares, desc="merge", unit="share", disable=None):
        model = line.at(share)
        points.append(Point(share, *(float(evaluator(model)[MEASURE]) for evaluator in evaluators)))
    return points


def curve(points: Sequence[Point], chosen: Point) -> pl.DataFrame:
    """What dev gains and general text loses from the base to the tuned weights."""
    columns = {"share": pl.Float64, "dev_ndcg@10": pl.Float64, "general_ndcg@10": pl.Float64, "is_chosen": pl.Boolean}
    rows = [(*(round(value, 6) for value in point), point.share == chosen.share) for point in points]
    return pl.DataFrame(rows, schema=columns, orient="row")


def seed_folders(folder: Path) -> dict[int, Path]:
    """The encoders of a round by seed."""
    found = sorted(int(path.name) for path in folder.glob("*") if path.name.isdecimal())
    return {seed: folder / str(seed) for seed in found}


def save(base: Path, tuned: Path, share: float, threads: int, out: Path) -> None:
    """Writes the encoder at this share; with share 1 the tuned one's files as they are."""
    if share == 1:
        shutil.copytree(tuned, out, copy_function=shutil.copyfile)  # not the modes: a cache's files may be read-only
    else:
        Line(base, tuned, threads).at(share).save_pretrained(str(out), create_model_card=False)
    (out / "attune.json").write_bytes((base / "attune.json").read_bytes())


def save_all(
    base: Path, folders: Mapping[int, Path], first: int, share: float, threads: int, out: Path, seeds: Path
) -> None:
    """The first seed's encoder to one folder, those of the others to another one, with a list of them."""
    save(base, folders[first], share, threads, out)
    others = [seed for seed in folders if seed != first]
    seeds.mkdir()
    for seed in others:
        save(base, folders[seed], share, threads, seeds / str(seed))
    write_json(seeds / "seeds.json", {"first": first, "others": others})


def receipt(chosen: Choice, base: Point, dev: Dev, general: Dev, n_seeds: int) -> Receipt:
    """What was chosen, what it scores beside the base, and on how many queries that was seen."""
    return {
        "share": chosen.point.share,
        "dev_ndcg@10": chosen.point.dev,
        "general_ndcg@10": chosen.point.general,
        "base_dev_ndcg@10": base.dev,
        "base_general_ndcg@10": base.general,
        "retention": retention(chosen.point, base),
        "is_retention_met": chosen.is_retention_met,
        "n_dev_queries": len(dev.queries),
        "n_general_queries": len(general.queries),
        "n_seeds": n_seeds,
    }


def merge(
    params: MergeParams,
    *,
    base: Path,
    rounds: Path,
    first: int,
    prepared: Path,
    dev_split: Path,
    out: Out,
    seeds: Out,
    curve_file: Out,
) -> Receipt:
    """Writes the first seed's encoder at the chosen share, those of the other seeds beside it, and the curve."""
    folders = seed_folders(rounds)
    if first not in folders:
        raise BadInput(f"{rounds}: no encoder of seed {first}, found {list(folders) or 'none'}; run `dvc repro`")
    corpus = read(prepared / "corpus.parquet", CORPUS)
    dev = read_dev(dev_split, dict(zip(corpus["document_id"], full_texts(corpus), strict=True)))
    general = general_task(read_practice(Path(params.general)))
    precision = best_precision() if params.machine.precision == "auto" else params.machine.precision
    shares = sorted({*params.shares, *ENDS})
    points = score(Line(base, folders[first], params.machine.threads), shares, dev, general, precision)
    allowed = [point for point in points if point.share in params.shares]
    chosen = choose(allowed, points[0], params.min_retention, params.min_gain_kept)
    curve(points, chosen.point).write_csv(curve_file)
    save_all(base, folders, first, chosen.point.share, params.machine.threads, out, seeds)
    return receipt(chosen, points[0], dev, general, len(folders))


if __name__ == "__main__":
    run(merge)
