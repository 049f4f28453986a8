"""Interpolates between base and tuned weights; keeps the smallest share of tuned weights that is good enough.

Every share is scored on dev, on general text that no training saw, and on dev's near-domain tasks (stage near_domain):
the domain as others see it. A share qualifies if its nDCG@10 on general text is at least `merge.min_retention` times
the base's, and on every near-domain task at least `merge.min_near_domain` times the base's there. Among those that
qualify, the smallest share with at least `merge.min_gain_kept` of the best dev gain becomes models/tuned: the nearer
to the base, the less the embedding space has moved.

Both floors compare means as measured. On a few hundred queries, the difference of two encoders has a standard error of
about .01: a floor of 1.0 says that no loss was measured, not that there is none, and may turn down a share that loses
nothing.

If no share qualifies, the one that falls short of its worst floor by least is taken, and the receipt says which floor
it misses (`is_retention_met: false`, `is_near_domain_met: false`). The base itself is no fallback: share 0 is always
scored, but chosen only if `merge.shares` lists it. All seeds get the share that was chosen for the first one.
"""

import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import polars as pl
from pydantic import Field
from tqdm import tqdm

from attune.encoding.encoders import best_precision
from attune.errors import BadInput
from attune.stage import Machine, Out, Params, Receipt, run, write_json
from attune.tables import CORPUS, MERGE_CURVE, full_texts, read, read_raw, write_csv
from attune.tuning.curve import DEV_MEASURE
from attune.tuning.dev import DevEvaluator, RetrievalTask, read_dev, relevant_ids
from attune.tuning.general_text import GeneralText, read_general_text
from attune.tuning.interpolation import Interpolation

MEASURE = DEV_MEASURE.removeprefix("eval_")  # the evaluator's own name of nDCG@10; the trainer adds the prefix
TOLERANCE = 1e-6  # dev scores this close to the required one count as reaching it
ENDS = (0.0, 1.0)  # base and tuned are always scored, so that the curve goes from one to the other


class MergeParams(Params):
    """Round to merge, candidate shares, and the limits on loss of general and near-domain quality and of dev gain.

    Attributes:
        round: the training round whose encoders are merged with the base.
        shares: candidate shares of the tuned weights.
        min_retention: least nDCG@10 on general text, as a share of the base's.
        min_near_domain: least nDCG@10 on each of dev's near-domain tasks, as a share of the base's there.
        min_gain_kept: least gain in nDCG@10 on dev over the base, as a share of the best qualifying candidate's gain.
        general: file of general pairs; its evaluation half is scored.
    """

    round: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    shares: list[Annotated[float, Field(ge=0, le=1)]] = Field(min_length=1, max_length=100)
    min_retention: float = Field(ge=0, le=1)
    min_near_domain: float = Field(ge=0, le=1)
    min_gain_kept: float = Field(ge=0, le=1)
    general: str = Field(min_length=1)
    machine: Machine


class Share(NamedTuple):
    """A share of the tuned weights with nDCG@10 of its encoder: on dev, general text and each near-domain task."""

    weight: float
    dev: float
    general: float
    near_domain: tuple[float, ...] = ()


class Floors(NamedTuple):
    """Least scores of a share that qualifies, as shares of the base's: on general text, on each near-domain task."""

    retention: float
    near_domain: float


class Choice(NamedTuple):
    """The chosen share, and which floors it meets; without near-domain tasks theirs is met."""

    share: Share
    is_retention_met: bool
    is_near_domain_met: bool


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


def read_near_domain(folder: Path) -> dict[str, RetrievalTask]:
    """Reads every task of dev's near-domain folder by name: subfolders in BEIR's layout with judgments qrels/dev.tsv.

    Raises:
        BadInput: a file of a task is missing or is not what stage near_domain writes.
    """
    tasks = {}
    for task_folder in sorted(path for path in folder.glob("*") if path.is_dir()):
        documents, queries, qrels = read_raw(task_folder)
        if "dev" not in qrels:
            raise BadInput(f"{task_folder / 'qrels' / 'dev.tsv'}: not found; run `dvc repro` to make it")
        tasks[task_folder.name] = RetrievalTask(
            queries=dict(queries.select("query_id", "text").iter_rows()),
            corpus=dict(zip(documents["document_id"], full_texts(documents), strict=True)),
            relevant=relevant_ids(qrels["dev"].iter_rows()),
        )
    return tasks


def kept(score: float, of_base: float) -> float:
    """Returns a score as a share of the base's; 1 if the base scores 0, where there is nothing to lose."""
    return score / of_base if of_base else 1.0


def near_domain_kept(share: Share, base: Share) -> list[float]:
    """Returns the score on each near-domain task as a share of the base's."""
    return [kept(score, of_base) for score, of_base in zip(share.near_domain, base.near_domain, strict=True)]


def shortfall(share: Share, base: Share, floors: Floors) -> float:
    """Returns by how much a share misses the floor that it misses by most, as a share of the base's score; else 0."""
    missed = [floors.near_domain - value for value in near_domain_kept(share, base)]
    return max(floors.retention - kept(share.general, base.general), *missed, 0.0)


def choose(shares: Sequence[Share], base: Share, floors: Floors, min_gain_kept: float) -> Choice:
    """Chooses the smallest share that meets the floors and keeps enough of the gain on dev.

    The gain is measured against the best dev score among the shares that meet the floors. If none meets them, the
    share with the smallest shortfall is chosen; ties go to the better dev score, then to the smaller share.

    Args:
        shares: the candidates, at least one.
        base: share 0.
        floors: least general and near-domain scores, as shares of the base's.
        min_gain_kept: least gain on dev, as a share of the best gain.
    """
    allowed = [share for share in shares if shortfall(share, base, floors) == 0]
    if allowed:
        best = max(share.dev for share in allowed)
        least_dev = best - (1 - min_gain_kept) * max(best - base.dev, 0)
        good_enough = [share for share in allowed if share.dev >= least_dev - TOLERANCE]
        chosen = min(good_enough, key=lambda share: share.weight)
    else:
        chosen = min(
            shares, key=lambda share: (round(shortfall(share, base, floors), 6), -round(share.dev, 6), share.weight)
        )
    return Choice(
        chosen,
        is_retention_met=kept(chosen.general, base.general) >= floors.retention,
        is_near_domain_met=all(value >= floors.near_domain for value in near_domain_kept(chosen, base)),
    )


def score_shares(
    encoders: Interpolation,
    weights: Sequence[float],
    dev: RetrievalTask,
    general: RetrievalTask,
    near_domain: Sequence[RetrievalTask],
    precision: str,
) -> list[Share]:
    """Scores the encoder at each share on all tasks; a document that several tasks search is encoded once per share."""
    evaluators = [DevEvaluator(task, precision) for task in (dev, general, *near_domain)]
    texts = sorted({text for evaluator in evaluators for text in evaluator.corpus})
    row_of = {text: row for row, text in enumerate(texts)}
    rows = [[row_of[text] for text in evaluator.corpus] for evaluator in evaluators]
    shares = []
    for weight in tqdm(weights, desc="merge", unit="share", disable=None):
        model = encoders.at(weight)
        embeddings = evaluators[0].embed_inputs(model, texts, "document")
        of_dev, of_general, *of_near_domain = (
            float(evaluator(model, corpus_embeddings=embeddings[own])[MEASURE])
            for evaluator, own in zip(evaluators, rows, strict=True)
        )
        shares.append(Share(weight, of_dev, of_general, tuple(of_near_domain)))
    return shares


def curve(shares: Sequence[Share], chosen: Share) -> pl.DataFrame:
    """Returns the scores by share, from the base to the tuned weights; near-domain is the mean of the tasks."""
    rows = [
        {
            "share": round(share.weight, 6),
            "dev_ndcg@10": round(share.dev, 6),
            "general_ndcg@10": round(share.general, 6),
            "near_domain_ndcg@10": round(statistics.fmean(share.near_domain), 6) if share.near_domain else None,
            "is_chosen": share.weight == chosen.weight,
        }
        for share in shares
    ]
    return pl.DataFrame(rows, schema=dict(MERGE_CURVE))


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


def near_domain_figures(choice: Choice, base: Share, tasks: Mapping[str, RetrievalTask]) -> Receipt:
    """Returns the scores on each near-domain task beside the base's, and the least share kept; {} without tasks."""
    if not tasks:
        return {}
    chosen = {f"near_{name}_ndcg@10": score for name, score in zip(tasks, choice.share.near_domain, strict=True)}
    of_base = {f"base_near_{name}_ndcg@10": score for name, score in zip(tasks, base.near_domain, strict=True)}
    return {
        **chosen,
        **of_base,
        **{f"n_near_{name}_queries": len(task.queries) for name, task in tasks.items()},
        "near_domain_kept": min(near_domain_kept(choice.share, base)),
        "is_near_domain_met": choice.is_near_domain_met,
    }


def merge(
    params: MergeParams,
    *,
    base: Path,
    rounds: Path,
    first: int,
    prepared: Path,
    dev_split: Path,
    train_documents: Path,
    n_dev_documents: int,
    near_domain: Path,
    out: Out,
    seeds: Out,
    curve_file: Out,
) -> Receipt:
    """Writes the first seed's encoder at the chosen share, those of the other seeds beside it, and the curve."""
    folders = seed_folders(rounds)
    if first not in folders:
        raise BadInput(f"{rounds}: no encoder of seed {first}, only of {list(folders) or 'none'}; run `dvc repro`")
    corpus = read(prepared / "corpus.parquet", CORPUS)
    texts = dict(zip(corpus["document_id"], full_texts(corpus), strict=True))
    dev = read_dev(dev_split, texts, train_documents, n_dev_documents)
    general = general_task(read_general_text(Path(params.general)))
    near = read_near_domain(near_domain)
    precision = best_precision() if params.machine.precision == "auto" else params.machine.precision
    weights = sorted({*params.shares, *ENDS})
    encoders = Interpolation(base, folders[first], params.machine.threads)
    shares = score_shares(encoders, weights, dev, general, list(near.values()), precision)
    candidates = [share for share in shares if share.weight in params.shares]
    floors = Floors(params.min_retention, params.min_near_domain)
    choice = choose(candidates, shares[0], floors, params.min_gain_kept)
    write_csv(curve(shares, choice.share), curve_file, MERGE_CURVE)
    save_all(base, folders, first, choice.share.weight, params.machine.threads, out, seeds)
    return {
        "share": choice.share.weight,
        "dev_ndcg@10": choice.share.dev,
        "general_ndcg@10": choice.share.general,
        "base_dev_ndcg@10": shares[0].dev,
        "base_general_ndcg@10": shares[0].general,
        "retention": kept(choice.share.general, shares[0].general),
        "is_retention_met": choice.is_retention_met,
        **near_domain_figures(choice, shares[0], near),
        "n_dev_queries": len(dev.queries),
        "n_dev_documents": len(dev.corpus),
        "n_general_queries": len(general.queries),
        "n_seeds": len(folders),
    }


if __name__ == "__main__":
    run(merge)
