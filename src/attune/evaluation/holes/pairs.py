"""The pairs of query and document whose judgment would change base against tuned most.

A document that both rank alike leaves the difference as it is, whatever it is; so the pairs are those on which the two
disagree. What a pair may change is what its ranks are worth, high ranks most, over the answers that the query has. But
most unjudged documents are no answers, and to judge these changes nothing. So pairs are ordered by what they may change
times the chance that they are answers, which the answers known so far tell: a logistic regression on the logarithms of
both ranks, over all documents among the first ten of either. It counts unjudged documents as no answers, so the chance
is too low by a factor that hardly touches the order (Elkan and Noto, KDD 2008). Judging what the systems rank high
first is the pooling of TREC; Moffat, Webber and Zobel (SIGIR 2007) order it by what a rank is worth.
"""

from hashlib import sha256

import numpy as np
import polars as pl
from sklearn.linear_model import LogisticRegression

from attune.evaluation.holes.bounds import divisor, first_ten
from attune.evaluation.holes.pool import Pool
from attune.runtime.arrays import Float64

LEAST_ANSWERS = 20  # known among the first ten, from which a chance is learned; below, all have the same


def most_telling(pool: Pool, first: str, second: str, headline: str, n: int) -> pl.DataFrame:
    """Returns up to n unjudged pairs (query_id, document_id), those that may change the difference most first.

    Of equally telling ones the order is that of a hash of their ids, so that no part of the data comes first.

    Args:
        pool: with both systems.
        first: system that is subtracted, such as base.
        second: system that it is subtracted from.
        headline: measure that the pairs have to touch, one of `BOUNDED`.
        n: number of pairs.
    """
    found = first_ten(pool, first, second)
    query_rows = found["query_row"].to_numpy()
    effects = np.abs(found["ndcg@10"].to_numpy()) / divisor(pool, "ndcg@10", 1)[query_rows]
    pairs = found.with_columns(
        query_id=pl.Series(pool.query_ids, dtype=pl.String).gather(found["query_row"]),
        document_id=pl.Series(pool.document_ids, dtype=pl.String).gather(found["document_row"]),
        effect=pl.Series((effects * chances(pool, first, second, found)).round(9)),
    ).filter(~pl.col("is_judged"), pl.col(headline).abs() > 1e-9)
    by_chance = [_hashed(*pair) for pair in pairs.select("query_id", "document_id").iter_rows()]
    pairs = pairs.with_columns(by_chance=pl.Series(by_chance, dtype=pl.String))
    return pairs.sort("effect", "by_chance", descending=[True, False]).head(n).select("query_id", "document_id")


def chances(pool: Pool, first: str, second: str, found: pl.DataFrame) -> Float64:
    """Returns (n,) relative chances that the documents of `first_ten` are answers, by their ranks in both systems."""
    keys = ["query_row", "document_row"]
    answers = pl.DataFrame(pool.judgments, [*keys, "relevance"], orient="row").filter(pl.col("relevance") > 0)
    is_answer = found.select(keys).join(answers, on=keys, how="left", maintain_order="left")["relevance"].is_not_null()
    if is_answer.sum() < LEAST_ANSWERS:
        return np.ones(found.height)
    ranks = np.log(np.column_stack([_ranks(pool, system, found) for system in (first, second)]))
    chance: Float64 = LogisticRegression().fit(ranks, is_answer.to_numpy()).predict_proba(ranks)[:, 1]
    return chance


def _ranks(pool: Pool, system: str, found: pl.DataFrame) -> Float64:
    """Returns (n,) ranks of documents in a system's ranking; twice its depth where it does not hold one."""
    rows = pool.rankings[system][1]
    places = np.argwhere(rows >= 0)
    table = pl.DataFrame(
        {"query_row": places[:, 0], "document_row": rows[rows >= 0], "rank": places[:, 1].astype(np.float64) + 1}
    )
    ranks = found.join(table, on=["query_row", "document_row"], how="left", maintain_order="left")["rank"]
    return ranks.fill_null(2.0 * rows.shape[1]).to_numpy()


def _hashed(query_id: str, document_id: str) -> str:
    return sha256(f"{query_id}\t{document_id}".encode()).hexdigest()
