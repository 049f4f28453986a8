"""Measures several systems alternately: other load on the machine slows all alike, so ratios vary less than times.

A system is a function that does its work once and returns its own seconds.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Self

Run = Callable[[], float]  # does the work once and returns its seconds


class Spread(NamedTuple):
    """Minimum, median and maximum of a figure over several rounds."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Returns the spread of at least one value."""
        numbers = list(values)
        return cls(min(numbers), statistics.median(numbers), max(numbers))

    def cell(self, digits: int = 2) -> str:
        """Returns a table cell: minimum / **median** / maximum."""
        return f"{self.low:,.{digits}f} / **{self.median:,.{digits}f}** / {self.high:,.{digits}f}"


def timed(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> Run:
    """Returns a system that does this work and times it by this clock."""

    def run() -> float:
        start = clock()
        work()
        return clock() - start

    return run


def alternate(runs: Mapping[str, Run], rounds: int, warm: int = 1) -> dict[str, list[float]]:
    """Runs all systems one after another, for `warm` uncounted rounds and then `rounds` counted ones.

    Every second round runs in reverse order, so that no system always follows the same one.

    Returns:
        Seconds of each counted round by system, (rounds,) each.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for index in range(warm + rounds):
        names = list(runs)[:: 1 if index % 2 == 0 else -1]
        for name in names:
            elapsed = runs[name]()
            if index >= warm:
                seconds[name].append(elapsed)
    return seconds


def ratios(slow: Sequence[float], fast: Sequence[float]) -> Spread:
    """Returns the spread of slow / fast, a ratio taken within each round."""
    return Spread.of(one / other for one, other in zip(slow, fast, strict=True))


def rates(n: float, seconds: Sequence[float]) -> Spread:
    """Returns the spread of n items per second over the rounds."""
    return Spread.of(n / elapsed for elapsed in seconds)
