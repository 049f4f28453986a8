"""Which of the documents found near a query may be its hard negatives, and what tops up a list that stays short."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attune.errors import BadInput

REASONS = ("positive", "own_negative", "positive_cluster", "too_close", "kept", "not_needed")


@dataclass(frozen=True)
class Found:
    """The ranked candidates of every query, all of shape (n_queries, depth) but the last, which is (n_queries,)."""

    scores: NDArray[np.float32]
    rows: NDArray[np.int64]
    is_positive: NDArray[np.bool_]
    is_own_negative: NDArray[np.bool_]
    in_own_cluster: NDArray[np.bool_]
    lowest_positive: NDArray[np.float32]


@dataclass(frozen=True)
class Verdicts:
    """What became of each candidate: indices into REASONS, (n_queries, depth)."""

    reasons: NDArray[np.int8]

    def kept(self) -> NDArray[np.bool_]:
        """The candidates that become negatives."""
        return np.equal(self.reasons, REASONS.index("kept"))

    def count(self, reason: str) -> int:
        """How many candidates have this reason."""
        return int((self.reasons == REASONS.index(reason)).sum())

    def negatives(self, rows: NDArray[np.int64]) -> list[list[int]]:
        """The kept candidates of each query, nearest first."""
        return [row[kept].tolist() for row, kept in zip(rows, self.kept(), strict=True)]

    def rejected(self, rows: NDArray[np.int64]) -> list[list[int]]:
        """The candidates of each query that a rule has excluded."""
        excluded = self.reasons < REASONS.index("kept")
        return [row[out].tolist() for row, out in zip(rows, excluded, strict=True)]


def judge(found: Found, wanted: NDArray[np.int64], max_share_of_positive: float, first_rank: int) -> Verdicts:
    """Gives every candidate a verdict; where several rules apply, the first of REASONS is the one counted.

    Args:
        found: the candidates.
        wanted: how many negatives each query needs, (n_queries,).
        max_share_of_positive: a candidate must score below this share of the query's lowest positive.
        first_rank: how many eligible candidates are passed over, nearest first.
    """
    # a share of a negative number would be above it
    ceiling = found.lowest_positive - (1 - max_share_of_positive) * np.abs(found.lowest_positive)
    reasons = np.full(found.scores.shape, REASONS.index("kept"), dtype=np.int8)
    reasons[found.scores > ceiling[:, None]] = REASONS.index("too_close")
    reasons[found.in_own_cluster] = REASONS.index("positive_cluster")
    reasons[found.is_own_negative] = REASONS.index("own_negative")
    reasons[found.is_positive] = REASONS.index("positive")
    eligible = np.cumsum(reasons == REASONS.index("kept"), axis=1)
    window = (eligible > first_rank) & (eligible <= first_rank + wanted[:, None])
    reasons[(reasons == REASONS.index("kept")) & ~window] = REASONS.index("not_needed")
    return Verdicts(reasons)


def fill(
    negatives: list[list[int]],
    rejected: list[list[int]],
    own_clusters: list[str],
    clusters: NDArray[np.str_],
    wanted: NDArray[np.int64],
    seed: int,
) -> tuple[list[list[int]], int]:
    """Tops up short lists with random documents of other clusters, seeded; returns the lists and how many were added.

    What was rejected among the ranked candidates is drawn only where nothing else is left; documents beyond the ranked
    ones are not scored again.

    Raises:
        BadInput: there are not enough documents outside a query's cluster.
    """
    random = np.random.default_rng(seed)
    filled = []
    for rows, bad, cluster, n in zip(negatives, rejected, own_clusters, wanted.tolist(), strict=True):
        n_missing = n - len(rows)
        others = np.setdiff1d(np.flatnonzero(clusters != cluster), rows) if n_missing else np.empty(0, dtype=np.int64)
        if len(others) < n_missing:
            raise BadInput(
                f"mine: {len(others)} train documents outside a query's cluster, {n_missing} needed; "
                "lower mine.n_negatives"
            )
        clean = np.setdiff1d(others, bad)
        drawn = random.choice(clean, min(n_missing, len(clean)), replace=False).tolist()
        if len(drawn) < n_missing:
            drawn += random.choice(np.intersect1d(others, bad), n_missing - len(drawn), replace=False).tolist()
        filled.append(rows + drawn)
    return filled, sum(map(len, filled)) - sum(map(len, negatives))
