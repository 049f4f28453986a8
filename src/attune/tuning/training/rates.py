"""The learning rate that suits the data, found by short runs.

Three of the four rates in `RATES` train for a few steps on the first batches: the two in the middle, and then the one
beyond the better of them. Dev judges each encoder at half and at all of its weights, in a smaller sample of documents
than the run's own evaluations search. Of the rates within one standard error of the best, the middle one is taken, of
two the smaller: short runs favour high rates, which do harm later, and a rate too low gains nothing.
"""

from collections.abc import Callable, Sequence
from statistics import median_low

import numpy as np

from attune.runtime.arrays import Float64, Int64
from attune.tuning.curve import Probe
from attune.tuning.estimates import TOLERANCE, gain

RATES = (2e-5, 5e-5, 1e-4, 2e-4)
LORA_FACTOR = 10  # LoRA's rates are about ten times as high (Hu et al. 2021, table 11 and after)
SHARES = (0.5, 1.0)
STEPS_SHARE = 1 / 16  # of the run's steps that a probe takes ...
LEAST_PROBE_STEPS = 8  # ... but so many at least, or all
DOCUMENTS_SHARE = 1 / 4  # of the run's sampled documents that probes search
RESTART_FACTOR = 1 / 3  # of the rate, where a run begins below the base
MAX_RESTARTS = 2


def rates(lora_rank: int) -> list[float]:
    """Returns the rates to choose from, ascending."""
    return [rate * LORA_FACTOR if lora_rank else rate for rate in RATES]


def n_probe_steps(n_steps: int) -> int:
    """Returns the steps of a probe for a run of n steps."""
    return min(n_steps, max(LEAST_PROBE_STEPS, round(n_steps * STEPS_SHARE)))


def search(probe: Callable[[float], Probe], lora_rank: int, clusters: Int64) -> list[Probe]:
    """Probes three of the rates, and returns them by rate.

    Args:
        probe: tries a rate.
        lora_rank: 0 for none.
        clusters: (n_queries,) number of each query's cluster.
    """
    lowest, low, high, highest = rates(lora_rank)
    probes = [probe(low), probe(high)]
    outer = lowest if choose_rate(probes, clusters) == low else highest
    return sorted([*probes, probe(outer)], key=lambda one: one.learning_rate)


def choose_rate(probes: Sequence[Probe], clusters: Int64) -> float:
    """Returns the middle one of the rates whose best share is within one standard error of the best of all.

    Args:
        probes: one per rate, over the same queries.
        clusters: (n_queries,) number of each query's cluster.
    """
    values = {probe.learning_rate: _best(probe) for probe in probes}
    best = max(values.values(), key=lambda scores: scores.mean())
    losses = {rate: gain(best, scores, clusters) for rate, scores in values.items()}
    return median_low(rate for rate, loss in losses.items() if loss.value <= loss.error + TOLERANCE)


def _best(probe: Probe) -> Float64:
    """Returns the (n_queries,) scores at the share whose mean is highest."""
    return max((np.array(own) for own in probe.evaluation.values), key=lambda scores: scores.mean())
