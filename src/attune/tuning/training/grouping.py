"""Groups of rows that are hard negatives of each other, so that a batch holds hard negatives without encoding more.

A row's mined negative is the relevant document of another row more often than not. Where the two share a batch, the
document is encoded once and serves both, at half the tokens of a batch whose rows bring their negatives along. The
softmax then has several hard negatives per query instead of one. Batches of like queries as in Hofstätter et al. 2021
(TAS-Balanced, arXiv 2104.06967), by mined negatives instead of clusters of topics.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

GROUP_SIZE = 16  # most rows of a group


def reachable_share(documents: Sequence[Sequence[int]]) -> float:
    """Returns the share of negatives (0 to 1) that are the positive of a row; 0 where there are no negatives.

    Args:
        documents: numbers of each row's documents: its positive, then its negatives.
    """
    positives = {own[0] for own in documents}
    negatives = [document for own in documents for document in own[1:]]
    return sum(document in positives for document in negatives) / len(negatives) if negatives else 0.0


def neighbours(documents: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """Returns for each row those whose positive is its negative, or whose negative is its positive, ascending.

    Args:
        documents: numbers of each row's documents: its positive, then its negatives.
    """
    rows_of: dict[int, list[int]] = {}  # by positive
    for row, own in enumerate(documents):
        rows_of.setdefault(own[0], []).append(row)
    found: list[set[int]] = [set() for _ in documents]
    for row, own in enumerate(documents):
        for other in (other for document in own[1:] for other in rows_of.get(document, ())):
            if other != row:
                found[row].add(other)
                found[other].add(row)
    return [tuple(sorted(own)) for own in found]


def grouped(
    rows: NDArray[np.int64], neighbours: Sequence[Sequence[int]], random: np.random.Generator
) -> NDArray[np.int64]:
    """Puts rows into groups of neighbours, and returns the groups one after another, in an order left to chance.

    A group begins at the next row that is in none yet, and takes neighbours of its rows, nearest first, up to
    GROUP_SIZE; work is linear in rows and neighbours.

    Args:
        rows: (n,) in the order in which groups begin.
        neighbours: of each row of the data set, by its number.
        random: decides which neighbours come first, and the order of groups.

    Returns:
        (n,) the same rows.
    """
    left = set(rows.tolist())
    groups: list[list[int]] = []
    for row in rows.tolist():
        if row not in left:
            continue
        group = [row]
        left.discard(row)
        for member in group:  # grows while it is read
            near = [other for other in neighbours[member] if other in left]
            for place in random.permutation(len(near))[: GROUP_SIZE - len(group)].tolist():
                group.append(near[place])
                left.discard(near[place])
        groups.append(group)
    return np.array([row for place in random.permutation(len(groups)) for row in groups[place]], dtype=np.int64)
