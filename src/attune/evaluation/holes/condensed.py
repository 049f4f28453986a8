"""Measures that look at judged documents only, where documents were judged not to answer, too.

Condensed lists (Sakai, SIGIR 2007): unjudged documents are taken out of the ranking, those below move up, and the usual
measures score the rest. bpref (Buckley and Voorhees, SIGIR 2004; as trec_eval computes it): for each answer, how many
documents judged as none stand above it. With answers alone the first is 1 wherever one is found and the second is
recall, so both need `enough_refused`.
"""

import numpy as np

from attune.evaluation.holes.bounds import BOUNDED
from attune.evaluation.holes.pool import Pool
from attune.evaluation.scoring.measures import measure
from attune.runtime.arrays import Float64

BPREF = "bpref"
LEAST_SHARE = 0.5  # of the queries, that need a document judged as no answer


def enough_refused(pool: Pool) -> bool:
    """Tells whether at least half of the queries have a document that was judged not to answer them."""
    refused = np.unique(pool.judgments[pool.judgments[:, 2] <= 0, 0])
    return len(refused) >= LEAST_SHARE * len(pool.query_ids)


def condensed(pool: Pool, system: str) -> dict[str, Float64]:
    """Returns the (n_queries,) values of the measures of `BOUNDED` over a system's judged documents, and of bpref."""
    scores, rows = pool.rankings[system]
    is_judged = pool.is_judged(rows)
    order = np.argsort(~is_judged, axis=1, kind="stable")
    rows = np.take_along_axis(np.where(is_judged, rows, -1), order, axis=1)
    scores = np.take_along_axis(np.where(is_judged, scores, np.float32(0)), order, axis=1)
    values = measure(rows, pool.judgments, scores)
    return {name: values[name] for name in BOUNDED} | {BPREF: bpref(pool, system)}


def bpref(pool: Pool, system: str) -> Float64:
    """Returns (n_queries,) bpref of a system's whole ranking; 0 for a query without answers. Ties stay as ranked."""
    rows = pool.rankings[system][1]
    n = len(rows)
    relevant, refused = (pool.judgments[keep] for keep in (pool.judgments[:, 2] > 0, pool.judgments[:, 2] <= 0))
    n_relevant, n_refused = (np.bincount(part[:, 0], minlength=n)[:, None] for part in (relevant, refused))
    is_answer = pool.is_among(rows, relevant)
    above = pool.is_among(rows, refused).cumsum(axis=1)
    lost = np.minimum(above, n_relevant) / np.maximum(np.minimum(n_relevant, n_refused), 1)
    total: Float64 = np.where(is_answer, 1 - lost, 0.0).sum(axis=1)
    return total / np.maximum(n_relevant[:, 0], 1)
