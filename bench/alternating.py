"""Competitors that take turns: whatever else the machine does slows all alike, so ratios hold where times do not.

Nothing here knows what is measured. A competitor is a function that does its work once and returns its own seconds.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Self

Run = Callable[[], float]  # does the work once; the seconds it took


class Spread(NamedTuple):
    """What several rounds of one figure come to."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Minimum, median and maximum of at least one value."""
        found = list(values)
        return cls(min(found), statistics.median(found), max(found))

    def cell(self, digits: int = 2) -> str:
        """For a table: minimum / **median** / maximum."""
        return f"{self.low:,.{digits}f} / **{self.median:,.{digits}f}** / {self.high:,.{digits}f}"


def timed(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> Run:
    """A competitor made of work that does not time itself."""

    def run() -> float:
        start = clock()
        work()
        return clock() - start

    return run


def alternate(runs: Mapping[str, Run], rounds: int, warm: int = 1) -> dict[str, list[float]]:
    """Runs all competitors in turn, `warm` rounds uncounted and then `rounds` that count.

    The order is turned round each time, so that nobody always follows the same one.

    Returns:
        The seconds of each counted round, (rounds,) for each competitor.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for place in range(warm + rounds):
        names = list(runs) if place % 2 == 0 else list(reversed(runs))
        for name in names:
            taken = runs[name]()
            if place >= warm:
                seconds[name].append(taken)
    return seconds


def ratios(slow: Sequence[float], fast: Sequence[float]) -> Spread:
    """How many times as fast the second is: of each round the ratio, then minimum, median and maximum."""
    return Spread.of(one / other for one, other in zip(slow, fast, strict=True))


def rates(n: float, seconds: Sequence[float]) -> Spread:
    """n things per second, of each round."""
    return Spread.of(n / taken for taken in seconds)
