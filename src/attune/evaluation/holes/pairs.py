"""The pairs of query and document whose judgment would change base against tuned most.

A document that both rank alike leaves the difference as it is, whatever it is. So the pairs are those on which the two
disagree, beginning with the largest difference of what the two ranks are worth in nDCG@10: a first rank against none
comes first. Pairs that do not touch the headline measure are left out (recall@10: both or neither among the first ten).
Judging the top of both rankings first is the pooling of TREC; Moffat, Webber and Zobel (SIGIR 2007) order it by what a
rank is worth, and so does this.
"""

from hashlib import sha256

import polars as pl

from attune.evaluation.holes.bounds import unjudged
from attune.evaluation.holes.pool import Pool


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
    pairs = unjudged(pool, first, second).filter(pl.col(headline).abs() > 1e-9)
    ids = pairs.with_columns(
        query_id=pl.Series(pool.query_ids, dtype=pl.String).gather(pairs["query_row"]),
        document_id=pl.Series(pool.document_ids, dtype=pl.String).gather(pairs["document_row"]),
        effect=pl.col("ndcg@10").abs().round(9),
    )
    by_chance = [_hashed(*pair) for pair in ids.select("query_id", "document_id").iter_rows()]
    ids = ids.with_columns(by_chance=pl.Series(by_chance, dtype=pl.String))
    return ids.sort("effect", "by_chance", descending=[True, False]).head(n).select("query_id", "document_id")


def _hashed(query_id: str, document_id: str) -> str:
    return sha256(f"{query_id}\t{document_id}".encode()).hexdigest()
