"""Deeper search for rows whose near candidates are nearly all rejected.

A positive that scores little more than a random document has no allowed candidate among the query's fifty nearest
documents. The nearest one that the rules allow stands further down, and is looked for there, before anything is drawn
at random.
"""

from collections.abc import Callable

import numpy as np

from attune.runtime.arrays import Float32, Int64
from attune.tuning.mining.candidates import Bool, PairPredicate, Pairs
from attune.tuning.mining.judged_pairs import JudgedPairs

DEEPER, MAX_DEPTH = 4, 1000  # each search is this many times deeper than the one before, up to the largest depth
DEEPER_BATCH = 1024  # rows searched at a time; bounds memory

# Returns scores and corpus rows of the train documents nearest to these queries, down to a depth, (n, depth) each.
Search = Callable[[Int64, int], tuple[Float32, Int64]]


def search_deeper(
    search: Search,
    judged: JudgedPairs,
    row_queries: Int64,
    limits: Float32,
    chosen: Int64,
    n_needed: Int64,
    depth: int,
    first_rank: int,
) -> Int64:
    """Fills short lists with the nearest documents by embeddings that the rules allow, down to MAX_DEPTH.

    Args:
        search: by embeddings.
        judged: what is known of pairs.
        row_queries: the query of each row of training, (n_rows,).
        limits: highest allowed score of each row's negatives, (n_rows,).
        chosen: the negatives so far, rows of the corpus, (n_rows, most); -1 where there is none.
        n_needed: number of negatives of each row, (n_rows,).
        depth: depth that has been searched.
        first_rank: number of nearest allowed candidates that are passed over.

    Returns:
        The lists, (n_rows, most), with -1 where nothing is allowed.
    """
    filled, is_whole = chosen.copy(), False
    while depth < MAX_DEPTH and not is_whole:
        depth = min(DEEPER * depth, MAX_DEPTH)
        n_missing = n_needed - (filled >= 0).sum(axis=1)
        short = np.flatnonzero(n_missing > 0)
        for start in range(0, len(short), DEEPER_BATCH):
            rows = short[start : start + DEEPER_BATCH]
            queries, query = np.unique(row_queries[rows], return_inverse=True)
            scores, ranked = search(queries, depth)
            ranked = ranked[query]
            is_whole = ranked.shape[1] < depth
            left = scores[query] <= limits[rows, None]
            left &= ~(ranked[:, :, None] == filled[rows][:, None]).any(axis=2)
            found = _first_allowed(judged, row_queries[rows], ranked, left, n_missing[rows], first_rank)
            place, column = np.nonzero(found)
            slot = (np.cumsum(found, axis=1) - 1)[place, column]
            owner = rows[place]
            filled[owner, n_needed[owner] - n_missing[owner] + slot] = ranked[place, column]
    return filled


def _first_allowed(
    judged: JudgedPairs, queries: Int64, rows: Int64, left: Bool, n_wanted: Int64, n_passed_over: int
) -> Bool:
    """Returns a mask of each row's first candidates that the rules on pairs allow, in the order of the ranking.

    Whether a document answers a query of the same meaning is looked up for the first ones alone, because it costs most.

    Args:
        judged: what is known of pairs.
        queries: the query of each row, (n,); may repeat.
        rows: candidates, (n, depth), nearest first.
        left: candidates that all other rules allow, (n, depth); changed here.
        n_wanted: candidates wanted, (n,).
        n_passed_over: allowed candidates that are left out before these.
    """

    def refuse(rule: PairPredicate, mask: Bool) -> Int64:
        query, column = np.nonzero(mask)
        is_refused = rule(Pairs(queries[query], rows[query, column]))
        left[query[is_refused], column[is_refused]] = False
        return np.unique(query[is_refused])

    refuse(lambda pairs: judged.are_answers(pairs) | judged.is_own_negative(pairs), left)
    unsure = np.arange(len(queries))
    while len(unsure):
        first = np.zeros_like(left)
        first[unsure] = left[unsure] & (np.cumsum(left[unsure], axis=1) <= (n_wanted + n_passed_over)[unsure, None])
        unsure = refuse(judged.answers_same_query, first)
    place = np.cumsum(left, axis=1)
    mask: Bool = left & (place > n_passed_over) & (place <= (n_wanted + n_passed_over)[:, None])
    return mask
