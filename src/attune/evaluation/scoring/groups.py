"""Scores of groups of test queries: few enough to be kept in git, enough to compare two revisions on the same queries.

The scores of single queries are data that DVC keeps, and a clone without its cache has none of them. Sums over groups
are small whatever the size of the test split, and two revisions that scored the same queries differ group by group
only by what their encoders do: the difference is paired. A query's group is a hash of its id, so it is the same in
every revision and for every system.
"""

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from attune.errors import BadInput

KEPT = ("recall@10", "mrr@10", "ndcg@10")
COLUMNS = ("group", "n", *KEPT)

Values = NDArray[np.float64]


def group_of(query_id: str, n_groups: int) -> int:
    """A query's group, from 0 to n_groups - 1."""
    return int.from_bytes(hashlib.sha256(query_id.encode()).digest()[:8], "big") % n_groups


def grouped(query_ids: Sequence[str], values: Mapping[str, Values], n_groups: int) -> str:
    """Means of the kept measures by group, as CSV text: one row for each group that has a query, by number.

    Args:
        query_ids: the n queries.
        values: for each measure, (n,) scores in the same order.
        n_groups: how many groups there are, with those that no query falls into.
    """
    groups = np.array([group_of(id_, n_groups) for id_ in query_ids], dtype=np.int64)
    counts = np.bincount(groups, minlength=n_groups)
    sums = {key: np.bincount(groups, weights=values[key], minlength=n_groups) for key in KEPT}
    rows = [
        (group, counts[group], *(f"{sums[key][group] / counts[group]:.6f}" for key in KEPT))
        for group in np.flatnonzero(counts)
    ]
    return "\n".join(",".join(map(str, row)) for row in [COLUMNS, *rows]) + "\n"


def read_groups(text: str, where: str) -> dict[str, Values]:
    """The columns of such a CSV text.

    Raises:
        BadInput: a column is missing, or a value is no number.
    """
    rows = list(csv.DictReader(io.StringIO(text)))
    try:
        return {key: np.array([float(row[key]) for row in rows]) for key in COLUMNS}
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"{where}: expected columns {','.join(COLUMNS)} of numbers ({error!r}); run `dvc repro`"
        ) from None
