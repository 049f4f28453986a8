"""Random negatives for rows with too few candidates that pass the rules."""

from typing import NamedTuple

import numpy as np

from attune.errors import BadInput
from attune.runtime.arrays import Int64
from attune.tuning.mining.candidates import Bool, PairPredicate, Pairs

N_TRIED = 16  # random documents tested, plus two per missing negative, before all documents are
FILL_BATCH = 2**12  # rows whose draws are tested together; bounds memory


class LastResort(NamedTuple):
    """Documents that are drawn for a row of training only if nothing else is left, sorted by row, (n,) each."""

    rows: Int64
    documents: Int64

    def of(self, row: int) -> Int64:
        """Returns the documents of a row."""
        first, last = np.searchsorted(self.rows, [row, row + 1])
        return self.documents[first:last]


def fill_at_random(
    chosen: Int64,
    row_queries: Int64,
    n_needed: Int64,
    train_rows: Int64,
    is_excluded: PairPredicate,
    last_resort: LastResort,
    seed: int,
) -> Int64:
    """Fills short lists of negatives with random documents, which are not scored first.

    Each row has a random stream of its own: its negatives do not depend on which other rows are short.

    Args:
        chosen: the negatives so far, rows of the corpus, (n_rows, most); -1 where there is none.
        row_queries: the query of each row of training, ascending, (n_rows,).
        n_needed: number of negatives of each row, (n_rows,).
        train_rows: rows of the documents that may be drawn, (n_documents,).
        is_excluded: pairs that are never drawn, such as judged answers.
        last_resort: documents that the rules reject, and the query's own negatives.
        seed: of the draws.

    Returns:
        The filled lists, (n_rows, most), with -1 only beyond the number needed.

    Raises:
        BadInput: a query has fewer documents to draw from than it needs.
    """
    filled, n_chosen = chosen.copy(), (chosen >= 0).sum(axis=1)
    n_missing = n_needed - n_chosen
    short = np.flatnonzero(n_missing > 0)
    nth_of_query = np.arange(len(row_queries)) - np.searchsorted(row_queries, row_queries)

    def stream(row: int) -> np.random.Generator:
        return np.random.default_rng([seed, row_queries[row], nth_of_query[row]])

    def draw_again_from_all(row: int) -> Int64:
        random = stream(row)
        _draw_few(random, train_rows, n_missing[row])  # the stream goes on behind the first draws
        is_refused = is_excluded(Pairs(np.full(len(train_rows), row_queries[row]), train_rows))
        allowed = ~is_refused & ~np.isin(train_rows, chosen[row])
        preferred = allowed & ~np.isin(train_rows, last_resort.of(row))
        return train_rows[_draw_from_all(random, preferred, allowed & ~preferred, n_missing[row])]

    for start in range(0, len(short), FILL_BATCH):
        rows = short[start : start + FILL_BATCH]
        tries = [_draw_few(stream(row), train_rows, n_missing[row]) for row in rows]
        n_tried = [len(tried) for tried in tries]
        is_refused = is_excluded(Pairs(np.repeat(row_queries[rows], n_tried), np.concatenate(tries)))
        refused_of_rows = np.split(is_refused, np.cumsum(n_tried)[:-1])
        for row, tried, refused in zip(rows.tolist(), tries, refused_of_rows, strict=True):
            is_left = ~refused & ~np.isin(tried, chosen[row]) & ~np.isin(tried, last_resort.of(row))
            drawn = tried[is_left][: n_missing[row]]
            enough = len(drawn) == n_missing[row]
            filled[row, n_chosen[row] : n_needed[row]] = drawn if enough else draw_again_from_all(row)
    return filled


def _draw_few(random: np.random.Generator, documents: Int64, n: int) -> Int64:
    """Draws documents to be tested, as nearly all are allowed and testing all takes quadratic time."""
    if not len(documents):
        return documents
    tried = documents[random.integers(len(documents), size=N_TRIED + 2 * n)]
    return tried[np.sort(np.unique(tried, return_index=True)[1])]  # without repetition, in the order of the draws


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
