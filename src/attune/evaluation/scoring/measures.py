"""How well a ranking answers each query: the usual measures of ad-hoc retrieval, per query first, averaged last.

The definitions are those of trec_eval (as ir-measures names them: R@k, RR@10, nDCG@10, AP@100): a document is
relevant when its judgment is above 0, an unjudged one is not; nDCG takes the judgment itself as its gain (Järvelin
and Kekäläinen, 2002) and the ideal ranking of all judged documents as its norm; recall and AP divide by all
relevant documents, found or not.
"""

import numpy as np
from numpy.typing import NDArray

RECALL_AT = (1, 5, 10, 20, 50, 100)
MEASURES = (*(f"recall@{k}" for k in RECALL_AT), "mrr@10", "ndcg@10", "map@100")
HEADLINE = "recall@10"  # the measure of the verdict

Values = NDArray[np.float64]
IntArray = NDArray[np.int64]


def measure(ranked: IntArray, judgments: IntArray) -> dict[str, Values]:
    """Scores every query's ranking by every measure of `MEASURES`, in that order.

    Args:
        ranked: (n_queries, depth) document rows, best first; -1 where nothing is ranked. A query without any ranking
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
    found = relevant.cumsum(axis=1)
    values = {f"recall@{k}": relevant[:, :k].sum(axis=1) / n_relevant for k in RECALL_AT}
    # the first relevant document has the greatest reciprocal rank
    values["mrr@10"] = (relevant / ranks)[:, :10].max(axis=1, initial=0.0)
    ideal = _ideal_gains(judged_relevant, len(ranked), 10)
    values["ndcg@10"] = _dcg(gains[:, :10]) / np.maximum(_dcg(ideal), np.finfo(np.float64).tiny)
    values["map@100"] = (relevant * found / ranks)[:, :100].sum(axis=1) / n_relevant
    return values


def _gains(ranked: IntArray, judgments: IntArray) -> Values:
    """(n_queries, depth) relevance of each ranked document, 0 where it is unjudged or judged below 0."""
    if judgments.size == 0:
        return np.zeros(ranked.shape)
    width = max(ranked.max(initial=0), judgments[:, 1].max()) + 1
    keys = judgments[:, 0] * width + judgments[:, 1]  # one number per judged pair
    order = np.argsort(keys)
    wanted = np.arange(len(ranked))[:, None] * width + ranked
    places = np.searchsorted(keys[order], wanted).clip(max=len(keys) - 1)
    judged = (keys[order][places] == wanted) & (ranked >= 0)
    return np.where(judged, judgments[order, 2][places], 0).clip(min=0).astype(np.float64)


def _ideal_gains(judged_relevant: IntArray, n_queries: int, depth: int) -> Values:
    """(n_queries, depth) gains of the best ranking there could be."""
    ordered = judged_relevant[np.lexsort((-judged_relevant[:, 2], judged_relevant[:, 0]))]
    starts = np.searchsorted(ordered[:, 0], np.arange(n_queries))
    ranks = np.arange(len(ordered)) - starts[ordered[:, 0]]
    top = ranks < depth
    gains = np.zeros((n_queries, depth))
    gains[ordered[top, 0], ranks[top]] = ordered[top, 2]
    return gains


def _dcg(gains: Values) -> Values:
    """Discounted cumulative gain of (n_queries, depth) gains."""
    discounts: Values = np.log2(np.arange(2, gains.shape[1] + 2))
    total: Values = (gains / discounts).sum(axis=1)
    return total
