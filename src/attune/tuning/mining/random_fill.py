"""Random negatives for queries with too few candidates that pass the rules."""

from collections.abc import Callable

import numpy as np

from attune.errors import BadInput
from attune.runtime.arrays import Int64
from attune.tuning.mining.candidates import Bool, PairPredicate, Pairs

N_TRIED = 16  # random documents tested, plus two per missing negative, before all documents are


def fill_at_random(
    chosen: Int64,
    n_needed: Int64,
    train_rows: Int64,
    is_excluded: PairPredicate,
    last_resort: Pairs,
    seed: int,
) -> Int64:
    """Fills short lists of negatives with random documents, which are not scored first.

    Each query has a random stream of its own: its negatives do not depend on which other queries are short.

    Args:
        chosen: the negatives so far, rows of the corpus, (n_queries, most); -1 where there is none.
        n_needed: number of negatives of each query, (n_queries,).
        train_rows: rows of the documents that may be drawn, (n_documents,).
        is_excluded: pairs that are never drawn, such as judged answers.
        last_resort: pairs that are drawn only if nothing else is left, sorted by query.
        seed: of the draws.

    Returns:
        The filled lists, (n_queries, most), with -1 only beyond the number needed.

    Raises:
        BadInput: a query has fewer documents to draw from than it needs.
    """
    filled = chosen.copy()
    n_chosen = (chosen >= 0).sum(axis=1)
    for query in np.flatnonzero(n_chosen < n_needed).tolist():
        n_missing = int(n_needed[query] - n_chosen[query])
        random = np.random.default_rng([seed, query])
        avoided = _rows_of(last_resort, query)

        def is_allowed(rows: Int64, query: int = query) -> Bool:
            refused: Bool = np.isin(rows, chosen[query]) | is_excluded(Pairs(np.full(len(rows), query), rows))
            return ~refused

        drawn = _draw_from_few(random, train_rows, is_allowed, avoided, n_missing)
        if len(drawn) < n_missing:
            allowed = is_allowed(train_rows)
            preferred = allowed & ~np.isin(train_rows, avoided)
            drawn = train_rows[_draw_from_all(random, preferred, allowed & ~preferred, n_missing)]
        filled[query, n_chosen[query] : n_needed[query]] = drawn
    return filled


def _draw_from_few(
    random: np.random.Generator, rows: Int64, is_allowed: Callable[[Int64], Bool], avoided: Int64, n: int
) -> Int64:
    """Draws up to n rows by rejection sampling, as nearly all are allowed and testing all takes quadratic time."""
    tried = rows[random.integers(len(rows), size=N_TRIED + 2 * n)] if len(rows) else rows
    tried = tried[np.sort(np.unique(tried, return_index=True)[1])]  # without repetition, in the order of the draws
    return tried[is_allowed(tried) & ~np.isin(tried, avoided)][:n]


def _draw_from_all(random: np.random.Generator, preferred: Bool, reserve: Bool, n: int) -> Int64:
    """Draws n places; from the reserve only if there are fewer than n preferred ones."""
    n_preferred, n_reserve = int(preferred.sum()), int(reserve.sum())
    if n_preferred + n_reserve < n:
        raise BadInput(
            f"mine: a query has {n_preferred + n_reserve} train documents that may be its negatives, {n} needed; "
            "lower mine.n_negatives, or raise mine.same_query"
        )
    drawn = random.choice(np.flatnonzero(preferred), min(n, n_preferred), replace=False)
    if n <= n_preferred:
        return drawn
    return np.concatenate([drawn, random.choice(np.flatnonzero(reserve), n - n_preferred, replace=False)])


def _rows_of(pairs: Pairs, query: int) -> Int64:
    first, last = np.searchsorted(pairs.queries, [query, query + 1])
    return pairs.rows[first:last]
