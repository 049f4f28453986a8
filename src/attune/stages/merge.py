"""Interpolates between base and tuned weights; keeps the smallest share of tuned weights that is good enough.

Every share is scored on dev and on general text that no training saw. A share qualifies if its nDCG@10 on general text
is at least `merge.min_retention` times the base's. Among those that qualify, the smallest share with at least
`merge.min_gain_kept` of the best dev gain becomes models/tuned: the nearer to the base, the less the embedding space
has moved. If none qualifies, the share with the best general score is taken and the receipt says
`is_retention_met: false`. The base itself is no fallback: share 0 is always scored, but chosen only if `merge.shares`
lists it. All seeds get the share that was chosen for the first one.
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
from attune.tables import CORPUS, MERGE_CURVE, full_texts, read, write_csv
from attune.tuning.curve import DEV_MEASURE
from attune.tuning.dev import DevEvaluator, RetrievalTask, read_dev
from attune.tuning.general_text import GeneralText, read_general_text
from attune.tuning.interpolation import Interpolation

MEASURE = DEV_MEASURE.removeprefix("eval_")  # the evaluator's own name of nDCG@10; the trainer adds the prefix
TOLERANCE = 1e-6  # dev scores this close to the required one count as reaching it
ENDS = (0.0, 1.0)  # base and tuned are always scored, so that the curve goes from one to the other


class MergeParams(Params):
    """Round to merge, candidate shares, and the limits on loss of general quality and of dev gain.

    Attributes:
        round: the training round whose encoders are merged with the base.
        shares: candidate shares of the tuned weights.
        min_retention: least nDCG@10 on general text, as a share of the base's.
        min_gain_kept: least gain in nDCG@10 on dev over the base, as a share of the best qualifying candidate's gain.
        general: file of general pairs; its evaluation half is scored.
    """

    round: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    shares: list[Annotated[float, Field(ge=0, le=1)]] = Field(min_length=1, max_length=100)
    min_retention: float = Field(ge=0, le=1)
    min_gain_kept: float = Field(ge=0, le=1)
    general: str = Field(min_length=1)
    machine: Machine


class Share(NamedTuple):
    """A share of the tuned weights with the nDCG@10 of its encoder on dev and on general text."""

    weight: float
    dev: float
    general: float


class Choice(NamedTuple):
    """The chosen share, and whether it meets min_retention."""

    share: Share
    is_retention_met: bool


def general_task(general: GeneralText) -> RetrievalTask:
    """Returns the evaluation half as a retrieval task; equal queries become one with all their answers.

    Passages of the train half are not in the corpus: training has pulled them to their own queries, which would make
    them weaker distractors for the tuned encoder than for the base.
    """
    relevant: dict[str, set[str]] = {}
    for query, passage in general.evaluation:
        relevant.setdefault(query, set()).add(passage)
    passages = sorted({pair.passage for pair in general.evaluation})
    return RetrievalTask({query: query for query in relevant}, {passage: passage for passage in passages}, relevant)


def retention(share: Share, base: Share) -> float:
    """Returns the general score as a share of the base's; 1 if the base scores 0."""
    return share.general / base.general if base.general else 1.0


def choose(shares: Sequence[Share], base: Share, min_retention: float, min_gain_kept: float) -> Choice:
    """Chooses the smallest share that keeps enough of the general score and of the gain on dev.

    The gain is measured against the best dev score among the shares that meet min_retention. If none meets it, the
    share with the best general score is chosen; ties go to the better dev score, then to the smaller share.

    Args:
        shares: the candidates, at least one.
        base: share 0.
        min_retention: least general score, as a share of the base's.
        min_gain_kept: least gain on dev, as a share of the best gain.
    """
    retaining = [share for share in shares if retention(share, base) >= min_retention]
    if not retaining:
        mildest = max(shares, key=lambda share: (round(share.general, 6), round(share.dev, 6), -share.weight))
        return Choice(mildest, is_retention_met=False)
    best = max(share.dev for share in retaining)
    least_dev = best - (1 - min_gain_kept) * max(best - base.dev, 0)
    good_enough = [share for share in retaining if share.dev >= least_dev - TOLERANCE]
    return Choice(min(good_enough, key=lambda share: share.weight), is_retention_met=True)


def score_shares(
    encoders: Interpolation, weights: Sequence[float], dev: RetrievalTask, general: RetrievalTask, precision: str
) -> list[Share]:
    """Scores the encoder at each share on both tasks."""
    evaluators = [DevEvaluator(task, precision) for task in (dev, general)]
    shares = []
    for weight in tqdm(weights, desc="merge", unit="share", disable=None):
        model = encoders.at(weight)
        shares.append(Share(weight, *(float(evaluator(model)[MEASURE]) for evaluator in evaluators)))
    return shares


def curve(shares: Sequence[Share], chosen: Share) -> pl.DataFrame:
    """Returns dev and general score by share, from the base to the tuned weights."""
    rows = [(*(round(value, 6) for value in share), share.weight == chosen.weight) for share in shares]
    return pl.DataFrame(rows, schema=dict(MERGE_CURVE), orient="row")


def seed_folders(folder: Path) -> dict[int, Path]:
    """Returns the encoder folders of a round by seed."""
    seeds = sorted(int(path.name) for path in folder.glob("*") if path.name.isdecimal())
    return {seed: folder / str(seed) for seed in seeds}


def save(base: Path, tuned: Path, weight: float, threads: int, out: Path) -> None:
    """Writes the encoder at this share; at share 1 copies the tuned encoder's files unchanged."""
    if weight == 1:
        shutil.copytree(tuned, out, copy_function=shutil.copyfile)  # not the modes: a cache's files may be read-only
    else:
        Interpolation(base, tuned, threads).at(weight).save_pretrained(str(out), create_model_card=False)
    (out / "attune.json").write_bytes((base / "attune.json").read_bytes())


def save_all(
    base: Path, folders: Mapping[int, Path], first: int, weight: float, threads: int, out: Path, seeds: Path
) -> None:
    """Writes the first seed's encoder to `out`, the other seeds' encoders and a list of them to `seeds`."""
    save(base, folders[first], weight, threads, out)
    others = [seed for seed in folders if seed != first]
    seeds.mkdir()
    for seed in others:
        save(base, folders[seed], weight, threads, seeds / str(seed))
    write_json(seeds / "seeds.json", {"first": first, "others": others})


def receipt(choice: Choice, base: Share, dev: RetrievalTask, general: RetrievalTask, n_seeds: int) -> Receipt:
    """Returns the chosen share, its scores beside the base's, and the number of queries behind them."""
    return {
        "share": choice.share.weight,
        "dev_ndcg@10": choice.share.dev,
        "general_ndcg@10": choice.share.general,
        "base_dev_ndcg@10": base.dev,
        "base_general_ndcg@10": base.general,
        "retention": retention(choice.share, base),
        "is_retention_met": choice.is_retention_met,
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
        raise BadInput(f"{rounds}: no encoder of seed {first}, only of {list(folders) or 'none'}; run `dvc repro`")
    corpus = read(prepared / "corpus.parquet", CORPUS)
    dev = read_dev(dev_split, dict(zip(corpus["document_id"], full_texts(corpus), strict=True)))
    general = general_task(read_general_text(Path(params.general)))
    precision = best_precision() if params.machine.precision == "auto" else params.machine.precision
    weights = sorted({*params.shares, *ENDS})
    shares = score_shares(Interpolation(base, folders[first], params.machine.threads), weights, dev, general, precision)
    candidates = [share for share in shares if share.weight in params.shares]
    choice = choose(candidates, shares[0], params.min_retention, params.min_gain_kept)
    write_csv(curve(shares, choice.share), curve_file, MERGE_CURVE)
    save_all(base, folders, first, choice.share.weight, params.machine.threads, out, seeds)
    return receipt(choice, shares[0], dev, general, len(folders))


if __name__ == "__main__":
    run(merge)
