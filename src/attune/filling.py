"""Random negatives, for queries of which too few candidates are left."""

from dataclasses import dataclass

import numpy as np

from attune.candidates import BoolArray, IntArray, Pairs
from attune.errors import BadInput


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
    never: Pairs,
    last: Pairs,
    seed: int,
) -> IntArray:
    """Tops up short lists with random documents, seeded; documents beyond the ranked ones are not scored first.

    Args:
        chosen: the negatives found, rows of the corpus, (n_queries, most); -1 where there is none.
        wanted: how many each query needs, (n_queries,).
        documents: what may be drawn.
        own_clusters: each query's cluster, of which nothing is drawn, (n_queries,).
        never: what is not drawn either, sorted by query.
        last: what is drawn only where nothing else is left, sorted by query.
        seed: of the draws.

    Returns:
        The lists, (n_queries, most), with -1 only beyond the wanted ones.

    Raises:
        BadInput: there are not enough documents for a query.
    """
    random = np.random.default_rng(seed)
    filled = chosen.copy()
    n_chosen = (chosen >= 0).sum(axis=1)
    for query in np.flatnonzero(n_chosen < wanted).tolist():
        n_missing = int(wanted[query] - n_chosen[query])
        others = documents.clusters != own_clusters[query]
        for rows in (chosen[query][: n_chosen[query]], _of(never, query)):
            others[_places(documents, rows)] = False
        clean = others.copy()
        clean[_places(documents, _of(last, query))] = False
        drawn = _draw(random, clean, others & ~clean, n_missing)
        filled[query, n_chosen[query] : wanted[query]] = documents.rows[drawn]
    return filled


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


def _places(documents: Documents, rows: IntArray) -> IntArray:
    """Where rows of the corpus are among the documents; those that are not there are left out."""
    places = np.searchsorted(documents.rows, rows)
    places = places[places < len(documents.rows)] if len(rows) else places
    return places[np.isin(documents.rows[places], rows)]
