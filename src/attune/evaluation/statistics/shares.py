"""Shares that are kept, with their intervals: of one mean gain by another one, of a mean score by an exported file.

The gains are train's that dev keeps, and dev's that test keeps, on different queries. A ratio of two means has the
interval of Fieller (1954, Journal of the Royal Statistical Society B 16): all shares s for which `gain - s * of` is no
further from 0 than chance carries it. Whether at least a share `least` is kept is thus decided by the surplus `gain -
least * of`, whose interval exists even where `of` may be no gain and every share is possible. The two gains are
measured on different queries, so their errors are independent. Errors are those of the delete-one-cluster jackknife
with one winning and one losing cluster added (`decision.with_one_each`): where no query of thirty changed, the plain
error is 0, and nothing would be certain to be lost. Student's t has the degrees of freedom of the side with fewer
clusters, which errs on the side of wider intervals.

Where a gain is the best of n looks, its excess over the true gain is chance that was picked, so each look may err by
1/n of the probability only (Bonferroni). That widens the end of the interval that the choice flatters.
"""

from dataclasses import dataclass
from math import hypot, sqrt

from scipy.special import stdtrit

from attune.evaluation.statistics.clusters import ClusterSums, by_cluster
from attune.evaluation.statistics.decision import decision_interval, with_one_each
from attune.runtime.arrays import Float64, Int64


@dataclass(frozen=True)
class KeptShare:
    """Share of a gain that is kept, and how much more is kept than required.

    Attributes:
        value: one mean gain divided by the other; None where the other may be no gain.
        low: low end of its interval; None where it is open.
        high: high end; None where it is open.
        surplus_low: low end of the interval of the surplus, in the unit of the gains.
        surplus_high: high end.
    """

    value: float | None
    low: float | None
    high: float | None
    surplus_low: float
    surplus_high: float

    @property
    def is_kept(self) -> bool:
        """True if the required share is certainly kept."""
        return self.surplus_low > 0

    @property
    def is_lost(self) -> bool:
        """True if the required share is certainly not kept."""
        return self.surplus_high < 0


UNMEASURED = KeptShare(None, None, None, -float("inf"), float("inf"))  # fewer than two clusters on a side


def kept_share(gain: ClusterSums, of: ClusterSums, least: float, tails: tuple[float, float]) -> KeptShare:
    """Returns the share of one gain that another one keeps.

    Args:
        gain: differences between -1 and 1 by cluster, (n_clusters,), on the queries that should keep the gain.
        of: the same on other queries, which set what there is to keep. Where they gained nothing, the least that is
            required is no loss.
        least: required share.
        tails: probability that the true share is below the low end, and above the high end.
    """
    if min(gain.n_clusters, of.n_clusters) < 2:
        return UNMEASURED
    mean, of_mean = float(gain.mean), float(of.mean)
    error, of_error = (float(with_one_each(sums).error) for sums in (gain, of))
    low_t, high_t = (float(-stdtrit(min(gain.n_clusters, of.n_clusters) - 1, tail)) for tail in tails)
    required = least if of_mean > 0 else 0.0
    surplus, reach = mean - required * of_mean, hypot(error, required * of_error)
    low = _end(mean, error, of_mean, of_error, -low_t)
    high = _end(mean, error, of_mean, of_error, high_t)
    value = None if low is None and high is None else mean / of_mean
    return KeptShare(value, low, high, surplus - low_t * reach, surplus + high_t * reach)


def _end(mean: float, error: float, of_mean: float, of_error: float, t: float) -> float | None:
    """Returns an end of Fieller's interval, the low one for t < 0; None where `of_mean` is not certainly above 0."""
    spread = of_mean**2 - (t * of_error) ** 2
    if of_mean <= 0 or spread <= 0:
        return None
    root = sqrt((error * of_mean) ** 2 + (mean * of_error) ** 2 - (t * error * of_error) ** 2)
    return (mean * of_mean + t * root) / spread


def score_share_interval(values: Float64, of: Float64, clusters: Int64, confidence: float) -> tuple[float, float]:
    """Returns the interval of the share of a mean score that another system keeps on the same queries.

    By the delta method: the residuals `values - share * of` have mean 0, and their interval, that of every decision, is
    divided by the mean. Systems that rank nearly alike have small residuals, so the interval is narrow.

    Args:
        values: (n_queries,) scores between 0 and 1.
        of: (n_queries,) scores of the system that sets what there is to keep.
        clusters: (n_queries,) number of each query's cluster, at least two.
        confidence: of the interval.
    """
    mean = float(of.mean())
    if not mean:
        return 0.0, 1.0
    share = float(values.mean()) / mean
    low, high = decision_interval(by_cluster(values - share * of, clusters), confidence)
    return max(0.0, share + float(low) / mean), share + float(high) / mean
