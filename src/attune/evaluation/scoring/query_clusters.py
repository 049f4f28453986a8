"""Clusters of a split's queries, the units that statistics resample."""

from collections.abc import Sequence
from pathlib import Path

from attune.errors import BadInput
from attune.evaluation.statistics.clusters import numbered
from attune.runtime.arrays import Int64
from attune.tables import SPLIT_QUERIES, read


def clusters_of(split: Path, query_ids: Sequence[str]) -> Int64:
    """Returns the (n_queries,) number of the cluster of each query, which the split's protocol (split.by) keeps whole.

    Args:
        split: folder of the split.
        query_ids: of some or all of its queries, in any order.

    Raises:
        BadInput: queries.parquet is missing or damaged, or lacks a query.
    """
    file = split / "queries.parquet"
    clusters: dict[str, str] = dict(read(file, SPLIT_QUERIES).select("query_id", "cluster_id").iter_rows())
    unknown = [id_ for id_ in query_ids if id_ not in clusters]
    if unknown:
        raise BadInput(f"{file}: lacks {len(unknown)} scored queries (first: {unknown[0]!r}); run `dvc repro`")
    return numbered([clusters[id_] for id_ in query_ids])
