"""The charts of the report's page that tell how the encoder came about: its training, and the way back to the base."""

from collections.abc import Mapping, Sequence
from typing import Any

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
