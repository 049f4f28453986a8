"""Whether a difference between two systems on the same queries is more than luck.

The interval is the percentile bootstrap over queries (Sakai, 2006). The p-value is of the paired randomization test
with sign flips (Smucker, Allan and Carterette, 2007): how often a difference at least this large in size appears
when, for each query, a coin decides which system got which score. Both come from scipy and are seeded.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap, permutation_test

from attune.errors import BadInput

Values = NDArray[np.float64]

CELLS = 4_000_000  # resampled values held at a time: bounds memory (32 MB) whatever the number of queries


@dataclass(frozen=True)
class Comparison:
    """The mean difference per query, its confidence interval, its p-value, and how many queries won, tied and lost."""

    delta: float
    ci_low: float
    ci_high: float
    p_value: float
    wins: int
    ties: int
    losses: int


def compare(
    baseline: Mapping[str, Values], tuned: Mapping[str, Values], n_resamples: int, confidence: float, seed: int
) -> dict[str, Comparison]:
    """Compares two systems' per-query values, measure by measure, on the same resampled queries.

    Args:
        baseline: for each measure (n_queries,) values.
        tuned: the same measures of the same queries in the same order.
        n_resamples: of the bootstrap and of the test; the smallest possible p-value is about 2 / n_resamples. Where
            the queries are so few that there are no more sign flips than that, all are listed: the p-value is exact.
        confidence: of the interval, such as 0.95.
        seed: of both resamplings.

    Raises:
        BadInput: there are fewer than two queries.
    """
    deltas = np.stack([tuned[name] - baseline[name] for name in baseline])  # (n_measures, n_queries)
    n_queries = deltas.shape[1]
    if n_queries < 2:
        raise BadInput(f"comparison: {n_queries} test queries, at least 2 are needed; enlarge the test split")
    batch = max(1, CELLS // deltas.size)
    resampling = {"n_resamples": n_resamples, "batch": batch, "vectorized": True, "axis": -1}
    interval = bootstrap(
        (deltas,),
        np.mean,
        method="percentile",
        confidence_level=confidence,
        rng=np.random.default_rng(seed),
        **resampling,
    ).confidence_interval
    p_values = permutation_test(
        (deltas,), np.mean, permutation_type="samples", rng=np.random.default_rng(seed), **resampling
    ).pvalue
    return {
        name: Comparison(
            delta=float(delta.mean()),
            ci_low=float(interval.low[i]),
            ci_high=float(interval.high[i]),
            p_value=float(p_values[i]),
            wins=int((delta > 0).sum()),
            ties=int((delta == 0).sum()),
            losses=int((delta < 0).sum()),
        )
        for i, (name, delta) in enumerate(zip(baseline, deltas, strict=True))
    }
