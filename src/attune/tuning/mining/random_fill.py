"""Random negatives, for queries of which too few candidates are left."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from attune.errors import BadInput
from attune.tuning.mining.candidates import BoolArray, IntArray, Judge, Pairs

TRIED = 16  # random documents that are looked at before all are


@dataclass(frozen=True)
class Documents:
    """What may be drawn.

    Attributes:
        rows: the train documents, as ascending rows of the corpus, (n_documents,).
        clusters: the cluster of each, as a number, (n_documents,).
    """

    rows: IntArray
    clusters: IntArray


def fill(
    chosen: IntArray,
    wanted: IntArray,
    documents: Documents,
    own_clusters: IntArray,
    never: Judge,
    last: Pairs,
    seed: int,
) -> IntArray:
    """Tops up short lists with random documents, seeded; documents beyond the ranked ones are not scored first.

    Each query has a stream of random numbers of its own: what it gets does not hang on which others are short.

    Args:
        chosen: the negatives found, rows of the corpus, (n_queries, most); -1 where there is none.
        wanted: how many each query needs, (n_queries,).
        documents: what may be drawn.
        own_clusters: each query's cluster, of which nothing is drawn, (n_queries,).
        never: says what is not drawn either.
        last: what is drawn only where nothing else is left, sorted by query.
        seed: of the draws.

    Returns:
        The lists, (n_queries, most), with -1 only beyond the wanted ones.

    Raises:
        BadInput: there are not enough documents for a query.
    """
    filled = chosen.copy()
    n_chosen = (chosen >= 0).sum(axis=1)
    for query in np.flatnonzero(n_chosen < wanted).tolist():
        n_missing = int(wanted[query] - n_chosen[query])
        random = np.random.default_rng([seed, query])

        def open_to(rows: IntArray, query: int = query) -> BoolArray:
            refused: BoolArray = np.isin(rows, chosen[query]) | never(Pairs(np.full(len(rows), query), rows))
            refused |= documents.clusters[np.searchsorted(documents.rows, rows)] == own_clusters[query]
            return ~refused

        drawn = _guess(random, documents.rows, open_to, _of(last, query), n_missing)
        if len(drawn) < n_missing:
            able = open_to(documents.rows)
            clean = able & ~np.isin(documents.rows, _of(last, query))
            drawn = documents.rows[_draw(random, clean, able & ~clean, n_missing)]
        filled[query, n_chosen[query] : wanted[query]] = drawn
    return filled


def _guess(
    random: np.random.Generator, rows: IntArray, open_to: Callable[[IntArray], BoolArray], last: IntArray, n: int
) -> IntArray:
    """Draws up to n rows by trying some: nearly all are open, and to look at all for each query would be quadratic."""
    tried = rows[random.integers(len(rows), size=TRIED + 2 * n)] if len(rows) else rows
    tried = tried[np.sort(np.unique(tried, return_index=True)[1])]  # each once, in the order of the draws
    return tried[open_to(tried) & ~np.isin(tried, last)][:n]


def _draw(random: np.random.Generator, first: BoolArray, then: BoolArray, n: int) -> IntArray:
    """Draws n places, those of the second kind only when the first are used up."""
    n_first, n_then = int(first.sum()), int(then.sum())
    if n_first + n_then < n:
        raise BadInput(
            f"mine: {n_first + n_then} train documents outside a query's cluster may be its negatives, {n} needed; "
            "lower mine.n_negatives, or raise mine.same_query"
        )
    drawn = random.choice(np.flatnonzero(first), min(n, n_first), replace=False)
    if n <= n_first:
        return drawn
    return np.concatenate([drawn, random.choice(np.flatnonzero(then), n - n_first, replace=False)])


def _of(pairs: Pairs, query: int) -> IntArray:
    first, last = np.searchsorted(pairs.queries, [query, query + 1])
    return pairs.rows[first:last]
