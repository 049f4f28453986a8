"""The charts of the report's page, each with what it shows in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from attune.evaluation.page.svg import COLOURS, Chart, canvas, chart, styled
from attune.tuning.curve import Point


def training(points: Sequence[Point], kept_step: int) -> Chart:
    """Training loss and dev score step by step, and the step that is kept."""
    losses = [(point.step, point.loss) for point in points if point.loss is not None]
    dev = [(point.step, point.dev) for point in points if point.dev is not None]
    with styled():
        figure = canvas(height=3.9)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        rows = ((upper, dev, "tuned", "o", "dev nDCG@10"), (lower, losses, "base", "s", "training loss"))
        for axes, curve, colour, marker, label in rows:
            axes.plot(*zip(*curve, strict=True), color=COLOURS[colour], marker=marker, markersize=5) if curve else None
            axes.set_ylabel(label)
            axes.axvline(kept_step, color=COLOURS["muted"], linewidth=1, linestyle=(0, (3, 2)))
        lower.set_xlabel(f"step (kept: {kept_step:,})")
        lower.set_ylim(bottom=0)
    told = "dev nDCG@10 " + ", ".join(f"{value:.3f} at step {step}" for step, value in dev)
    told += "; loss " + ", ".join(f"{value:.3f} at step {step}" for step, value in losses) if losses else ""
    return chart(figure, "training", "Training, on dev", f"The encoder of step {kept_step} is kept. {told}.")


def trade_off(points: Sequence[Mapping[str, Any]]) -> Chart:
    """Dev and general score by share of the tuned weights, the share that ships marked."""
    ordered = sorted(points, key=lambda point: point["share"])
    shares = [point["share"] for point in ordered]
    with styled():
        figure = canvas()
        axes = figure.add_subplot()
        for key, label, colour, marker, dashes in (
            ("dev", "dev", "tuned", "o", "solid"),
            ("general", "general text", "base", "s", (0, (5, 1.8))),
        ):
            values = [point[key] for point in ordered]
            axes.plot(shares, values, color=COLOURS[colour], linestyle=dashes, marker=marker, markersize=5, label=label)
        for share in (point["share"] for point in ordered if point["is_chosen"]):
            axes.axvline(share, color=COLOURS["muted"], linewidth=1, linestyle=(0, (3, 2)), label=f"ships: {share:g}")
        axes.set(xlabel="share of the tuned weights", ylabel="nDCG@10", xticks=[0, 0.2, 0.4, 0.6, 0.8, 1])
        axes.margins(y=0.12)
        axes.legend(loc="best", handlelength=3.2)
    told = "; ".join(
        f"share {point['share']:g}: dev {point['dev']:.3f}, general {point['general']:.3f}"
        f"{' (ships)' if point['is_chosen'] else ''}"
        for point in ordered
    )
    return chart(figure, "trade-off", "Between base and tuned", f"By share of the tuned weights. {told}.")


Values = NDArray[np.float64]
Ranks = NDArray[np.int64]

N_BINS = 10  # of the gains on each side of nothing, and of the scores


def recall_curve(ranks: Ranks, n_relevant: Ranks, n_queries: int, depth: int) -> Values:
    """Mean recall at every k from 1 to depth, as `measures.measure` defines it.

    Args:
        ranks: (n_hits,) the ranks, from 1 on, at which relevant documents were found, of all queries together.
        n_relevant: (n_hits,) how many relevant documents the query of each hit has.
        n_queries: with at least one relevant document; a query without hits counts 0.
        depth: hits further down are left out.

    Returns:
        (depth,) values between 0 and 1, never falling.
    """
    counted = ranks <= depth
    found = np.bincount(ranks[counted], weights=1 / n_relevant[counted], minlength=depth + 1)[1:]
    curve: Values = found.cumsum() / n_queries
    return curve


@dataclass(frozen=True)
class Gains:
    """How many queries lost, stayed and gained: `losses[i]` and `wins[i]` by (i/10, (i+1)/10]."""

    losses: NDArray[np.int64]
    ties: int
    wins: NDArray[np.int64]


def gains_by_size(base: Values, tuned: Values) -> Gains:
    """Counts queries by how much their score (0..1, (n_queries,)) changed; only an unchanged score is a tie."""
    change = np.round(tuned - base, 9)  # so that .3 - .2 is in the bin of .1
    bins = np.ceil(np.round(np.abs(change) * N_BINS, 6)).astype(np.int64).clip(1, N_BINS) - 1
    losses, wins = (np.bincount(bins[side], minlength=N_BINS) for side in (change < 0, change > 0))
    return Gains(losses, int((change == 0).sum()), wins)


def bubbles(base: Values, tuned: Values) -> NDArray[np.float64]:
    """(n_bubbles, 3) base score, tuned score, and number of queries there, scores rounded to twentieths.

    Scores take few values, so that single points would lie on top of each other; and a page stays small whatever n is.
    """
    steps = 2 * N_BINS
    places, counts = np.unique(np.round(np.column_stack([base, tuned]) * steps), axis=0, return_counts=True)
    return np.column_stack([places / steps, counts])


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
