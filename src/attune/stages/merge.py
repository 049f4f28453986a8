"""Chooses the encoder that ships among base, checkpoints and averages of checkpoints, at every share of their weights.

Training has scored each checkpoint at each share on dev. Here the averages of the last checkpoints are scored, too, and
dev chooses (`tuning.choice`): the best candidate that beats the base by more than one standard error, and that keeps
`merge.min_retention` of the base's nDCG@10 on general text that no training saw and `merge.min_near_domain` on each of
dev's near-domain tasks (stage near_domain), the domain as others see it. A floor counts as missed where the share kept
is below it by more than one standard error. Only candidates that come into question are scored on these texts. Where
none is left, the base ships.

All seeds get the step and share that were chosen for the first one, or their last step before it.
"""

import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field
from tqdm import tqdm

from attune.data.query_groups import read_groups
from attune.data.raw_tables import read_raw
from attune.encoding.encoders import precision_of
from attune.encoding.torch_threads import set_torch_threads
from attune.errors import BadInput
from attune.plots import MERGE_CURVE, write_csv
from attune.retrieval.passages import read_passages
from attune.stage import Machine, Out, Params, Receipt, run, write_json
from attune.tables import CORPUS, full_texts, read
from attune.tuning.candidates import CANDIDATES, Round, read_sample
from attune.tuning.choice import Choice, Refusal, Scored, choose
from attune.tuning.curve import BASE, Candidate
from attune.tuning.dev import RetrievalScorer, RetrievalTask, read_dev, relevance_of
from attune.tuning.estimates import Estimate, gain
from attune.tuning.floors import GENERAL, Floors, OtherTasks
from attune.tuning.general_text import GeneralText, read_general_text
from attune.tuning.interpolation import Interpolation


class MergeParams(Params):
    """Round to choose from, and the limits on loss of general and near-domain quality and of dev gain.

    Attributes:
        round: the training round whose checkpoints are candidates.
        keep: best, by dev; or last, the last checkpoint with all of its weights, whatever dev says.
        min_retention: least nDCG@10 on general text, as a share of the base's.
        min_near_domain: least nDCG@10 on each of dev's near-domain tasks, as a share of the base's there.
        min_gain_kept: least gain in nDCG@10 on dev over the base, as a share of the best qualifying candidate's gain.
    """

    round: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    keep: Literal["best", "last"]
    min_retention: float = Field(ge=0, le=1)
    min_near_domain: float = Field(ge=0, le=1)
    min_gain_kept: float = Field(ge=0, le=1)
    machine: Machine


def general_task(general: GeneralText) -> RetrievalTask:
    """Returns the evaluation half as a retrieval task; equal queries become one with all their answers.

    Passages of the train half are not in the corpus: training has pulled them to their own queries, which would make
    them weaker distractors for the tuned encoder than for the base.
    """
    relevant = relevance_of((query, passage, 1) for query, passage in general.evaluation)
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
        ids = queries["query_id"].to_list()
        tasks[task_folder.name] = RetrievalTask(
            queries=dict(zip(ids, queries["text"], strict=True)),
            corpus=dict(zip(documents["document_id"], full_texts(documents), strict=True)),
            relevant=relevance_of(qrels["dev"].iter_rows()),
            clusters=dict(zip(ids, read_groups(task_folder, ids) or ids, strict=True)),
        )
    return tasks


def score_averages(of_round: Round, encoders: Interpolation, scorer: RetrievalScorer) -> None:
    """Scores the averages of the last checkpoints on dev, and adds them to the round's scores."""
    averages = of_round.averages()
    change = of_round.change(averages[0]) if averages else {}  # of all shares
    for candidate in tqdm(averages, desc="merge", unit="encoder", disable=None):
        of_round.values[candidate] = scorer(encoders.at(change, candidate.share))


def scored_candidates(of_round: Round, scorer: RetrievalScorer) -> list[Scored]:
    """Returns every candidate but the base with its mean on dev and its gain over the base."""
    base = of_round.values[BASE]
    return [
        Scored(candidate, float(values.mean()), gain(values, base, scorer.clusters))
        for candidate, values in of_round.values.items()
        if candidate != BASE
    ]


def curve(of_round: Round, scored: Sequence[Scored], other: OtherTasks, choice: Choice) -> pl.DataFrame:
    """Returns a row per candidate, base first, by step, number of averaged checkpoints and share."""
    base = Scored(BASE, float(of_round.values[BASE].mean()), Estimate(0.0, 0.0))
    rows = []
    for one in sorted((base, *scored), key=lambda one: one.candidate):
        beside = other.scored.get(one.candidate)
        near = [score for name, score in beside.scores.items() if name != GENERAL] if beside else []
        rows.append(
            {
                **one.candidate._asdict(),
                "dev_ndcg@10": round(one.dev, 6),
                "se": None if np.isinf(one.gain.error) else round(one.gain.error, 6),
                "general_ndcg@10": round(beside.scores[GENERAL], 6) if beside else None,
                "near_domain_ndcg@10": round(statistics.fmean(near), 6) if near else None,
                "is_chosen": one.candidate == choice.chosen,
                "is_next": one.candidate == choice.next,
            }
        )
    return pl.DataFrame(rows, schema=dict(MERGE_CURVE))


def seed_folders(folder: Path) -> dict[int, Path]:
    """Returns the candidates' folders of a round by seed."""
    seeds = sorted(int(path.name) for path in (folder / CANDIDATES).glob("*") if path.name.isdecimal())
    return {seed: folder / CANDIDATES / str(seed) for seed in seeds}


def save(base: Path, encoders: Interpolation, of_round: Round, candidate: Candidate, out: Path) -> None:
    """Writes a candidate's encoder; of the base copies the files unchanged."""
    if candidate.share == 0:
        shutil.copytree(base, out, copy_function=shutil.copyfile)  # not the modes: a cache's files may be read-only
    else:
        model = encoders.at(of_round.change(candidate), candidate.share)
        model.save_pretrained(str(out), create_model_card=False)
    (out / "attune.json").write_bytes((base / "attune.json").read_bytes())


def last(of_round: Round) -> Candidate:
    """Returns the last checkpoint with all of its weights; the base where nothing was trained."""
    return Candidate(of_round.steps[-1], 1, max(of_round.shares)) if of_round.steps else BASE


def other_figures(other: OtherTasks, chosen: Candidate, floors: Floors) -> Receipt:
    """Returns the scores of the chosen encoder and of the base beside dev, the least shares kept, and the floors.

    A standard error that cannot be told, as all queries are one cluster, is left out.
    """
    own, base = other.of(chosen), other.of(BASE)
    near = [name for name in other.tasks if name != GENERAL]
    return {
        "general_ndcg@10": own.scores[GENERAL],
        "base_general_ndcg@10": base.scores[GENERAL],
        "retention": own.kept[GENERAL].value,
        **known("retention_standard_error", own.kept[GENERAL].error),
        "min_retention": floors.retention,
        **{f"near_{name}_ndcg@10": own.scores[name] for name in near},
        **{f"base_near_{name}_ndcg@10": base.scores[name] for name in near},
        **{f"n_near_{name}_queries": len(other.tasks[name].queries) for name in near},
        **(near_figures([own.kept[name] for name in near], floors.near_domain) if near else {}),
        "n_general_queries": len(other.tasks[GENERAL].queries),
    }


def near_figures(shares: Sequence[Estimate], floor: float) -> Receipt:
    """Returns the share kept on the worst near-domain task, and the floor."""
    worst = min(shares, key=lambda share: (share.value + share.error) if np.isfinite(share.error) else share.value)
    return {
        "near_domain_kept": worst.value,
        **known("near_domain_standard_error", worst.error),
        "min_near_domain": floor,
    }


def known(name: str, error: float) -> dict[str, float]:
    """Returns a standard error under its name; nothing where it is infinite."""
    return {name: error} if np.isfinite(error) else {}


def choice_figures(choice: Choice, scored: Sequence[Scored], base_dev: float) -> Receipt:
    """Returns the chosen candidate and the one that came next, with their scores on dev."""
    by_candidate = {one.candidate: one for one in scored}
    chosen = by_candidate.get(choice.chosen, Scored(BASE, base_dev, Estimate(0.0, 0.0)))
    figures = {
        **choice.chosen._asdict(),
        "dev_ndcg@10": chosen.dev,
        "base_dev_ndcg@10": base_dev,
        **known("gain_standard_error", chosen.gain.error),
        "n_candidates": len(scored) + 1,
    }
    if choice.next is None:
        return figures
    named = {f"next_{name}": value for name, value in choice.next._asdict().items()}
    after = by_candidate[choice.next]
    error = known("next_standard_error", after.gain.error)
    return figures | named | {"next_dev_ndcg@10": after.dev, **error, "next_reason": str(choice.refusal)}


def merge(
    params: MergeParams,
    *,
    base: Path,
    rounds: Path,
    first: int,
    prepared: Path,
    dev_split: Path,
    train_documents: Path,
    general: Path,
    near_domain: Path,
    out: Out,
    seeds: Out,
    curve_file: Out,
) -> Receipt:
    """Writes the first seed's chosen encoder, those of the other seeds beside it, and the scores of all candidates."""
    folders = seed_folders(rounds)
    if first not in folders:
        raise BadInput(f"{rounds}: no encoder of seed {first}, only of {list(folders) or 'none'}; run `dvc repro`")
    set_torch_threads(params.machine.threads)
    corpus = read(prepared / "corpus.parquet", CORPUS)
    texts = dict(zip(corpus["document_id"], full_texts(corpus), strict=True))
    passages = read_passages(prepared, corpus).of_documents()
    precision = precision_of(base, params.machine.precision)
    dev = read_dev(dev_split, texts, train_documents, read_sample(rounds), passages)
    scorer = RetrievalScorer(dev, precision)
    tasks = {GENERAL: general_task(read_general_text(general)), **read_near_domain(near_domain)}
    encoders, of_round = Interpolation(base), Round(folders[first], scorer.query_ids)
    floors, other = (
        Floors(params.min_retention, params.min_near_domain),
        OtherTasks(tasks, encoders, of_round, precision),
    )
    if params.keep == "best":
        score_averages(of_round, encoders, scorer)
        scored = scored_candidates(of_round, scorer)
        choice = choose(scored, lambda candidate: other.missed(candidate, floors), params.min_gain_kept)
    else:
        choice = Choice(last(of_round), None, Refusal.NONE)
        scored = [one for one in scored_candidates(of_round, scorer) if one.candidate == choice.chosen]
    base_dev = float(of_round.values[BASE].mean())
    figures = {**choice_figures(choice, scored, base_dev), **other_figures(other, choice.chosen, floors)}
    figures |= {"n_candidates": 1} if params.keep == "last" else {}
    write_csv(curve(of_round, scored, other, choice), curve_file, MERGE_CURVE)
    save(base, encoders, of_round, choice.chosen, out)
    others = {seed: Round(folder, scorer.query_ids) for seed, folder in folders.items() if seed != first}
    save_other_seeds(base, encoders, others, first, choice.chosen, seeds)
    return {
        "keep": params.keep,
        **figures,
        "n_dev_queries": len(scorer.queries),
        "n_dev_documents": scorer.n_documents,
        "n_seeds": len(folders),
    }


def save_other_seeds(
    base: Path, encoders: Interpolation, others: Mapping[int, Round], first: int, chosen: Candidate, out: Path
) -> None:
    """Writes the other seeds' encoders at the chosen step and share, and a list of the seeds."""
    out.mkdir()
    for seed, of_round in others.items():
        save(base, encoders, of_round, of_round.nearest(chosen), out / str(seed))
    write_json(out / "seeds.json", {"first": first, "others": list(others)})


if __name__ == "__main__":
    run(merge)
