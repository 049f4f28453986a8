"""Learning rates of the rivals, and the search for the best one."""

from collections.abc import Callable

RATES = (2e-5, 5e-5, 1e-4, 2e-4)
FIRST_RATE = 1e-4


def best_rate(dev: Callable[[float], float], start: float = FIRST_RATE) -> float:
    """Returns the rate of RATES at which dev is highest, for a dev that rises to one peak.

    Args:
        dev: returns dev nDCG@10 of a rate; called about three times.
        start: the rate to begin with.
    """
    best, scores = RATES.index(start), {start: dev(start)}
    for step in (1, -1):
        while 0 <= best + step < len(RATES) and RATES[best + step] not in scores:
            rate = RATES[best + step]
            scores[rate] = dev(rate)
            if scores[rate] <= scores[RATES[best]]:
                break
            best += step
    return RATES[best]
