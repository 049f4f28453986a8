"""For whom tuning helped and whom it hurt: base against tuned on parts of the test queries that have a trait in common.

Numbers are cut at their quantiles, so that no slice is much smaller than another; names (a product, a language) make a
slice each. The p-values are corrected for all slices together (Holm), so that one that is called worse is so beyond
the luck of having looked at many.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attune.evaluation.statistics.comparisons import Care, holm
from attune.evaluation.statistics.significance import compare

Values = NDArray[np.float64]
Numbers = NDArray[np.number[Any]]
Traits = Mapping[str, Numbers | Sequence[str]]  # for each trait one value per query; "" is no value


@dataclass(frozen=True)
class Slice:
    """Queries with a trait in common: the trait, which of its values they have, and their rows (ascending)."""

    trait: str
    bin: str
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class SliceRow:
    """A slice in metrics/plots/slices.csv; `low` and `high` are the ends of the interval of delta."""

    slice: str
    bin: str
    n: int
    base: float
    tuned: float
    delta: float
    low: float
    high: float
    p_holm: float


def by_number(trait: str, values: Numbers, n_bins: int) -> list[Slice]:
    """Cuts queries at the quantiles of their values, (n_queries,); equal values are never parted.

    Returns:
        At most n_bins slices, lowest first, called by the least and the greatest value in each. Where many values are
        equal there are fewer, of unequal size.
    """
    told: Numbers = np.round(values, 2)  # what is told apart is what is shown
    edges = np.unique(np.quantile(told, np.arange(1, n_bins) / n_bins, method="inverted_cdf"))
    place = np.searchsorted(edges, told, side="left")
    groups = [np.flatnonzero(place == number) for number in np.unique(place)]
    return [Slice(trait, _between(told[rows]), rows) for rows in groups]


def by_name(trait: str, values: Sequence[str], n_names: int) -> list[Slice]:
    """A slice for each of the most frequent values, in the order of the alphabet.

    Queries whose value is "" are in none. Nothing is sliced where all queries have the same value.
    """
    names, counts = np.unique([value for value in values if value], return_counts=True)
    if len(names) < 2:
        return []
    kept = sorted(names[np.argsort(-counts, kind="stable")][:n_names])
    return [Slice(trait, str(name), np.flatnonzero(np.asarray(values) == name)) for name in kept]


def by_trait(traits: Traits, n_bins: int, n_names: int) -> list[Slice]:
    """The slices of all traits, in their order."""
    found: list[Slice] = []
    for trait, values in traits.items():
        found += by_number(trait, values, n_bins) if isinstance(values, np.ndarray) else by_name(trait, values, n_names)
    return found


def compare_slices(
    slices: Sequence[Slice], base: Values, tuned: Values, care: Care, min_queries: int
) -> tuple[list[SliceRow], int]:
    """Compares base and tuned on each slice.

    Args:
        slices: of the queries.
        base: (n_queries,) values of one measure.
        tuned: the same of tuned.
        care: of the intervals and the tests.
        min_queries: smaller slices are left out, two or more: they could show nothing, and each one that is looked at
            makes the others harder to prove. So are slices that hold all queries.

    Returns:
        The rows, and how many slices are left out because they are too small.
    """
    parts = [part for part in slices if len(part.rows) < len(base)]
    large = [part for part in parts if len(part.rows) >= min_queries]
    found = [compare({"": base[part.rows]}, {"": tuned[part.rows]}, *care)[""] for part in large]
    corrected = holm([comparison.p_value for comparison in found])
    rows = [
        SliceRow(
            slice=part.trait,
            bin=part.bin,
            n=len(part.rows),
            base=float(base[part.rows].mean()),
            tuned=float(tuned[part.rows].mean()),
            delta=comparison.delta,
            low=comparison.ci_low,
            high=comparison.ci_high,
            p_holm=p,
        )
        for part, comparison, p in zip(large, found, corrected, strict=True)
    ]
    return rows, len(parts) - len(large)


def _between(values: Numbers) -> str:
    """The range of some values, in words."""
    low, high = (f"{value:.2f}" if values.dtype.kind == "f" else str(value) for value in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"
