"""Candidates of a round, as stage train leaves them and stage merge reads them.

In the folder of a round, candidates/SEED has a file STEP.safetensors for each evaluated checkpoint, its difference to
the base in half precision, and scores.parquet, nDCG@10 of each dev query by step and share. candidates/dev.json says
among how many sampled documents dev was searched.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import polars as pl

from attune.errors import BadInput
from attune.runtime.arrays import Float64
from attune.stage import write_json
from attune.tables import DEV_SCORES, read, write
from attune.tuning.curve import BASE, Candidate, Evaluation
from attune.tuning.interpolation import Weights, average, read_change

N_AVERAGED = 3  # last checkpoints that are averaged, or as many as there are
CANDIDATES, SCORES, SAMPLE = "candidates", "scores.parquet", "dev.json"
SAMPLED = "n_sampled_documents"


def write_candidates(
    evaluations: Sequence[Evaluation], changes: Mapping[int, Path], query_ids: Sequence[str], folder: Path
) -> None:
    """Writes the difference of each evaluated checkpoint to the base, STEP.safetensors, and all scores by query.

    Args:
        evaluations: of one run; those after training has diverged are left out.
        changes: files of the differences by step.
        query_ids: of the scores.
        folder: of the seed's candidates, which is made.
    """
    folder.mkdir(parents=True)
    tables = []
    for evaluation in (one for one in evaluations if one.is_finite):
        shutil.copyfile(changes[evaluation.step], folder / f"{evaluation.step}.safetensors")
        for share, values in zip(evaluation.shares, evaluation.values, strict=True):
            scores = pl.DataFrame({"query_id": query_ids, "ndcg@10": values})
            tables.append(scores.with_columns(step=pl.lit(evaluation.step, pl.Int64), share=pl.lit(share)))
    write(pl.concat(tables).select(list(DEV_SCORES)), folder / SCORES, DEV_SCORES)


def write_sample(n_documents: int, folder: Path) -> None:
    """Writes the number of sampled documents that dev was searched in, into the folder of a round."""
    write_json(folder / CANDIDATES / SAMPLE, {SAMPLED: n_documents})


def read_sample(folder: Path) -> int:
    """Reads what `write_sample` wrote.

    Raises:
        BadInput: the file is missing, of an older version, or damaged.
    """
    file = folder / CANDIDATES / SAMPLE
    try:
        return int(json.loads(file.read_text(encoding="utf-8"))[SAMPLED])
    except (OSError, ValueError, KeyError, TypeError):
        raise BadInput(f'{file}: expected {{"{SAMPLED}": number}}; run `dvc repro`, which trains again') from None


class Round:
    """Checkpoints of one seed of a round: their differences to the base, and their scores on dev.

    Args:
        folder: of the seed's candidates.
        query_ids: of dev, in the scorer's order.

    Raises:
        BadInput: the folder is missing, or has scores of other queries.
    """

    def __init__(self, folder: Path, query_ids: Sequence[str]) -> None:
        self.folder = folder
        scores = read(folder / SCORES, DEV_SCORES)
        if any(own["query_id"].to_list() != list(query_ids) for _, own in scores.group_by("step", "share")):
            raise BadInput(f"{folder / SCORES}: scores of other queries than dev's; run `dvc repro`")
        self.values: dict[Candidate, Float64] = {
            Candidate(int(step), 1, float(share)): own["ndcg@10"].to_numpy()
            for (step, share), own in scores.group_by("step", "share", maintain_order=True)
        }

    @cached_property
    def steps(self) -> list[int]:
        """Steps of the checkpoints, ascending; without the start of training."""
        return sorted({candidate.step for candidate in self.values if candidate.step})

    @property
    def shares(self) -> list[float]:
        """Shares at which checkpoints were scored, ascending."""
        return sorted({candidate.share for candidate in self.values if candidate != BASE})

    def averages(self) -> list[Candidate]:
        """Returns the average of the last checkpoints at each share; none of fewer than two checkpoints."""
        n = min(N_AVERAGED, len(self.steps))
        return [Candidate(self.steps[-1], n, share) for share in self.shares] if n > 1 else []

    def change(self, candidate: Candidate) -> Weights:
        """Returns the difference of a candidate's checkpoint, or of the mean of several, to the base."""
        if candidate.n_averaged == 1:
            return read_change(self.folder / f"{candidate.step}.safetensors")
        last = [step for step in self.steps if step <= candidate.step][-candidate.n_averaged :]
        return average([read_change(self.folder / f"{step}.safetensors") for step in last])

    def nearest(self, candidate: Candidate) -> Candidate:
        """Returns the candidate of this seed at a step that another seed has chosen, or at the last step before it."""
        if candidate in self.values:  # base, and the start of a later round at a share, too
            return candidate
        steps = [step for step in self.steps if step <= candidate.step] or self.steps[:1]
        if not steps:
            return BASE
        return Candidate(steps[-1], min(candidate.n_averaged, len(steps)), candidate.share)
