"""Worst and best case of a difference between two rankings over the documents that nobody has judged.

Looked at are the unjudged documents that base or tuned rank among the first ten of a query. Measures count them as
wrong. Here each may be an answer, as relevant as the best judged one, or none, and the case is the assignment, query by
query, that makes tuned minus base least or greatest. Documents that neither ranks there count as no answers, as in
pooling (Sparck Jones and van Rijsbergen, 1975): as answers they would draw each difference to 0 and never turn it.

An answer adds to a query's difference what the two ranks are worth, and to the number of its answers, by which recall
and nDCG divide. For a given number of answers those worth most are best, so the extreme is found by trying each number.
The reciprocal rank sees one answer only, so it is enough to try each document alone. Ties count as in `measures`; of a
reciprocal rank within a tie the extreme is nearly found.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from attune.evaluation.holes.pool import DEPTH, Pool, Ranking
from attune.evaluation.scoring.measures import measure
from attune.retrieval.ndcg import find_ties, ideal_dcg
from attune.runtime.arrays import Float64, Int64

BOUNDED = ("recall@10", "mrr@10", "ndcg@10")  # measures that may be the headline


@dataclass(frozen=True)
class Cases:
    """Difference of a measure, second system minus first, by query; each array is (n_queries,).

    Attributes:
        judged: unjudged documents count as wrong.
        worst: least that judging them could leave.
        best: greatest.
        falls: (n_queries, k) what a query's first, second ... answer takes from it on the way to the worst, 0 or more.
        rises: (n_queries, k) what each adds on the way to the best, 0 or more.
    """

    judged: Float64
    worst: Float64
    best: Float64
    falls: Float64
    rises: Float64


def worth(measured: str) -> Float64:
    """Returns (10,) what an answer at each of the first ranks adds to a measure, before it is divided."""
    ranks = np.arange(1, DEPTH + 1)
    return {"recall@10": np.ones(DEPTH), "mrr@10": 1 / ranks, "ndcg@10": 1 / np.log2(ranks + 1)}[measured]


def first_ten(pool: Pool, first: str, second: str) -> pl.DataFrame:
    """Returns the documents that either system may rank among a query's first ten, and what they are worth.

    Returns:
        query_row, document_row, is_judged, and for each measure of `BOUNDED` what the document adds as an answer to
        the second system less what it adds to the first; with ties, expected over their orders.
    """
    keys, names = ["query_row", "document_row", "is_judged"], list(BOUNDED)
    sides = [_worths(pool, system) for system in (first, second)]
    joined = sides[0].with_columns(-pl.col(names))
    return pl.concat([joined, sides[1]]).group_by(keys).agg(pl.col(names).sum()).sort(keys)


def unjudged(pool: Pool, first: str, second: str) -> pl.DataFrame:
    """Returns those of `first_ten` that nobody has judged."""
    return first_ten(pool, first, second).filter(~pl.col("is_judged")).drop("is_judged")


def cases(pool: Pool, first: str, second: str, measured: str) -> Cases:
    """Returns the worst and best case of the difference between two systems in a measure of `BOUNDED`."""
    pairs = unjudged(pool, first, second)
    paths = []  # to the worst, and of the negated difference to the worst, which is to the best
    for sign, low, high in ((1, first, second), (-1, second, first)):
        ordered = pairs.select("query_row", "document_row", worth=sign * pl.col(measured)).sort(
            "query_row", "worth", "document_row"
        )
        if measured == "mrr@10":
            paths.append(_one_by_one(pool, low, high, measured, ordered))
        else:
            paths.append(_by_number(pool, low, high, measured, ordered))
    least = [np.minimum.accumulate(path, axis=1) for path in paths]
    falls, rises = (-np.diff(path, axis=1) for path in least)
    return Cases(paths[0][:, 0], least[0][:, -1], -least[1][:, -1], falls, rises)


def _worths(pool: Pool, system: str) -> pl.DataFrame:
    """Returns what each document of a ranking adds to the measures as an answer; only where it adds at all."""
    scores, rows = _first_ranks(pool.rankings[system])
    ties = find_ties(rows, np.zeros(rows.shape), scores)
    n_added = {}
    for name in BOUNDED:
        by_rank = np.zeros(rows.shape)
        by_rank[:, :DEPTH] = worth(name)[: rows.shape[1]]
        n_added[name] = (np.bincount(ties.number.ravel(), weights=by_rank.ravel())[ties.number] / ties.size).ravel()
    query_rows = np.repeat(np.arange(len(rows)), rows.shape[1])
    columns = {"query_row": query_rows, "document_row": rows.ravel(), "is_judged": pool.is_judged(rows).ravel()}
    return pl.DataFrame(columns | n_added).filter(pl.col("document_row") >= 0, pl.col("recall@10") > 0)


def _by_number(pool: Pool, low: str, high: str, measured: str, ordered: pl.DataFrame) -> Float64:
    """Returns (n_queries, k) differences high - low where the first 0, 1 ... of the documents in order are answers."""
    added = _by_query(ordered, "worth", len(pool.query_ids), 0.0)
    gain = pool.best_relevance if measured == "ndcg@10" else 1
    total = _values(pool, low, high, measured, pool.judgments) * divisor(pool, measured, 0)
    numerators = total[:, None] + np.pad(gain * added.cumsum(axis=1), ((0, 0), (1, 0)))
    divisors = np.column_stack([divisor(pool, measured, k) for k in range(numerators.shape[1])])
    n_open = np.bincount(ordered["query_row"].to_numpy(), minlength=len(added))
    path: Float64 = numerators / divisors
    beyond = np.arange(path.shape[1]) > n_open[:, None]
    differences: Float64 = np.where(beyond, path[:, :1], path)
    return differences


def _one_by_one(pool: Pool, low: str, high: str, measured: str, ordered: pl.DataFrame) -> Float64:
    """Returns (n_queries, 2) differences high - low: as judged, and the least with one of them as an answer."""
    documents = _by_query(ordered, "document_row", len(pool.query_ids), -1)
    judged = least = _values(pool, low, high, measured, pool.judgments)
    for column in documents.T:
        query_rows = np.flatnonzero(column >= 0)
        answers = np.column_stack([query_rows, column[query_rows], np.ones(len(query_rows), dtype=np.int64)])
        least = np.minimum(least, _values(pool, low, high, measured, np.concatenate([pool.judgments, answers])))
    return np.column_stack([judged, least])


def _values(pool: Pool, low: str, high: str, measured: str, judgments: Int64) -> Float64:
    """Returns the (n_queries,) differences of a measure, high - low."""
    below, above = (_first_ranks(pool.rankings[system]) for system in (low, high))
    return measure(above[1], judgments, above[0])[measured] - measure(below[1], judgments, below[0])[measured]


def _first_ranks(ranking: Ranking) -> Ranking:
    """Returns a ranking down to the last document that may tie with the tenth of its query."""
    scores, rows = ranking
    if rows.shape[1] <= DEPTH:
        return ranking
    depth = int(((scores >= scores[:, DEPTH - 1 : DEPTH]) & (rows >= 0)).sum(axis=1).max(initial=0))
    return scores[:, : max(depth, DEPTH)], rows[:, : max(depth, DEPTH)]


def divisor(pool: Pool, measured: str, n_more: int) -> Float64:
    """Returns the (n_queries,) divisors of a measure with some more answers per query."""
    n = len(pool.query_ids)
    if measured == "recall@10":
        relevant = pool.judgments[pool.judgments[:, 2] > 0]
        n_answers: Int64 = np.bincount(relevant[:, 0], minlength=n) + n_more
        return np.maximum(n_answers, 1).astype(np.float64)
    query_rows = np.repeat(np.arange(n), n_more)
    added = np.column_stack([query_rows, len(pool.document_ids) + np.arange(n * n_more)])
    more = np.column_stack([added, np.full(len(added), pool.best_relevance)])
    return ideal_dcg(np.concatenate([pool.judgments, more]).astype(np.int64), n, DEPTH)


def _by_query(ordered: pl.DataFrame, column: str, n_queries: int, filler: float) -> NDArray[Any]:
    """Returns a column as (n_queries, k), a query's values in their order and the filler behind them."""
    query_rows = ordered["query_row"].to_numpy()
    places = np.arange(len(query_rows)) - np.searchsorted(query_rows, query_rows)
    values = ordered[column].to_numpy()
    table = np.full((n_queries, int(places.max(initial=-1)) + 1), filler, dtype=values.dtype)
    table[query_rows, places] = values
    return table
