"""Fusion of two rankings of the same documents: by reciprocal ranks, or by a weighted sum of scaled scores.

Reciprocal rank fusion: Cormack, Clarke and Büttcher (SIGIR 2009). Weighted sum: Bruch, Gai and Ingber (TOIS 2023). A
document that one of the rankings does not hold gets nothing from it. Only what one of them holds is ranked.
"""

from collections.abc import Sequence

import numpy as np

from attune.runtime.arrays import Float32, Float64, Int64

RANK_OFFSET = 60  # of the ranks, as in the paper

Ranking = tuple[Float64, Int64]  # scores and document rows, (n_queries, depth) each; row -1 where nothing is ranked


def reciprocal_ranks(ranking: Ranking) -> Ranking:
    """Returns a ranking with 1 / (60 + rank) as its scores; ranks begin with 1."""
    scores = np.broadcast_to(1 / (RANK_OFFSET + 1 + np.arange(ranking[1].shape[1])), ranking[1].shape)
    return np.where(ranking[1] >= 0, scores, 0.0), ranking[1]


def scaled(ranking: Ranking, lowest: float | None = None) -> Ranking:
    """Returns a ranking with each query's scores scaled to 0..1.

    Args:
        ranking: scores, descending.
        lowest: score that becomes 0; None takes that of the query's last document. The first document's becomes 1.
    """
    scores, rows = ranking
    is_ranked = rows >= 0
    last = np.where(is_ranked, scores, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    low = last if lowest is None else np.full_like(last, lowest)
    span = scores[:, :1] - low
    values = np.divide(scores - low, span, out=np.ones_like(scores), where=(span > 0) & is_ranked)
    return np.where(is_ranked, values, 0.0), rows


def fused(rankings: Sequence[Ranking], weights: Sequence[float]) -> tuple[Float32, Int64]:
    """Returns the documents of all rankings by the weighted sum of their scores, rounded to 6 digits.

    Args:
        rankings: of the same queries, each document at most once for a query.
        weights: of the rankings.

    Returns:
        Scores (n_queries, sum of depths), descending, and document rows, ascending where scores are equal; row -1 and
        score 0 where nothing is ranked.
    """
    rows = np.hstack([rows for _, rows in rankings])
    scores = np.hstack([weight * scores for weight, (scores, _) in zip(weights, rankings, strict=True)])
    order = np.argsort(rows, axis=1, kind="stable")
    rows, scores = np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)
    begins = np.diff(rows, axis=1, prepend=-2) != 0
    group = begins.cumsum() - 1  # documents are numbered over all queries: each row begins one
    sums = np.bincount(group, weights=scores.ravel())[group].reshape(rows.shape)
    is_document = begins & (rows >= 0)
    rows, sums = np.where(is_document, rows, -1), np.where(is_document, np.round(sums, 6), -np.inf)
    best = np.lexsort((rows, -sums))
    rows, sums = np.take_along_axis(rows, best, axis=1), np.take_along_axis(sums, best, axis=1)
    return np.where(rows >= 0, sums, 0).astype(np.float32), rows
