"""What holes in the judgments may hide, in figures and sentences for report.json."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl

from attune.evaluation.holes.bounds import BOUNDED, Cases, cases, unjudged
from attune.evaluation.holes.condensed import condensed, enough_refused
from attune.evaluation.holes.pool import DEPTH, Pool, pool_of
from attune.evaluation.report.examples import Rankings
from attune.evaluation.report.markdown import number, percent, signed
from attune.evaluation.report.summary import Paired, Rule
from attune.evaluation.statistics.decision import Change, Status, decide
from attune.evaluation.statistics.significance import compare
from attune.runtime.arrays import Float64, Int64

SIDES = ("base", "tuned")


def holes_of(
    rankings: Rankings, negatives: pl.DataFrame, test: Paired, rule: Rule, counts: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the part `holes` of report.json.

    Args:
        rankings: runs of all systems on test.
        negatives: NEGATIVES of test.
        test: scores of the queries that the verdict counts.
        rule: headline measure and confidence.
        counts: receipt of stage split, which counts judgments of `attune judge`.

    Returns:
        `judged@10` by system; `n_pairs`, unjudged documents among the first ten of base or tuned; `measures` with the
        difference as judged, at worst and at best; `n_to_level`, the fewest answers that could bring it to 0
        (null: none could); whether the verdict `depends` on them; comparisons over judged documents in `condensed`, {}
        where too few were judged as no answer; all in a `sentence`.
    """
    pool = pool_of(rankings.runs, rankings.qrels, negatives, test.query_ids)
    bounds = {name: cases(pool, *SIDES, name) for name in BOUNDED}
    headline = bounds[rule.headline]
    figures: dict[str, Any] = {
        "judged@10": {system: pool.judged_at(system) for system in pool.rankings},
        "n_pairs": unjudged(pool, *SIDES).height,
        "measures": {name: _means(one) for name, one in bounds.items()},
        "n_to_level": headline.answers_to_level(),
        "depends": depends(headline, test.clusters, rule.confidence),
        "condensed": _judged_only(pool, test.clusters, rule.confidence),
        "judged_since": {key: counts[key] for key in counts if key.startswith("n_judged_")},
    }
    return figures | {"sentence": sentence(figures, rule.headline)}


def depends(cases: Cases, clusters: Int64, confidence: float) -> bool:
    """Tells whether another assignment of the unjudged documents would change the answer of interval and test.

    A gain depends on them if it is none at worst, a loss if it is none at best, and *cannot tell* if either end can.

    Args:
        cases: of the headline measure.
        clusters: (n_queries,) number of each query's cluster.
        confidence: of intervals and tests; no correction for other comparisons.
    """
    judged, worst, best = (_status(values, clusters, confidence) for values in (cases.judged, cases.worst, cases.best))
    ends = {Status.PASSED: {worst}, Status.FAILED: {best}}.get(judged, {worst, best})
    return ends != {judged}


def sentence(figures: Mapping[str, Any], headline: str) -> str:
    """Says how much was judged, what the difference is at worst and at best, and whether the verdict hangs on it."""
    if not figures["n_pairs"]:
        return f"Every document among the first {DEPTH} of base and tuned was judged."
    shares = " and ".join(f"{percent(figures['judged@10'][side], 0)} of {side}'s" for side in SIDES)
    one = figures["measures"][headline]
    found = f"{shares} first {DEPTH} documents were judged; others count as wrong."
    ends = f"at the extremes the gain in {headline} is {signed(one['worst'], 3)} or {signed(one['best'], 3)}"
    if not figures["depends"]:
        return f"{found} No judgment of them changes the verdict: {ends}."
    level, of = figures["n_to_level"], number(figures["n_pairs"])
    side = SIDES[0] if one["judged"] > 0 else SIDES[1]
    unless = (
        f"The verdict holds unless {number(level)} or more of {of} unjudged documents are answers, all in favour of "
    )
    verdict = f"{unless}{side}" if level else "The verdict depends on unjudged documents"
    return f"{found} {verdict}; {ends}. `attune judge --test` writes a sheet of those that matter most."


def _means(cases: Cases) -> dict[str, float]:
    return {name: float(getattr(cases, name).mean()) for name in ("judged", "worst", "best")}


def _status(values: Float64, clusters: Int64, confidence: float) -> Status:
    one = compare({"": np.zeros(len(values))}, {"": values}, clusters, confidence)[""]
    return decide(Change(one.delta, one.ci_low, one.ci_high, one.p_value), 0, confidence)


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
