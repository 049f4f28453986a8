"""The label curve by full tuning: sizes that rise, a clock that ends it, and a forecast from enough of them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pytest

from bench.parts.tuned_labels import HEAD, Point, forecast, points, sizes
from bench.regret.cells import Cell, Run


def test_numbers_of_pairs_rise_to_all_of_them() -> None:
    """0 is all, and stands last; a share that rounds to none is one pair; equal numbers are one point."""
    assert sizes(1000, [1.0, 0.25, 0.0625]) == [62, 250, 0]
    assert sizes(10, [0.01, 0.05, 0.5]) == [1, 5]


class Planted:
    """A cell with its queries, which scores each system by their number."""

    def __init__(self, folder: Path, n: int, ran: list[int]) -> None:
        self.folder, self.seed, self.ran, self.n = folder, 13, ran, n
        folder.mkdir()
        self.queries = {f"q{i}" for i in range(n)}
        self.place = SimpleNamespace(pairs_by_query={f"q{i}": 2 for i in range(100)})

    def run(self, score: float, **figures: Any) -> Run:
        rows = {"query_id": ["a", "b", "c"], "split": ["dev", "test", "test"], "ndcg@10": [9.0, score, score + 0.2]}
        return Run(pl.DataFrame(rows), figures)

    def base(self) -> Run:
        return self.run(0.4)

    def adapter(self) -> Run:
        return self.run(0.5)

    def attune(self) -> Run:
        self.ran.append(self.n)
        return self.run(0.5 + self.n / 1000, seconds=120)


def test_points_are_measured_until_the_time_is_used_up(tmp_path: Path) -> None:
    """Each takes 100 seconds of 150: two are measured, the third does not begin; test queries alone count."""
    ran: list[int] = []
    cells = [Planted(tmp_path / str(n), n, ran) for n in (10, 20, 40)]
    ticks = iter([0, 0, 100, 200])
    found = list(points(cast("list[Cell]", cells), 150, lambda: float(next(ticks))))
    assert ran == [10, 20] and [path.name for path in tmp_path.iterdir()] == ["40"]  # folders of cells are removed
    expected = {"base": pytest.approx(0.5), "adapter": pytest.approx(0.6), "tuned": pytest.approx(0.61)}
    assert found[0] == Point(13, 10, 20, cast("dict[str, float]", expected), 120)
    assert len(found[0].cells()) == len(HEAD) and found[1].cells()[-1] == "2 min"


def test_a_forecast_needs_four_numbers_of_queries() -> None:
    """.4 + .04 a doubling from 50 queries: .60 with twice 800 and .64 with four times as many."""
    measured = [Point(13, 50 * 2**i, 1, {"tuned": 0.4 + 0.04 * i + 0.0001 * (i % 2)}, 1) for i in range(5)]
    said = forecast(measured, "tuned", 0.9)
    assert said.startswith("tuned: twice the labels 0.60") and "; four times the labels 0.64" in said
    assert forecast(measured[:3], "tuned", 0.9) == "tuned: fewer than four different numbers of queries, no forecast"
