"""The scores of base, tuned and the other seeds' encoders on the same queries, in the same order."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from attune.errors import BadInput
from attune.evaluation.scoring.measures import MEASURES
from attune.tables import read, scores_columns, seed_scores_columns

SCORES, SEED_SCORES = scores_columns(MEASURES), seed_scores_columns(MEASURES)
TASKS = ("test", "paraphrases")  # compared query by query; dev is not, since choices were made on it

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Paired:
    """Base's and tuned's scores on the same queries: (n_queries,) values of each measure, by query id."""

    query_ids: list[str]
    base: Mapping[str, Values]
    tuned: Mapping[str, Values]

    def without(self, query_ids: Collection[str]) -> "Paired":
        """The same of the other queries."""
        kept = np.array([id_ not in query_ids for id_ in self.query_ids], dtype=np.bool_)
        left = [id_ for id_, is_kept in zip(self.query_ids, kept, strict=True) if is_kept]
        base, tuned = ({name: values[kept] for name, values in side.items()} for side in (self.base, self.tuned))
        return Paired(left, base, tuned)


def _values(scores: pl.DataFrame) -> dict[str, Values]:
    return {name: scores[name].to_numpy() for name in MEASURES}


def paired_scores(runs: Path) -> dict[str, Paired]:
    """The scores of base and of tuned on test, and on the paraphrases where there are two or more.

    Raises:
        BadInput: they were not scored on the same queries.
    """
    sides = [read(runs / system / "scores.parquet", SCORES).sort("query_id") for system in ("base", "tuned")]
    found = {}
    for task in TASKS:
        base, tuned = (side.filter(pl.col("split") == task) for side in sides)
        if not base["query_id"].equals(tuned["query_id"]):
            raise BadInput(f"report: base and tuned were scored on different {task} queries; run `dvc repro`")
        if task == "test" or base.height > 1:
            found[task] = Paired(base["query_id"].to_list(), _values(base), _values(tuned))
    return found


def seed_scores(file: Path, query_ids: list[str]) -> list[dict[str, Values]]:
    """The scores of each trained seed's encoder on these test queries, in their order.

    Raises:
        BadInput: a seed was not scored on these queries, or there is none.
    """
    table = read(file, SEED_SCORES).filter(pl.col("split") == "test", pl.col("query_id").is_in(query_ids))
    sides = [side.sort("query_id") for side in table.partition_by("seed", maintain_order=True)]
    if not sides or any(side["query_id"].to_list() != query_ids for side in sides):
        raise BadInput(f"{file}: base and the seeds were scored on different test queries; run `dvc repro`")
    return [_values(side) for side in sides]
