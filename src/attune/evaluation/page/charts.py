"""Charts of the page, each with a text alternative that gives its figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from attune.evaluation.page.svg import COLOURS, Chart, canvas, chart, styled
from attune.evaluation.report.choice import candidate_of, candidate_words
from attune.evaluation.report.examples import Rankings
from attune.evaluation.report.panels import by_checkpoint
from attune.tuning.curve import BASE, Candidate, Point

# of the shares, the smallest first: marker, dashes
SHARE_STYLES = (
    ("o", "dotted"),
    ("s", "dashdot"),
    ("^", (0, (5, 1.8))),
    ("D", "solid"),
    ("v", "dotted"),
    ("P", "dashed"),
)
MARKED = 13  # size of the ring around the candidate that ships


def training(points: Sequence[Point], kept: Candidate) -> Chart:
    """Training loss and dev nDCG@10 of the checkpoints by step, with the step of the candidate that ships marked."""
    losses = [(point.step, point.loss) for point in points if point.loss is not None]
    dev = [(point.step, point.dev) for point in points if point.dev is not None]
    with styled():
        figure = canvas(height=3.9)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        rows = ((upper, dev, "tuned", "o", "dev nDCG@10"), (lower, losses, "base", "s", "training loss"))
        for axes, curve, colour, marker, label in rows:
            axes.plot(*zip(*curve, strict=True), color=COLOURS[colour], marker=marker, markersize=5) if curve else None
            axes.set_ylabel(label)
            axes.axvline(kept.step, color=COLOURS["muted"], linewidth=1, linestyle=(0, (3, 2)))
        lower.set_xlabel(f"step (ships: {'base' if kept == BASE else f'{kept.step:,}'})")
        lower.set_ylim(bottom=0)
    described = "dev nDCG@10 " + ", ".join(f"{value:.3f} at step {step}" for step, value in dev)
    described += "; loss " + ", ".join(f"{value:.3f} at step {step}" for step, value in losses) if losses else ""
    title = "Dev nDCG@10 and training loss by step"
    return chart(figure, "training", title, f"Ships: {candidate_words(kept)}. With all of the weights, {described}.")


def interpolation(points: Sequence[Mapping[str, Any]]) -> Chart:
    """nDCG@10 on dev by step, a line per share of the checkpoints' weights; averages open, base dashed, choice ringed.

    Args:
        points: from `panels.interpolation_points`; base alone where nothing was trained.
    """
    candidates = [(candidate_of(point), point["dev"]) for point in points]
    shares = sorted({candidate.share for candidate, _ in candidates if candidate != BASE})
    base = next((dev for candidate, dev in candidates if candidate == BASE), None)
    chosen = [(candidate_of(point), point["dev"]) for point in points if point["is_chosen"]]
    with styled():
        figure = canvas(height=3.9)
        axes = figure.add_subplot()
        for place, share in enumerate(shares):
            _share_line(axes, [(one, dev) for one, dev in candidates if one.share == share], place, len(shares))
        if base is not None:
            axes.axhline(base, color=COLOURS["base"], linewidth=1.4, linestyle=(0, (5, 1.8)), label="base")
        for candidate, dev in chosen:
            ring: dict[str, Any] = {
                "marker": "o",
                "markersize": MARKED,
                "markerfacecolor": "none",
                "markeredgecolor": COLOURS["ink"],
            }
            axes.plot(candidate.step, dev, linestyle="none", clip_on=False, label="ships", **ring)
        axes.set(xlabel="step (open: average of checkpoints up to it)", ylabel="dev nDCG@10")
        axes.set_xlim(0, 1.05 * max([1, *(candidate.step for candidate, _ in candidates)]))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.margins(y=0.12)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, handlelength=3.2)
    described = "; ".join(
        f"{row['words']} {', '.join(f'{dev:.3f}' for dev in row['dev'].values() if dev is not None)}"
        for row in by_checkpoint(points)
    )
    by_share = f" At shares {', '.join(f'{share:g}' for share in shares)}: {described}." if shares else ""
    ships = "; ".join(f"{candidate_words(candidate)} ({dev:.3f})" for candidate, dev in chosen)
    figures = f"Ships: {ships}. Base {'–' if base is None else f'{base:.3f}'}.{by_share}"
    return chart(figure, "interpolation", "Dev nDCG@10 by step and share of the trained weights", figures)


def _share_line(axes: Axes, candidates: Sequence[tuple[Candidate, float]], place: int, n: int) -> None:
    """Draws the candidates of one share, the larger the stronger: checkpoints joined, averages as open markers."""
    marker, dashes = SHARE_STYLES[place % len(SHARE_STYLES)]
    strength: dict[str, Any] = {"color": COLOURS["tuned"], "alpha": 0.5 + 0.5 * (place + 1) / n, "marker": marker}
    alone = [(one.step, dev) for one, dev in candidates if one.n_averaged == 1 and one != BASE]
    averages = [(one.step, dev) for one, dev in candidates if one.n_averaged > 1]
    label = f"share {candidates[0][0].share:g}"
    if alone:
        axes.plot(*zip(*alone, strict=True), linestyle=dashes, markersize=5, label=label, **strength)
    if averages:
        own: dict[str, Any] = {} if alone else {"label": label}
        axes.plot(
            *zip(*averages, strict=True), linestyle="none", markersize=8, markerfacecolor="none", **strength, **own
        )


Values = NDArray[np.float64]
Ranks = NDArray[np.int64]

N_BINS = 10  # of gains, of losses, and of scores


def recall_curve(ranks: Ranks, n_relevant: Ranks, n_queries: int, depth: int) -> Values:
    """Returns mean recall at every k from 1 to depth, as `measures.measure` defines it.

    Args:
        ranks: (n_hits,) ranks, from 1 on, of the relevant documents in the rankings of all queries.
        n_relevant: (n_hits,) number of relevant documents of each hit's query.
        n_queries: number of queries with a relevant document; one without hits counts 0.
        depth: deepest rank that counts.

    Returns:
        (depth,) non-decreasing values between 0 and 1.
    """
    counted = ranks <= depth
    by_rank = np.bincount(ranks[counted], weights=1 / n_relevant[counted], minlength=depth + 1)[1:]
    curve: Values = by_rank.cumsum() / n_queries
    return curve


def recall_curves(rankings: Rankings) -> dict[str, Values]:
    """Returns each system's mean recall at every k, (depth,)."""
    relevant = rankings.qrels.filter(pl.col("relevance") > 0)
    sized = relevant.with_columns(n_relevant=pl.len().over("query_id"))
    n_queries = relevant["query_id"].n_unique()
    curves = {}
    for system, run in rankings.runs.items():
        hits = run.join(sized, on=["query_id", "document_id"])
        ranks, n_relevant = (hits[name].cast(pl.Int64).to_numpy() for name in ("rank", "n_relevant"))
        curves[system] = recall_curve(ranks, n_relevant, n_queries, rankings.depth)
    return curves


@dataclass(frozen=True)
class Gains:
    """Numbers of queries that lost, stayed and gained; `losses[i]` and `wins[i]` changed by (i/10, (i+1)/10]."""

    losses: NDArray[np.int64]
    ties: int
    wins: NDArray[np.int64]


def gains_by_size(base: Values, tuned: Values) -> Gains:
    """Counts queries by the change of their score, (n_queries,) values between 0 and 1; only a change of 0 is a tie."""
    change = np.round(tuned - base, 9)  # puts .3 - .2 into the bin of .1
    bins = np.ceil(np.round(np.abs(change) * N_BINS, 6)).astype(np.int64).clip(1, N_BINS) - 1
    losses, wins = (np.bincount(bins[side], minlength=N_BINS) for side in (change < 0, change > 0))
    return Gains(losses, int((change == 0).sum()), wins)


def bubbles(base: Values, tuned: Values) -> NDArray[np.float64]:
    """Returns (n_bubbles, 3) base score, tuned score and number of queries, with scores rounded to twentieths.

    Scores take few values, so single points would overlap; and the size of the page does not grow with the queries.
    """
    steps = 2 * N_BINS
    places, counts = np.unique(np.round(np.column_stack([base, tuned]) * steps), axis=0, return_counts=True)
    return np.column_stack([places / steps, counts])


# lines differ in dashes and width as well as in colour
DASHES: Mapping[str, Any] = {
    "bm25": {"linestyle": (0, (1, 1.4)), "linewidth": 2.2},
    "base": {"linestyle": (0, (5, 1.8)), "linewidth": 2.0},
    "adapter": {"linestyle": (0, (8, 1.6, 1.5, 1.6)), "linewidth": 2.0},
    "tuned": {"linestyle": "solid", "linewidth": 3.4},
    "tuned_int8": {"linestyle": (0, (1.5, 2)), "linewidth": 1.8},
}
DESCRIBED_AT = (1, 10, 100)


def recall(curves: Mapping[str, Values]) -> Chart:
    """Recall@k by k, a line per system."""
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
        axes.set(xlabel="k", ylabel="recall@k", ylim=(0, 1.02))
        axes.legend(loc="lower right", handlelength=3.2)
    at_k = {
        system: ", ".join(f"{curve[k - 1]:.3f} at {k}" for k in DESCRIBED_AT if k <= len(curve))
        for system, curve in curves.items()
    }
    described = "; ".join(f"{system.replace('_', ' ')} {values}" for system, values in at_k.items())
    return chart(figure, "recall", "Recall@k on test", f"Mean recall@k on test: {described}.")


def gains(counts: Gains, measure: str) -> Chart:
    """Histogram of the change per query."""
    with styled():
        figure = canvas()
        axes = figure.add_subplot()
        sides = np.arange(1, N_BINS + 1)
        tallest = max(counts.losses.max(), counts.wins.max(), 1)
        axes.bar(sides, counts.wins, 0.86, color=COLOURS["gain"], label="gained")
        axes.bar(-sides, counts.losses, 0.86, color=COLOURS["loss"], label="lost", hatch="///", edgecolor="none")
        axes.bar(0, min(counts.ties, tallest), 0.86, color=COLOURS["rule"])
        axes.text(0, min(counts.ties, tallest), f"{counts.ties:,}\nunchanged", ha="center", va="bottom", fontsize=10)
        axes.set_ylim(0, tallest * 1.28)
        axes.set_xticks([-10, -5, 0, 5, 10], ["-1", "-0.5", "0", "+0.5", "+1"])
        axes.grid(axis="x", visible=False)
        axes.set(xlabel=f"change of {measure}, tuned minus base", ylabel="queries")
        axes.legend(loc="upper right")
    described = (
        f"{counts.wins.sum():,} queries gained, {counts.ties:,} are unchanged, {counts.losses.sum():,} lost; "
        f"{counts.wins[5:].sum():,} gained and {counts.losses[5:].sum():,} lost more than 0.5."
    )
    cut = " The bar of unchanged queries is cut off." if counts.ties > tallest else ""
    return chart(figure, "gains", f"Change of {measure} per query", described + cut)


def scatter(points: Values, measure: str) -> Chart:
    """Scores of base and tuned per query; the area of a bubble shows the number of queries."""
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
    described = f"{above:,.0f} queries lie above the diagonal (tuned is better) and {below:,.0f} below it."
    return chart(figure, "scatter", f"{measure} of base and tuned per query", described)


def _interval(axes: Axes, row: Mapping[str, Any], place: int) -> None:
    side = "gain" if row["low"] > 0 else "loss" if row["high"] < 0 else "muted"
    axes.plot([row["low"], row["high"]], [place, place], color=COLOURS[side], linewidth=2.4, solid_capstyle="round")
    marker = {"gain": "o", "loss": "s", "muted": "D"}[side]
    axes.plot(row["delta"], place, marker, color=COLOURS[side], markersize=6.5)


def forest(rows: Sequence[Mapping[str, Any]], name: str, title: str, measure: str) -> Chart:
    """Forest plot: difference and interval per row, named by its `label`; rows without an interval are left out."""
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
    deltas = [f"{row['label']} {row['delta']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})" for row in shown]
    return chart(figure, name, title, f"{'; '.join(deltas) or 'No row has enough queries for an interval'}.")
