"""Base against tuned on every slice of the test queries: which lost, which did not, and where nobody can tell.

Many slices are looked at, most of them small. So

- p-values are exact however few queries changed (`sign_flips`), Holm-corrected for all slices in which a loss could
  have been significant at all, and a loss is named where p and interval agree (`decision`);
- a slice is cleared only where its interval excludes a loss larger than the margin. No correction is needed for that:
  the report says "no slice lost" where all intervals do, and one that truly lost passes no more often than its own
  interval errs (intersection-union test; Berger, 1982, Technometrics 24);
- everything else is undecided, and counted.

A model that shrinks slices towards the whole (empirical Bayes) was not taken: where all others gain, it takes a few
queries that fell from 1 to 0 for chance, and its false alarms have no level.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from attune.evaluation.statistics.chance import significance_level
from attune.evaluation.statistics.clusters import ClusterSums, cluster_sums
from attune.evaluation.statistics.decision import Change, Status, decide, decision_interval, with_one_each
from attune.evaluation.statistics.holm import holm
from attune.evaluation.statistics.sign_flips import countable, exact_p, smallest_exact_p
from attune.evaluation.statistics.slices import Slice
from attune.runtime.arrays import Float64, Int64

MOST_NAMED = 5  # slices that the sentence names


@dataclass(frozen=True)
class SliceRules:
    """Rules of the comparison by slice.

    Attributes:
        confidence: of the intervals; 1 less the significance level.
        power: at which the smallest detectable loss is given.
        margin: a slice that certainly lost less than this is cleared.
        min_queries: slices of fewer queries are shown only where they lost.
    """

    confidence: float
    power: float
    margin: float
    min_queries: int


@dataclass(frozen=True)
class SliceComparison:
    """A slice in report.json and, without the last four fields, in metrics/plots/slices.csv.

    Attributes:
        slice: name of the trait.
        bin: value, or range of values.
        n: number of queries.
        base: mean score.
        tuned: mean score.
        delta: tuned minus base.
        low: low end of its confidence interval.
        high: high end.
        p_holm: corrected p-value; 1 where it is not corrected for, as no loss could be significant.
        detectable: smallest true loss that is found with the power of the rules, at the level of Holm's first step;
            None where no loss is.
        outcome: failed where it lost, passed where a loss as large as the margin is excluded, else undecided.
        is_tested: False where too few clusters changed for any loss to be significant.
        is_shown: False where the tables leave it out.
    """

    slice: str
    bin: str
    n: int
    base: float
    tuned: float
    delta: float
    low: float
    high: float
    p_holm: float
    detectable: float | None
    outcome: Status
    is_tested: bool
    is_shown: bool


@dataclass(frozen=True)
class SliceCounts:
    """Counts of the slices that were looked at, shown or not.

    Attributes:
        n_slices: all of them, without those that hold all queries.
        n_tested: slices that p-values are corrected for.
        n_lost: slices that lost significantly.
        n_cleared: slices in which a loss as large as the margin is excluded.
        n_undecided: all others.
        n_too_small: undecided slices in which no loss, however large, could have been significant.
        n_too_small_queries: queries in these, each counted once.
        n_not_shown: slices that the tables leave out.
    """

    n_slices: int
    n_tested: int
    n_lost: int
    n_cleared: int
    n_undecided: int
    n_too_small: int
    n_too_small_queries: int
    n_not_shown: int

    @classmethod
    def of(cls, slices: Sequence[Slice], rows: Sequence[SliceComparison]) -> "SliceCounts":
        """Counts slices and their comparisons, in the same order."""
        outcomes = Counter(row.outcome for row in rows)
        small = [
            part.rows
            for part, row in zip(slices, rows, strict=True)
            if row.outcome is Status.UNDECIDED and not row.is_tested
        ]
        return cls(
            n_slices=len(slices),
            n_tested=sum(row.is_tested for row in rows),
            n_lost=outcomes[Status.FAILED],
            n_cleared=outcomes[Status.PASSED],
            n_undecided=outcomes[Status.UNDECIDED],
            n_too_small=len(small),
            n_too_small_queries=len(np.unique(np.concatenate(small))) if small else 0,
            n_not_shown=sum(not row.is_shown for row in rows),
        )

    @property
    def outcome(self) -> Status:
        """Status of all slices together: not applicable without slices, failed if any lost, passed if all cleared."""
        if not self.n_slices:
            return Status.NOT_APPLICABLE
        if self.n_lost:
            return Status.FAILED
        return Status.PASSED if self.n_cleared == self.n_slices else Status.UNDECIDED


def compare_slices(
    slices: Sequence[Slice], base: Float64, tuned: Float64, clusters: Int64, rules: SliceRules
) -> tuple[list[SliceComparison], SliceCounts]:
    """Compares base and tuned on each slice, but for slices that hold all queries.

    Args:
        slices: of the queries.
        base: (n_queries,) values of one measure, between 0 and 1.
        tuned: (n_queries,) values of the same measure.
        clusters: (n_queries,) number of each query's cluster.
        rules: of the comparison.

    Returns:
        The comparisons in the order of the slices, and their counts.
    """
    parts = [part for part in slices if 0 < len(part.rows) < len(base)]
    sums = [cluster_sums((tuned - base)[part.rows], clusters[part.rows]) for part in parts]
    is_tested = countable(np.array([smallest_exact_p(one.sums) for one in sums]), significance_level(rules.confidence))
    corrected = iter(holm([exact_p(one.sums) for one, tested in zip(sums, is_tested, strict=True) if tested]))
    p_values = [next(corrected) if tested else None for tested in is_tested]
    rows = [
        _comparison(part, base[part.rows], tuned[part.rows], one, p, int(is_tested.sum()), rules)
        for part, one, p in zip(parts, sums, p_values, strict=True)
    ]
    return rows, SliceCounts.of(parts, rows)


def _comparison(
    part: Slice,
    base: Float64,
    tuned: Float64,
    sums: ClusterSums,
    p_holm: float | None,
    n_tested: int,
    rules: SliceRules,
) -> SliceComparison:
    low, high = decision_interval(sums, rules.confidence)
    change = Change(float(sums.mean), float(low), float(high), 1.0 if p_holm is None else p_holm)
    outcome, mean = outcome_of(change, rules), float(base.mean())
    level = significance_level(rules.confidence) / max(1, n_tested)
    return SliceComparison(
        slice=part.trait,
        bin=part.bin,
        n=len(base),
        base=mean,
        tuned=float(tuned.mean()),
        delta=change.delta,
        low=change.low,
        high=change.high,
        p_holm=1.0 if p_holm is None else p_holm,
        detectable=None if p_holm is None else detectable_loss(sums, mean, level, rules),
        outcome=outcome,
        is_tested=p_holm is not None,
        is_shown=outcome is Status.FAILED or (part.is_shown and len(base) >= rules.min_queries),
    )


def outcome_of(change: Change, rules: SliceRules) -> Status:
    """Returns failed where a slice lost significantly, passed where a loss as large as the margin is excluded."""
    if decide(change, 0.0, rules.confidence) is Status.FAILED:
        return Status.FAILED
    is_cleared = change.low > -rules.margin
    return Status.PASSED if is_cleared else Status.UNDECIDED


def detectable_loss(sums: ClusterSums, base: float, level: float, rules: SliceRules) -> float | None:
    """Returns the smallest true loss that a slice shows with the power of the rules; None where it shows none.

    It needs to be found by test and interval: by the paired t test of the corrected level, and by the interval of the
    decision. Clusters that are too few for a p-value of the level show no loss, and base cannot lose more than it has.

    Args:
        sums: differences by cluster.
        base: mean score of base.
        level: of significance, after the correction.
        rules: of the comparison.
    """
    if 2 * 0.5**sums.n_clusters > level:
        return None
    sides = ((sums, level), (with_one_each(sums), significance_level(rules.confidence)))
    loss = max(_reach(side, of_side, rules.power) * float(side.error) for side, of_side in sides)
    return loss if loss <= base else None


def _reach(sums: ClusterSums, level: float, power: float) -> float:
    """Returns the loss, in standard errors, that a two-sided t test of the level finds with this power."""
    degrees = sums.n_clusters - 1
    return float(stdtrit(degrees, 1 - level / 2) + stdtrit(degrees, power))


def lost(rows: Sequence[SliceComparison]) -> list[SliceComparison]:
    """Returns the slices that lost significantly, the largest loss first."""
    return sorted((row for row in rows if row.outcome is Status.FAILED), key=lambda row: row.delta)


def sentence(rows: Sequence[SliceComparison], counts: SliceCounts, rules: SliceRules) -> str:
    """Returns the result in words: which slices lost, and in how many a loss could be hidden.

    Args:
        rows: the comparisons that are shown; those that lost are among them.
        counts: of all slices.
        rules: of the comparison.
    """
    if not counts.n_slices:
        return "The test queries are alike in every trait, so there are no slices to compare."
    if worse := lost(rows):
        named = "; ".join(f"{row.slice}: {row.bin} {row.delta:+.3f} ({row.n:,} queries)" for row in worse[:MOST_NAMED])
        more = f"; and {len(worse) - MOST_NAMED:,} more" if len(worse) > MOST_NAMED else ""
        first = f"{counts.n_lost:,} of {counts.n_slices:,} slices got significantly worse: {named}{more}."
    else:
        first = f"No loss found in {counts.n_slices:,} slices."
    return f"{first} {_hidden(rows, counts, rules)}".strip()


def _hidden(rows: Sequence[SliceComparison], counts: SliceCounts, rules: SliceRules) -> str:
    """Returns how much could be lost unseen: sentences on the slices that did not lose; "" where all did."""
    if not counts.n_undecided:
        words = f"A loss of {rules.margin:g} in nDCG@10 is excluded in {'the others' if counts.n_lost else 'each'}."
        return words if counts.n_cleared else ""
    them = "others" if counts.n_lost else "of them"
    words = f"A loss of {rules.margin:g} in nDCG@10 is not excluded in {counts.n_undecided:,} {them}"
    if counts.n_too_small:
        queries = f"{counts.n_too_small_queries:,} queries"
        words += f"; in {counts.n_too_small:,} ({queries}) too few queries changed for any loss to be significant"
    open_to = [row.detectable for row in rows if row.outcome is Status.UNDECIDED and row.detectable is not None]
    if open_to:
        smallest = " to ".join(dict.fromkeys(f"{loss:.2f}" for loss in (min(open_to), max(open_to))))
        words += f". The smallest loss that those shown find in {rules.power:.0%} of cases is {smallest}"
    return f"{words}."
