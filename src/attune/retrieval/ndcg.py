"""nDCG of rankings with graded judgments, expected over the orders of tied documents.

Training, merge and the report share it. The gain of a document is its judgment itself (Järvelin and Kekäläinen, 2002),
and the ideal ranking is that of all judged documents. Documents with equal scores have no order: the value is the mean
over all their orders (McSherry and Najork, ECIR 2008).
"""

from dataclasses import dataclass

import numpy as np

from attune.runtime.arrays import Float32, Float64, Int64


@dataclass(frozen=True)
class Ties:
    """The tie that each ranked document is in, a tie of one document included; each array is (n_queries, depth).

    Attributes:
        number: of the tie, unique over all queries.
        size: documents in it.
        place: of the rank among those of the tie, from 1 on.
        n_relevant: relevant documents in it.
        n_relevant_above: relevant documents of higher scores.
        gain: mean gain of its documents.
    """

    number: Int64
    size: Float64
    place: Int64
    n_relevant: Float64
    n_relevant_above: Float64
    gain: Float64


def ndcg(ranked: Int64, judgments: Int64, scores: Float32 | None = None, depth: int = 10) -> Float64:
    """Returns (n_queries,) nDCG at a depth, 0 to 1; 0 for a query without relevant documents.

    Args:
        ranked: (n_queries, depth or more) document rows, best first; -1 where nothing is ranked.
        judgments: (n_judgments, 3) query row, document row, relevance; each pair of query and document at most once.
        scores: of the ranked documents, descending; equal numbers are ties. None where all differ.
        depth: rank at which the measure is cut off.
    """
    ties = find_ties(ranked, gains(ranked, judgments), scores)
    return dcg(ties.gain[:, :depth]) / ideal_dcg(judgments, len(ranked), depth)


def ideal_dcg(judgments: Int64, n_queries: int, depth: int) -> Float64:
    """Returns the (n_queries,) discounted cumulative gain of the ideal ranking, above 0 also where none is relevant."""
    ideal = _ideal_gains(judgments[judgments[:, 2] > 0], n_queries, depth)
    return np.maximum(dcg(ideal), np.finfo(np.float64).tiny)


def find_ties(ranked: Int64, gain: Float64, scores: Float32 | None) -> Ties:
    """Finds ties; a rank without a document, and without scores every rank, is a tie of its own."""
    begins = np.ones(ranked.shape, dtype=bool)
    if scores is not None:
        begins[:, 1:] = (scores[:, 1:] != scores[:, :-1]) | (ranked[:, 1:] < 0)
    number = begins.cumsum().reshape(ranked.shape) - 1
    columns = np.broadcast_to(np.arange(ranked.shape[1]), ranked.shape)
    first = np.maximum.accumulate(np.where(begins, columns, 0), axis=1)
    relevant = (gain > 0).astype(np.float64)
    above = relevant.cumsum(axis=1) - relevant
    size, n_relevant, total_gain = (
        np.bincount(number.ravel(), weights=weights.ravel()) for weights in (np.ones(ranked.shape), relevant, gain)
    )
    return Ties(
        number=number,
        size=size[number],
        place=columns - first + 1,
        n_relevant=n_relevant[number],
        n_relevant_above=np.take_along_axis(above, first, axis=1),
        gain=(total_gain / np.maximum(size, 1))[number],
    )


def gains(ranked: Int64, judgments: Int64) -> Float64:
    """Returns the (n_queries, depth) relevance of each ranked document, 0 where unjudged or judged below 0."""
    if judgments.size == 0:
        return np.zeros(ranked.shape)
    width = max(ranked.max(initial=0), judgments[:, 1].max()) + 1
    judged_keys = judgments[:, 0] * width + judgments[:, 1]  # one number per pair of query and document
    order = np.argsort(judged_keys)
    ranked_keys = np.arange(len(ranked))[:, None] * width + ranked
    places = np.searchsorted(judged_keys[order], ranked_keys).clip(max=len(judged_keys) - 1)
    is_judged = (judged_keys[order][places] == ranked_keys) & (ranked >= 0)
    return np.where(is_judged, judgments[order, 2][places], 0).clip(min=0).astype(np.float64)


def _ideal_gains(judged_relevant: Int64, n_queries: int, depth: int) -> Float64:
    """Returns the (n_queries, depth) gains of the ideal ranking."""
    ordered = judged_relevant[np.lexsort((-judged_relevant[:, 2], judged_relevant[:, 0]))]
    starts = np.searchsorted(ordered[:, 0], np.arange(n_queries))
    ranks = np.arange(len(ordered)) - starts[ordered[:, 0]]
    top = ranks < depth
    ideal = np.zeros((n_queries, depth))
    ideal[ordered[top, 0], ranks[top]] = ordered[top, 2]
    return ideal


def dcg(gain: Float64) -> Float64:
    """Returns the (n_queries,) discounted cumulative gain of (n_queries, depth) gains."""
    discounts: Float64 = np.log2(np.arange(2, gain.shape[1] + 2))
    total: Float64 = (gain / discounts).sum(axis=1)
    return total
