"""Gains on train, dev and test: tuned minus base in nDCG@10, by cluster of queries."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from attune.errors import BadInput
from attune.evaluation.scoring.measures import MEASURES
from attune.evaluation.scoring.query_clusters import clusters_of
from attune.evaluation.statistics.clusters import ClusterSums, cluster_sums
from attune.runtime.arrays import Float64, Int64
from attune.tables import read, scores_columns

MEASURE = "ndcg@10"
SPLITS = ("train", "dev", "test")  # of train a sample
SCORES = scores_columns(MEASURES)


@dataclass(frozen=True)
class Gain:
    """Gain on the queries of one split, tuned minus base.

    Attributes:
        sums: of the queries' differences, by cluster.
        tuned: mean score of tuned.
        is_unchanged: whether base and tuned score the same on every query.
    """

    sums: ClusterSums
    tuned: float
    is_unchanged: bool

    @classmethod
    def of(cls, base: Float64, tuned: Float64, clusters: Int64) -> "Gain":
        """Compares (n_queries,) scores of base and tuned, given the number of each query's cluster."""
        deltas = tuned - base
        return cls(cluster_sums(deltas, clusters), float(tuned.mean()), not deltas.any())

    @property
    def mean(self) -> float:
        """Mean gain per query."""
        return float(self.sums.mean)

    @property
    def n_queries(self) -> int:
        """Number of queries."""
        return int(self.sums.sizes.sum())


Gains = Mapping[str, Gain]  # by split


def gains_of(runs: Path, splits: Path) -> dict[str, Gain]:
    """Reads the gains in nDCG@10 on the sample of train, on dev and on test.

    Args:
        runs: data/runs, with the scores of base and tuned.
        splits: data/splits, with the queries' clusters.

    Raises:
        BadInput: base and tuned were not scored on the same queries, on none, or not on those of the split.
    """
    base, tuned = (read(runs / system / "scores.parquet", SCORES).sort("query_id") for system in ("base", "tuned"))
    return {split: _gain(base, tuned, split, splits) for split in SPLITS}


def _gain(base: pl.DataFrame, tuned: pl.DataFrame, split: str, splits: Path) -> Gain:
    sides = [side.filter(pl.col("split") == split) for side in (base, tuned)]
    ids = [side["query_id"].to_list() for side in sides]
    if ids[0] != ids[1] or not ids[0]:
        got = f"base was scored on {len(ids[0])} {split} queries, tuned on {len(ids[1])}"
        raise BadInput(f"report: {got}; expected the same ones, at least 1; run `dvc repro`")
    before, after = (side[MEASURE].to_numpy() for side in sides)
    return Gain.of(before, after, clusters_of(splits / split, ids[0]))
