"""Decision rule: does a change lose less than a margin? Yes, no, or cannot tell; one rule for words, colours and gate.

A figure without its uncertainty is no answer, so the interval decides (non-inferiority with a margin; Piaggio et al.,
2012, JAMA 308). A limit on a loss is

- passed, where the interval excludes every loss as large as the margin,
- failed, where it excludes every loss as small as the margin,
- undecided otherwise: the queries are too few to tell, and `queries_needed` says how many would do.

An interval and a test of the same difference must not contradict each other. Where few queries differ at all, the t
interval is too narrow (4 of 1,000 queries won, none lost: +.0001 to +.0079, although such a row of wins has an exact
p of .125; no query differs: 0 to 0, of two queries as of a thousand). So the interval is that of the sums with one
winning and one losing cluster added (Agresti and Min, 2005, Biometrics 61; Bonett and Price, 2012, Journal of
Educational and Behavioral Statistics 37), and a claim needs the exact test besides. A true loss of the margin then
passes in at most 5% of cases at 30, 100 and 1,000 queries, in at most 8% at the worst sizes between, where clusters
are of like size. A loss that lies in a few large clusters alone, among many small ones, is seen less often than it
should be. The price of the added clusters is power: with few clusters the interval is wider than the t interval, up to
four times with four of them (docs/decisions.md). Takes
numpy and scipy alone, because the gate runs where nothing else is installed.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import ceil, sqrt

import numpy as np
from scipy.special import ndtri, stdtrit

from attune.evaluation.statistics.chance import is_significant
from attune.evaluation.statistics.clusters import ClusterSums
from attune.runtime.arrays import Float64

MOST_QUERIES = 1_000_000  # larger numbers of needed queries are not named


class Status(StrEnum):
    """Status of what is judged: a rule, or a check of the catalogue, which uses all five."""

    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "undecided"
    NOT_APPLICABLE = "not applicable"
    IGNORED = "ignored"


@dataclass(frozen=True)
class Change:
    """Mean difference with its interval and test: tuned minus base, or new minus old; a loss is below 0.

    Attributes:
        delta: mean difference.
        low: low end of its confidence interval.
        high: high end.
        p: two-sided p-value of "no difference", corrected for its family; None where there is no test.
    """

    delta: float
    low: float
    high: float
    p: float | None = None

    def is_within(self, margin: float) -> bool:
        """Tells whether the interval excludes every change as large as the margin, up or down."""
        return -margin < self.low and self.high < margin


def decide(change: Change, margin: float, confidence: float) -> Status:
    """Tells whether a change loses less than the margin: passed, failed or undecided.

    Without a margin, to pass is to claim a gain, and the p-value must be significant; with one, the interval decides,
    because no difference at all would pass, too. To fail is to claim a loss, so the p-value must be significant; but
    where a gain is required, no difference at all fails, and the interval decides.

    Args:
        change: the difference, in the unit of the margin.
        margin: largest loss that is accepted; below 0 the least gain that is required.
        confidence: 1 less the significance level of `change.p`; that of the interval.
    """
    agrees = change.p is None or is_significant(change.p, confidence)
    if change.low > -margin and (margin > 0 or agrees):
        return Status.PASSED
    if change.high < -margin and (margin < 0 or agrees):
        return Status.FAILED
    return Status.UNDECIDED


def decide_shipped(shipped: Change, over_seeds: Change | None, margin: float, confidence: float) -> Status:
    """Tells whether the shipped encoder loses less than the margin; with several seeds, a pass needs both intervals.

    What ships is what is judged: the mean over seeds can neither excuse nor condemn the encoder that ships, but where
    it does not pass, the shipped encoder may owe its pass to the luck of its seed.

    Args:
        shipped: change of the encoder that ships, with an interval over queries.
        over_seeds: mean change over seeds, with an interval over queries and seeds; None with one seed.
        margin: largest loss that is accepted, 0 or more.
        confidence: of both intervals.
    """
    own = decide(shipped, margin, confidence)
    if own is Status.PASSED and over_seeds is not None:
        return own if decide(over_seeds, margin, confidence) is Status.PASSED else Status.UNDECIDED
    return own


def with_one_each(sums: ClusterSums, size: float | None = None) -> ClusterSums:
    """Returns the sums with two clusters added: one wins by 1 on each of its queries, and one loses by 1.

    That much can happen to any query, and few that differ, or many that differ a little, do not show how often it does.

    Args:
        sums: of differences between -1 and 1.
        size: queries of an added cluster; the mean size if not given. Where clusters are groups of many independent
            ones, 1.
    """
    added = float(sums.sizes.mean()) if size is None else size
    pair = np.broadcast_to(np.array([added, -added]), (*sums.sums.shape[:-1], 2))
    return ClusterSums(np.concatenate([sums.sums, pair], axis=-1), np.append(sums.sizes, [added, added]))


def decision_interval(sums: ClusterSums, confidence: float, size: float | None = None) -> tuple[Float64, Float64]:
    """Returns the (...,) low and high ends of the intervals of mean differences between -1 and 1.

    Args:
        sums: of two clusters or more.
        confidence: such as 0.95.
        size: as in `with_one_each`.
    """
    low, high = with_one_each(sums, size).interval(confidence)
    return low.clip(-1, 1), high.clip(-1, 1)


def queries_needed(
    change: Change, n_queries: int, n_clusters: int, margin: float, confidence: float, power: float
) -> int | None:
    """Returns the number of queries, clustered as these are, that would decide with this power; None if none would.

    Assumes that the true difference is the one seen. Where this is exactly the margin's loss, no number decides.

    Args:
        change: undecided, with an interval of `decision_interval`.
        n_queries: that were compared.
        n_clusters: of these queries.
        margin: largest loss that is accepted.
        confidence: of the interval.
        power: probability of a decision.
    """
    distance = abs(change.delta + margin)
    if not distance:
        return None
    error = (change.high - change.low) / 2 / float(stdtrit(n_clusters + 1, (1 + confidence) / 2))
    needed = clusters_for(distance, error, n_clusters, 1 - confidence, power)
    return ceil(max(needed, n_clusters + 1) * n_queries / n_clusters)


def clusters_for(distance: float, error: float, n_clusters: int, level: float, power: float) -> float:
    """Returns the number of clusters whose interval excludes what is this far from the true difference.

    Args:
        distance: above 0.
        error: standard error of a mean over `n_clusters`, from sums `with_one_each`.
        n_clusters: that were compared.
        level: two-sided, 1 less the interval's confidence.
        power: probability that the interval excludes it.
    """
    from scipy.optimize import brentq  # noqa: PLC0415 - takes a third of a second, and most gates need no number

    # sum of squares over clusters; that of the two added ones stays 2 however many clusters there are
    spread = max(0.0, error**2 * (n_clusters + 1) * (n_clusters + 2) - 2) / n_clusters
    z_level, z_power = float(ndtri(1 - level / 2)), float(ndtri(power))
    most = ((z_level + z_power) / distance) ** 2 * (spread + 2) + 2
    return float(brentq(lambda n: distance * n - z_level * sqrt(n * spread + 2) - z_power * sqrt(n * spread), 0, most))
