"""Measures of ad-hoc retrieval per query: recall@k, MRR@10, nDCG@10 and MAP@100.

Definitions are those of trec_eval (as ir-measures names them: R@k, RR@10, nDCG@10, AP@100). A document is relevant
when its judgment is above 0; unjudged documents are not relevant. nDCG takes the judgment itself as gain (Järvelin and
Kekäläinen, 2002) and normalises by the ideal ranking of all judged documents. Recall and AP divide by the number of
all relevant documents, ranked or not.

Documents with equal scores have no order. Each measure is its expected value over all their orders (McSherry and
Najork, ECIR 2008), where trec_eval takes them by name; without ties both are the same.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attune.runtime.arrays import Float32, Float64, Int64

RECALL_AT = (1, 5, 10, 20, 50, 100)
MEASURES = (*(f"recall@{k}" for k in RECALL_AT), "mrr@10", "ndcg@10", "map@100")
HEADLINE = "recall@10"  # the measure of the verdict


@dataclass(frozen=True)
class _Ties:
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


def measure(ranked: Int64, judgments: Int64, scores: Float32 | None = None) -> dict[str, Float64]:
    """Scores every query's ranking by every measure of `MEASURES`, in that order.

    Args:
        ranked: (n_queries, depth) document rows, best first; -1 where nothing is ranked. A query with an empty ranking
            keeps its row and scores 0. The ranking should hold every document that ties with the last one that a
            measure looks at (`retrieval.ties.through_ties`).
        judgments: (n_judgments, 3) query row, document row, relevance; each pair of query and document at most once.
        scores: (n_queries, depth) of the ranked documents, descending; equal numbers are ties. None where all differ.

    Returns:
        For each measure (n_queries,) values between 0 and 1, expected over the orders of tied documents; 0 for a query
        without relevant documents.
    """
    ties = _ties(ranked, _gains(ranked, judgments), scores)
    judged_relevant = judgments[judgments[:, 2] > 0]
    n_relevant = np.maximum(np.bincount(judged_relevant[:, 0], minlength=len(ranked)), 1)
    relevant_so_far = ties.n_relevant_above + ties.n_relevant * ties.place / ties.size
    # at rank k, or at the last rank of a shorter ranking
    values = {f"recall@{k}": relevant_so_far[:, :k][:, -1:].sum(axis=1) / n_relevant for k in RECALL_AT}
    values["mrr@10"] = _reciprocal_rank(ties, 10)
    ideal = _ideal_gains(judged_relevant, len(ranked), 10)
    values["ndcg@10"] = _dcg(ties.gain[:, :10]) / np.maximum(_dcg(ideal), np.finfo(np.float64).tiny)
    values["map@100"] = _precision_at_relevant(ties, 100) / n_relevant
    return values


def depends_on_ties(ranked: Int64, judgments: Int64, scores: Float32) -> NDArray[np.bool_]:
    """Tells for which queries documents of different relevance tie, so that their order would change a measure.

    Only ties that begin within the first 100 ranks count. Arguments are those of `measure`.

    Returns:
        (n_queries,) truth values.
    """
    gains = _gains(ranked, judgments)
    ties = _ties(ranked, gains, scores)
    n_unequal = np.bincount(ties.number.ravel(), weights=(gains != ties.gain).ravel())
    is_mixed = (n_unequal > 0)[ties.number][:, : max(RECALL_AT)]
    return np.asarray(is_mixed.any(axis=1))


def _ties(ranked: Int64, gains: Float64, scores: Float32 | None) -> _Ties:
    """Finds ties; a rank without a document, and without scores every rank, is a tie of its own."""
    begins = np.ones(ranked.shape, dtype=bool)
    if scores is not None:
        begins[:, 1:] = (scores[:, 1:] != scores[:, :-1]) | (ranked[:, 1:] < 0)
    number = begins.cumsum().reshape(ranked.shape) - 1
    columns = np.broadcast_to(np.arange(ranked.shape[1]), ranked.shape)
    first = np.maximum.accumulate(np.where(begins, columns, 0), axis=1)
    relevant = (gains > 0).astype(np.float64)
    above = relevant.cumsum(axis=1) - relevant
    size, n_relevant, gain = (
        np.bincount(number.ravel(), weights=weights.ravel()) for weights in (np.ones(ranked.shape), relevant, gains)
    )
    return _Ties(
        number=number,
        size=size[number],
        place=columns - first + 1,
        n_relevant=n_relevant[number],
        n_relevant_above=np.take_along_axis(above, first, axis=1),
        gain=(gain / np.maximum(size, 1))[number],
    )


def _reciprocal_rank(ties: _Ties, depth: int) -> Float64:
    """Returns the (n_queries,) expected reciprocal rank of the first relevant document.

    A document of a tie is relevant, given that those before it are not, with the share of relevant ones in the rest.
    """
    left = ties.size - ties.place + 1  # documents of the tie from this rank on
    is_first = np.minimum(ties.n_relevant / left, 1)[:, :depth]
    none_above = np.ones(is_first.shape)
    none_above[:, 1:] = (1 - is_first).cumprod(axis=1)[:, :-1]
    values: Float64 = (none_above * is_first / np.arange(1, is_first.shape[1] + 1)).sum(axis=1)
    return values


def _precision_at_relevant(ties: _Ties, depth: int) -> Float64:
    """Returns the (n_queries,) expected sum of the precisions at the ranks of relevant documents.

    At such a rank stand the relevant documents above the tie, the document itself, and each document of the tie before
    it with the probability that two of the tie are relevant.
    """
    one = ties.n_relevant / ties.size
    two = one * (ties.n_relevant - 1) / np.maximum(ties.size - 1, 1)
    precisions = (one * (ties.n_relevant_above + 1) + two * (ties.place - 1)) / np.arange(1, one.shape[1] + 1)
    values: Float64 = precisions[:, :depth].sum(axis=1)
    return values


def _gains(ranked: Int64, judgments: Int64) -> Float64:
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
    gains = np.zeros((n_queries, depth))
    gains[ordered[top, 0], ranks[top]] = ordered[top, 2]
    return gains


def _dcg(gains: Float64) -> Float64:
    """Returns the (n_queries,) discounted cumulative gain of (n_queries, depth) gains."""
    discounts: Float64 = np.log2(np.arange(2, gains.shape[1] + 2))
    total: Float64 = (gains / discounts).sum(axis=1)
    return total
