"""Points of the label curve, their forecasts as a receipt, and the sentence that the report makes of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from attune.evaluation.label_curve import Forecast, forecasts
from attune.tables import Columns

MEASURED = ("recall@10", "ndcg@10")
SCORED = tuple(f"{split}_{name}" for split in ("dev", "test") for name in MEASURED)
FACTORS = {"twice": 2.0, "four_times": 4.0}  # names in the receipt; times as many labels
HELD_OUT = 0.5  # share of the labels from which all of them are forecast, as a check
# a row per draw and share: the queries and pairs that kept their labels, and the scores with them
LABELS: Columns = {
    **{"draw": pl.Int64, "share": pl.Float64, "n_queries": pl.Int64, "n_pairs": pl.Int64},
    **dict.fromkeys(SCORED, pl.Float64),
}


@dataclass(frozen=True)
class Labelled:
    """Scores of an adapter that knew the labels of some clusters alone; `scores` holds SCORED."""

    draw: int
    share: float
    n_queries: int
    n_pairs: int
    scores: Mapping[str, float]


def table(points: Sequence[Labelled]) -> pl.DataFrame:
    """Returns the points as rows of LABELS, scores with six digits."""
    rows = [
        (one.draw, one.share, one.n_queries, one.n_pairs, *(round(one.scores[name], 6) for name in SCORED))
        for one in points
    ]
    return pl.DataFrame(rows, schema=dict(LABELS), orient="row")


def forecasts_of(
    points: Sequence[Labelled], column: str, most: float, factors: Sequence[float], confidence: float
) -> list[Forecast]:
    """Forecasts a score at multiples of the labels that the largest share up to `most` holds, as `forecasts` does."""
    used = [one for one in points if one.share <= most]
    if not used:
        return []
    largest = max(one.share for one in used)
    n_queries = float(np.mean([one.n_queries for one in used if one.share == largest]))
    n, scores = [float(one.n_queries) for one in used], [one.scores[column] for one in used]
    return forecasts(n, scores, [factor * n_queries for factor in factors], confidence)


def receipt_of(points: Sequence[Labelled], confidence: float) -> dict[str, float | int | bool]:
    """Returns the number of labelled queries, and for each score its mean with all labels, forecasts and their check.

    Keys: `n_queries`; COLUMN; COLUMN.twice.{value,low,high} and likewise four_times; COLUMN.check.{low,high,is_within}:
    what half of the labels forecast for all of them. Those of a forecast are missing where there are too few shares.
    """
    whole = [one for one in points if one.share == 1]
    if not whole:
        return {}
    figures: dict[str, float | int | bool] = {"n_queries": max(one.n_queries for one in whole)}
    for column in SCORED:
        measured = float(np.mean([one.scores[column] for one in whole]))
        figures[column] = measured
        found = forecasts_of(points, column, 1, list(FACTORS.values()), confidence)
        for name, one in zip(FACTORS, found, strict=False):
            figures |= {f"{column}.{name}.{key}": getattr(one, key) for key in ("value", "low", "high")}
        for one in forecasts_of(points, column, HELD_OUT, [1 / HELD_OUT], confidence):
            is_within = one.low <= measured <= one.high
            figures |= {f"{column}.check.low": one.low, f"{column}.check.high": one.high}
            figures[f"{column}.check.is_within"] = is_within
    return figures


def sentence(receipt: Mapping[str, Any], measure: str) -> str:
    """Returns what more labels would bring, and whether the same forecast held for labels that were hidden.

    Args:
        receipt: of stage curve; empty where it is off.
        measure: one of MEASURED; any other stands for nDCG@10.
    """
    if not receipt:
        return "The label curve is off (curve.draws: 0), or train has no labels."
    column = f"test_{measure if measure in MEASURED else 'ndcg@10'}"
    name, now, n = column.removeprefix("test_"), receipt[column], f"{receipt['n_queries']:,}"
    if f"{column}.twice.low" not in receipt:
        return (
            f"The {n} labelled train queries are too few for a label curve: four different shares of them are needed."
        )
    changes = {key: [receipt[f"{column}.{key}.{end}"] - now for end in ("low", "high")] for key in FACTORS}
    more = "; ".join(
        f"{key.replace('_', ' ')} the labels: {low:+.3f} to {high:+.3f}" for key, (low, high) in changes.items()
    )
    forecast = (
        f"With all {n} labelled train queries the query adapter has {name} {now:.3f} on test. Expected with {more}."
    )
    if f"{column}.check.low" not in receipt:
        return forecast
    between = f"{receipt[f'{column}.check.low']:.3f} to {receipt[f'{column}.check.high']:.3f}"
    held = "and that held" if receipt[f"{column}.check.is_within"] else "which did not hold: do not rely on it"
    return f"{forecast} From half of the labels, the same forecast for all of them was {between}, {held}."
