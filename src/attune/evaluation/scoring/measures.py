"""Measures of ad-hoc retrieval per query: recall@k, MRR@10, nDCG@10 and MAP@100.

Definitions are those of trec_eval (as ir-measures names them: R@k, RR@10, nDCG@10, AP@100). A document is relevant
when its judgment is above 0; unjudged documents are not relevant. nDCG takes the judgment itself as gain (Järvelin and
Kekäläinen, 2002) and normalises by the ideal ranking of all judged documents. Recall and AP divide by the number of
all relevant documents, ranked or not.
"""

import numpy as np

from attune.runtime.arrays import Float64, Int64

RECALL_AT = (1, 5, 10, 20, 50, 100)
MEASURES = (*(f"recall@{k}" for k in RECALL_AT), "mrr@10", "ndcg@10", "map@100")
HEADLINE = "recall@10"  # the measure of the verdict


def measure(ranked: Int64, judgments: Int64) -> dict[str, Float64]:
    """Scores every query's ranking by every measure of `MEASURES`, in that order.

    Args:
        ranked: (n_queries, depth) document rows, best first; -1 where nothing is ranked. A query with an empty ranking
            keeps its row and scores 0.
        judgments: (n_judgments, 3) query row, document row, relevance; each pair of query and document at most once.

    Returns:
        For each measure (n_queries,) values between 0 and 1; 0 for a query without relevant documents.
    """
    gains = _gains(ranked, judgments)
    relevant = gains > 0
    judged_relevant = judgments[judgments[:, 2] > 0]
    n_relevant = np.maximum(np.bincount(judged_relevant[:, 0], minlength=len(ranked)), 1)
    ranks = np.arange(1, ranked.shape[1] + 1)
    n_relevant_so_far = relevant.cumsum(axis=1)
    values = {f"recall@{k}": relevant[:, :k].sum(axis=1) / n_relevant for k in RECALL_AT}
    # the first relevant document has the greatest reciprocal rank
    values["mrr@10"] = (relevant / ranks)[:, :10].max(axis=1, initial=0.0)
    ideal = _ideal_gains(judged_relevant, len(ranked), 10)
    values["ndcg@10"] = _dcg(gains[:, :10]) / np.maximum(_dcg(ideal), np.finfo(np.float64).tiny)
    values["map@100"] = (relevant * n_relevant_so_far / ranks)[:, :100].sum(axis=1) / n_relevant
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
