"""The charts of the report's page, each with what it shows in words."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from attune.evaluation.page.rank_curves import N_BINS, Gains
from attune.evaluation.page.svg import COLOURS, Chart, canvas, chart, styled

Values = NDArray[np.float64]
# told apart by dashes and widths, too, not by colour alone
DASHES: Mapping[str, Any] = {
    "bm25": {"linestyle": (0, (1, 1.4)), "linewidth": 2.2},
    "base": {"linestyle": (0, (5, 1.8)), "linewidth": 2.0},
    "tuned": {"linestyle": "solid", "linewidth": 3.4},
    "onnx": {"linestyle": (0, (7, 3)), "linewidth": 1.4},
    "onnx_int8": {"linestyle": (0, (1.5, 2)), "linewidth": 1.8},
}
TOLD_AT = (1, 10, 100)


def recall_curves(curves: Mapping[str, Values]) -> Chart:
    """Recall at every depth, a line per system."""
    with styled():
        figure = canvas()
        axes = figure.add_subplot()
        for system, curve in curves.items():
            at = np.arange(1, len(curve) + 1)
            axes.plot(at, curve, color=COLOURS[system], label=system.replace("_", " "), **DASHES[system])
        ticks = [k for k in (1, 2, 5, 10, 20, 50, 100, 1000, 10_000) if k <= max(map(len, curves.values()))]
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{k:,}" for k in ticks])
        axes.minorticks_off()
        axes.set(xlabel="k, documents looked at", ylabel="recall@k", ylim=(0, 1.02))
        axes.legend(loc="lower right", handlelength=3.2)
    told = "; ".join(
        f"{system.replace('_', ' ')} " + ", ".join(f"{curve[k - 1]:.3f} at {k}" for k in TOLD_AT if k <= len(curve))
        for system, curve in curves.items()
    )
    return chart(figure, "recall", "Recall by depth", f"Mean recall on test: {told}.")


def gains(found: Gains, measure: str) -> Chart:
    """How many queries gained and lost, by how much."""
    with styled():
        figure = canvas()
        axes = figure.add_subplot()
        sides = np.arange(1, N_BINS + 1)
        tallest = max(found.losses.max(), found.wins.max(), 1)
        axes.bar(sides, found.wins, 0.86, color=COLOURS["gain"], label="gained")
        axes.bar(-sides, found.losses, 0.86, color=COLOURS["loss"], label="lost", hatch="///", edgecolor="none")
        axes.bar(0, min(found.ties, tallest), 0.86, color=COLOURS["rule"])
        axes.text(0, min(found.ties, tallest), f"{found.ties:,}\nunchanged", ha="center", va="bottom", fontsize=10)
        axes.set_ylim(0, tallest * 1.28)
        axes.set_xticks([-10, -5, 0, 5, 10], ["-1", "-0.5", "0", "+0.5", "+1"])
        axes.grid(axis="x", visible=False)
        axes.set(xlabel=f"change of {measure}, tuned minus base", ylabel="queries")
        axes.legend(loc="upper right")
    told = (
        f"{found.wins.sum():,} queries gained, {found.ties:,} are unchanged, {found.losses.sum():,} lost; "
        f"{found.wins[5:].sum():,} gained and {found.losses[5:].sum():,} lost more than 0.5."
    )
    cut = " The bar of unchanged queries is cut off." if found.ties > tallest else ""
    return chart(figure, "gains", "Gain by query", told + cut)


def scatter(points: Values, measure: str) -> Chart:
    """Base against tuned, query by query; the area of a bubble is the number of queries there."""
    with styled():
        figure = canvas()
        axes = figure.add_subplot()
        x, y, n = points.T
        kinds = (("gained", y > x, "gain", "o"), ("lost", y < x, "loss", "s"), ("unchanged", y == x, "muted", "D"))
        for label, side, colour, marker in kinds:
            size = 300 * n[side] / n.max() + 14
            axes.scatter(x[side], y[side], size, COLOURS[colour], marker=marker, alpha=0.8, linewidths=0, label=label)
        axes.plot([0, 1], [0, 1], color=COLOURS["muted"], linewidth=0.8)
        axes.set(xlabel=f"{measure} of base", ylabel=f"{measure} of tuned", xlim=(-0.06, 1.06), ylim=(-0.08, 1.08))
        for handle in axes.legend(loc="lower right").legend_handles:
            handle.set_sizes([36])  # type: ignore[union-attr]
    above, below = (n[side].sum() for side in (y > x, y < x))
    told = f"Bubbles above the diagonal hold {above:,.0f} queries, those below it {below:,.0f}; larger ones hold more."
    return chart(figure, "scatter", "Base against tuned, query by query", told)


def _interval(axes: Axes, row: Mapping[str, Any], place: int) -> None:
    side = "gain" if row["low"] > 0 else "loss" if row["high"] < 0 else "muted"
    axes.plot([row["low"], row["high"]], [place, place], color=COLOURS[side], linewidth=2.4, solid_capstyle="round")
    marker = {"gain": "o", "loss": "s", "muted": "D"}[side]
    axes.plot(row["delta"], place, marker, color=COLOURS[side], markersize=6.5)


def forest(rows: Sequence[Mapping[str, Any]], name: str, title: str, measure: str) -> Chart:
    """A difference with its interval per row; `label` names it, and a change of `group` leaves a gap.

    Rows without an interval (too few queries) are left out.
    """
    shown = [row for row in rows if row["low"] is not None and row["high"] is not None]
    with styled():
        figure = canvas(height=0.9 + 0.29 * max(len(shown), 2))
        axes = figure.add_subplot()
        for place, row in enumerate(shown):
            _interval(axes, row, place)
        axes.axvline(0, color=COLOURS["ink"], linewidth=1)
        axes.set_yticks(range(len(shown)), [row["label"] for row in shown])
        axes.tick_params(axis="y", length=0, labelcolor=COLOURS["ink"])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.set_xlabel(measure)
    told = "; ".join(f"{row['label']} {row['delta']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})" for row in shown)
    return chart(figure, name, title, f"{told or 'No row has enough queries for an interval'}.")
