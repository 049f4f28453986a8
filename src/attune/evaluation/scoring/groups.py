"""Mean scores of groups of test queries: small enough for git, enough to compare two revisions in pairs.

Scores of single queries are DVC outputs, which a clone without its cache lacks. Group means stay small whatever the
size of the test split, and two revisions that scored the same queries differ group by group only by their encoders, so
the difference is paired. A query's group is a hash of its cluster's id: the same in every revision and for each system.
Clusters stay whole, because the queries of a cluster are not independent, and groups have to be.

Reads csv with the standard library, because the `review` extra installs no polars.
"""

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence

import numpy as np

from attune.errors import BadInput
from attune.runtime.arrays import Float64

KEPT = ("recall@10", "mrr@10", "ndcg@10")
COLUMNS = ("group", "n", *KEPT)


def group_of(cluster_id: str, n_groups: int) -> int:
    """Returns a cluster's group, from 0 to n_groups - 1."""
    return int.from_bytes(hashlib.sha256(cluster_id.encode()).digest()[:8], "big") % n_groups


def group_means(cluster_ids: Sequence[str], values: Mapping[str, Float64], n_groups: int) -> str:
    """Returns the means of the kept measures by group as csv text: one row per group that has a query, by number.

    Args:
        cluster_ids: of n queries.
        values: for each measure (n,) scores in the same order.
        n_groups: number of groups, empty ones included.
    """
    groups = np.array([group_of(id_, n_groups) for id_ in cluster_ids], dtype=np.int64)
    counts = np.bincount(groups, minlength=n_groups)
    sums = {key: np.bincount(groups, weights=values[key], minlength=n_groups) for key in KEPT}
    rows = [
        (group, counts[group], *(f"{sums[key][group] / counts[group]:.6f}" for key in KEPT))
        for group in np.flatnonzero(counts)
    ]
    return "\n".join(",".join(map(str, row)) for row in [COLUMNS, *rows]) + "\n"


def read_groups(text: str, where: str) -> dict[str, Float64]:
    """Reads the columns of such a csv text.

    Args:
        text: as `group_means` returns it.
        where: file and revision, for errors.

    Raises:
        BadInput: a column is missing, or a value is not a number.
    """
    rows = list(csv.DictReader(io.StringIO(text)))
    try:
        return {key: np.array([float(row[key]) for row in rows]) for key in COLUMNS}
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"{where}: expected columns {','.join(COLUMNS)} of numbers ({error!r}); run `dvc repro`"
        ) from None
