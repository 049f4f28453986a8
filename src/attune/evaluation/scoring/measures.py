"""Measures of ad-hoc retrieval per query: recall@k, MRR@10, nDCG@10 and MAP@100.

Definitions are those of trec_eval (as ir-measures names them: R@k, RR@10, nDCG@10, AP@100). A document is relevant
when its judgment is above 0; unjudged documents are not relevant. nDCG takes the judgment itself as gain (Järvelin and
Kekäläinen, 2002) and normalises by the ideal ranking of all judged documents. Recall and AP divide by the number of
all relevant documents, ranked or not.

Documents with equal scores have no order. Each measure is its expected value over all their orders (McSherry and
Najork, ECIR 2008), where trec_eval takes them by name; without ties both are the same.
"""

import numpy as np
from numpy.typing import NDArray

from attune.retrieval.ndcg import Ties, dcg, find_ties, gains, ideal_dcg
from attune.runtime.arrays import Float32, Float64, Int64

RECALL_AT = (1, 5, 10, 20, 50, 100)
MEASURES = (*(f"recall@{k}" for k in RECALL_AT), "mrr@10", "ndcg@10", "map@100")
HEADLINE = "recall@10"  # the measure of the verdict


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
    ties = find_ties(ranked, gains(ranked, judgments), scores)
    judged_relevant = judgments[judgments[:, 2] > 0]
    n_relevant = np.maximum(np.bincount(judged_relevant[:, 0], minlength=len(ranked)), 1)
    relevant_so_far = ties.n_relevant_above + ties.n_relevant * ties.place / ties.size
    # at rank k, or at the last rank of a shorter ranking
    values = {f"recall@{k}": relevant_so_far[:, :k][:, -1:].sum(axis=1) / n_relevant for k in RECALL_AT}
    values["mrr@10"] = _reciprocal_rank(ties, 10)
    values["ndcg@10"] = dcg(ties.gain[:, :10]) / ideal_dcg(judgments, len(ranked), 10)
    values["map@100"] = _precision_at_relevant(ties, 100) / n_relevant
    return values


def depends_on_ties(ranked: Int64, judgments: Int64, scores: Float32) -> NDArray[np.bool_]:
    """Tells for which queries documents of different relevance tie, so that their order would change a measure.

    Only ties that begin within the first 100 ranks count. Arguments are those of `measure`.

    Returns:
        (n_queries,) truth values.
    """
    gain = gains(ranked, judgments)
    ties = find_ties(ranked, gain, scores)
    n_unequal = np.bincount(ties.number.ravel(), weights=(gain != ties.gain).ravel())
    is_mixed = (n_unequal > 0)[ties.number][:, : max(RECALL_AT)]
    return np.asarray(is_mixed.any(axis=1))


def _reciprocal_rank(ties: Ties, depth: int) -> Float64:
    """Returns the (n_queries,) expected reciprocal rank of the first relevant document.

    A document of a tie is relevant, given that those before it are not, with the share of relevant ones in the rest.
    """
    left = ties.size - ties.place + 1  # documents of the tie from this rank on
    is_first = np.minimum(ties.n_relevant / left, 1)[:, :depth]
    none_above = np.ones(is_first.shape)
    none_above[:, 1:] = (1 - is_first).cumprod(axis=1)[:, :-1]
    values: Float64 = (none_above * is_first / np.arange(1, is_first.shape[1] + 1)).sum(axis=1)
    return values


def _precision_at_relevant(ties: Ties, depth: int) -> Float64:
    """Returns the (n_queries,) expected sum of the precisions at the ranks of relevant documents.

    At such a rank stand the relevant documents above the tie, the document itself, and each document of the tie before
    it with the probability that two of the tie are relevant.
    """
    one = ties.n_relevant / ties.size
    two = one * (ties.n_relevant - 1) / np.maximum(ties.size - 1, 1)
    precisions = (one * (ties.n_relevant_above + 1) + two * (ties.place - 1)) / np.arange(1, one.shape[1] + 1)
    values: Float64 = precisions[:, :depth].sum(axis=1)
    return values
