"""What the report's charts show of rankings: recall at every depth, gains by size, scores before and after."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Ranks = NDArray[np.int64]

N_BINS = 10  # of the gains on each side of nothing, and of the scores


def recall_curve(ranks: Ranks, n_relevant: Ranks, n_queries: int, depth: int) -> Values:
    """Mean recall at every k from 1 to depth, as `measures.measure` defines it.

    Args:
        ranks: (n_hits,) the ranks, from 1 on, at which relevant documents were found, of all queries together.
        n_relevant: (n_hits,) how many relevant documents the query of each hit has.
        n_queries: with at least one relevant document; a query without hits counts 0.
        depth: hits further down are left out.

    Returns:
        (depth,) values between 0 and 1, never falling.
    """
    counted = ranks <= depth
    found = np.bincount(ranks[counted], weights=1 / n_relevant[counted], minlength=depth + 1)[1:]
    curve: Values = found.cumsum() / n_queries
    return curve


@dataclass(frozen=True)
class Gains:
    """How many queries lost, stayed and gained: `losses[i]` and `wins[i]` by (i/10, (i+1)/10]."""

    losses: NDArray[np.int64]
    ties: int
    wins: NDArray[np.int64]


def gains_by_size(base: Values, tuned: Values) -> Gains:
    """Counts queries by how much their score (0..1, (n_queries,)) changed; only an unchanged score is a tie."""
    change = np.round(tuned - base, 9)  # so that .3 - .2 is in the bin of .1
    bins = np.ceil(np.round(np.abs(change) * N_BINS, 6)).astype(np.int64).clip(1, N_BINS) - 1
    losses, wins = (np.bincount(bins[side], minlength=N_BINS) for side in (change < 0, change > 0))
    return Gains(losses, int((change == 0).sum()), wins)


def bubbles(base: Values, tuned: Values) -> NDArray[np.float64]:
    """(n_bubbles, 3) base score, tuned score, and number of queries there, scores rounded to twentieths.

    Scores take few values, so that single points would lie on top of each other; and a page stays small whatever n is.
    """
    steps = 2 * N_BINS
    places, counts = np.unique(np.round(np.column_stack([base, tuned]) * steps), axis=0, return_counts=True)
    return np.column_stack([places / steps, counts])
