"""The search for a rival's learning rate."""

import pytest

from bench.rivals.rates import RATES, best_rate


@pytest.mark.parametrize("start", RATES)
@pytest.mark.parametrize("peak", RATES)
def test_the_search_finds_the_peak_from_every_start(start: float, peak: float) -> None:
    """A dev that rises to one peak is climbed without trying a rate twice."""
    tried: list[float] = []

    def dev(rate: float) -> float:
        tried.append(rate)
        return -abs(RATES.index(rate) - RATES.index(peak))

    assert best_rate(dev, start) == peak
    assert len(set(tried)) == len(tried)


def test_equal_rates_keep_the_one_that_the_search_began_with() -> None:
    """Two higher and lower rates that are no better cost one run each."""
    tried: list[float] = []
    assert best_rate(lambda rate: tried.append(rate) or 0.5) == 1e-4  # type: ignore[func-returns-value]
    assert tried == [1e-4, 2e-4, 5e-5]
