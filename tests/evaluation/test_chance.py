"""Warns where so few resamples were drawn that no comparison could have been significant."""

import numpy as np
import pytest

from attune.evaluation.statistics.chance import is_significant, smallest_p, too_few_resamples
from attune.evaluation.statistics.holm import holm
from attune.evaluation.statistics.significance import Resampling, compare


@pytest.mark.parametrize("n_resamples", [100, 1000])
def test_the_floor_is_the_p_value_of_the_clearest_difference(n_resamples: int) -> None:
    """Forty queries that all gain: corrected for 20, the p-value is the floor."""
    p = compare({"m": np.zeros(40)}, {"m": np.ones(40)}, np.arange(40), Resampling(n_resamples, 0.95, 0))["m"].p_value
    assert p == pytest.approx(smallest_p(n_resamples))
    assert holm([p] * 20)[0] == pytest.approx(smallest_p(n_resamples, 20))
    assert smallest_p(100, 1000) == 1


@pytest.mark.parametrize(
    ("n_resamples", "n_slices", "is_warned"),
    [
        *((100, 20, True), (1000, 26, True), (1000, 25, False), (999, 25, False), (998, 25, True)),
        *((10_000, 26, False), (100, 0, False), (100, 2, False)),
    ],
)
def test_too_few_resamples_are_warned_of_with_the_number_needed(
    n_resamples: int, n_slices: int, is_warned: bool
) -> None:
    """A warning appears where the smallest possible p-value is above 5%; its number of resamples ends it."""
    warning = too_few_resamples(n_resamples, n_slices, 0.95)
    assert bool(warning) == is_warned == (n_slices > 0 and smallest_p(n_resamples, n_slices) > 0.05)
    if warning:
        needed = int(warning.partition("raise report.n_resamples to ")[2].split()[0].replace(",", ""))
        assert too_few_resamples(needed, n_slices, 0.95) == ""


def test_a_p_value_at_the_level_is_significant() -> None:
    """As in Holm's procedure: at most the level; above it, by however little, it is not."""
    assert is_significant(0.05, 0.95) and is_significant(0.1, 0.9)
    assert not is_significant(0.0501, 0.95)
