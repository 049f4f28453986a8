"""Holes in the judgments in report.json: figures and sentences on the gain that they may hide."""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from attune.evaluation.holes.bounds import BOUNDED, Cases, cases, unjudged
from attune.evaluation.holes.condensed import condensed, enough_refused
from attune.evaluation.holes.pool import DEPTH, Pool, pool_of
from attune.evaluation.report.examples import Rankings
from attune.evaluation.report.markdown import number, percent, signed
from attune.evaluation.report.summary import Paired
from attune.evaluation.report.verdict import HeadlineResult
from attune.evaluation.statistics.significance import compare
from attune.runtime.arrays import Float64, Int64

SIDES = ("base", "tuned")


class Turn(NamedTuple):
    """Answers among the unjudged documents that would change the verdict.

    Attributes:
        n_answers: that suffice, where each is taken from the query in which it changes most.
        in_favour_of: system that ranks them higher, one of SIDES.
    """

    n_answers: int
    in_favour_of: str


def holes_of(
    rankings: Rankings,
    negatives: pl.DataFrame,
    test: Paired,
    result: HeadlineResult,
    counts: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns the part `holes` of report.json.

    Args:
        rankings: runs of all systems on test.
        negatives: NEGATIVES of test.
        test: scores of the queries that the verdict counts.
        result: of the verdict, on these queries.
        counts: receipt of stage split, which counts judgments of `attune judge`.

    Returns:
        `judged@10` by system; `n_pairs`, unjudged documents among the first ten of base or tuned; `measures` with the
        difference as judged, at worst and at best; whether the verdict `depends` on them, and if so `turn`, the answers
        that would change it (null where it does not); comparisons over judged documents in `condensed`, {} where too
        few were judged as no answer; all in a `sentence`.
    """
    pool = pool_of(rankings.runs, rankings.qrels, negatives, test.query_ids)
    bounds = {name: cases(pool, *SIDES, name) for name in BOUNDED}
    found = turn(bounds[result.headline], test.clusters, result)
    figures: dict[str, Any] = {
        "judged@10": {system: pool.judged_at(system) for system in pool.rankings},
        "n_pairs": unjudged(pool, *SIDES).height,
        "measures": {name: _means(one) for name, one in bounds.items()},
        "depends": found is not None,
        "turn": found and found._asdict(),
        "condensed": _judged_only(pool, test.clusters, result.sensitivity.confidence),
        "judged_since": {key: counts[key] for key in counts if key.startswith("n_judged_")},
    }
    return figures | {"sentence": sentence(figures, result.headline)}


def turn(cases: Cases, clusters: Int64, result: HeadlineResult) -> Turn | None:
    """Returns how few answers would change the verdict; None where it is the same up to both extremes.

    The verdict's own rule judges: Holm's correction among the other comparisons, which stay as they are, the margin,
    and the interval over seeds, of whose other encoders no rankings are kept.

    Args:
        cases: of the headline measure.
        clusters: (n_queries,) number of each query's cluster.
        result: of the verdict.
    """
    judged = _answered(cases.judged, clusters, result).answer
    found = []
    for side, changes in zip(SIDES, (-cases.falls, cases.rises), strict=True):
        # greatest first, and a query's second answer never before its first
        order = np.argsort(-np.minimum.accumulate(np.abs(changes), axis=1), axis=None, kind="stable")

        def after(n: int, changes: Float64 = changes, order: Int64 = order) -> HeadlineResult:
            taken = np.zeros(changes.size)
            taken[order[:n]] = changes.ravel()[order[:n]]
            return _answered(cases.judged + taken.reshape(changes.shape).sum(axis=1), clusters, result)

        def is_past(n: int, side: str = side, after: Callable[[int], HeadlineResult] = after) -> bool:
            """Tells whether no change of the margin's size is left on the side from which the difference comes."""
            shipped = after(n).shipped
            return shipped.high < result.margin if side == SIDES[0] else shipped.low > -result.margin

        def is_turned(n: int, after: Callable[[int], HeadlineResult] = after) -> bool:
            return after(n).answer != judged

        # Cannot tell may become No change on the way to another Cannot tell, so the end alone does not show it
        numbers = range(changes.size + 1)
        first = bisect_left(numbers, True, key=is_past)
        last = first if first in numbers and is_turned(first) else numbers[-1]
        if is_turned(last):
            found.append(Turn(bisect_left(range(last + 1), True, key=is_turned), side))
    return min(found, default=None)


def sentence(figures: Mapping[str, Any], headline: str) -> str:
    """Says how much was judged, what the difference is at worst and at best, and whether the verdict hangs on it."""
    if not figures["n_pairs"]:
        return f"Every document among the first {DEPTH} of base and tuned was judged."
    shares = " and ".join(f"{percent(figures['judged@10'][side], 0)} of {side}'s" for side in SIDES)
    one = figures["measures"][headline]
    found = f"{shares} first {DEPTH} documents were judged; others count as wrong."
    ends = f"at the extremes the gain in {headline} is {signed(one['worst'], 3)} or {signed(one['best'], 3)}"
    if not figures["depends"]:
        return f"{found} The verdict is the same up to both extremes: {ends}."
    n, side = figures["turn"]["n_answers"], figures["turn"]["in_favour_of"]
    answers = f"{number(n)} answer{'s' * (n > 1)} among {number(figures['n_pairs'])} unjudged documents"
    verdict = f"The verdict depends on them: {answers}, all in favour of {side}, would change it"
    return f"{found} {verdict}; {ends}. `attune judge --test` writes a sheet of those that matter most."


def _means(cases: Cases) -> dict[str, float]:
    return {name: float(getattr(cases, name).mean()) for name in ("judged", "worst", "best")}


def _answered(values: Float64, clusters: Int64, result: HeadlineResult) -> HeadlineResult:
    """Returns the result where the headline measure differs by these values, (n_queries,)."""
    zeros = {result.headline: np.zeros(len(values))}
    compared = compare(zeros, {result.headline: values}, clusters, result.sensitivity.confidence)
    return result.with_headline(compared[result.headline])


def _judged_only(pool: Pool, clusters: Int64, confidence: float) -> dict[str, Any]:
    """Returns base, tuned and their comparison by measure over judged documents; {} where that means nothing."""
    if not enough_refused(pool):
        return {}
    base, tuned = (condensed(pool, system) for system in SIDES)
    compared = compare(base, tuned, clusters, confidence)
    return {
        name: {"base": float(base[name].mean()), "tuned": float(tuned[name].mean())} | asdict(one)
        for name, one in compared.items()
    }
