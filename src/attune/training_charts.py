"""The charts of the report's page that tell how the encoder came about: its training, and the way back to the base."""

from collections.abc import Mapping, Sequence
from typing import Any

from attune.outcome import Point
from attune.svg import COLOURS, Chart, canvas, chart, styled


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
    """Dev score against general score between base and tuned, the share that ships marked."""
    ordered = sorted(points, key=lambda point: point["share"])
    with styled():
        figure = canvas()
        axes = figure.add_subplot()
        x, y = [point["general"] for point in ordered], [point["dev"] for point in ordered]
        axes.plot(x, y, color=COLOURS["tuned"], linewidth=1.4, marker="o", markersize=4.5)
        for point in ordered:
            at = (point["general"], point["dev"])
            if point["is_chosen"]:
                axes.plot(*at, "D", color=COLOURS["base"], markersize=9)
            if point["is_chosen"] or point["share"] in (0, 1):
                label = f"{point['share']:g}{' ships' if point['is_chosen'] else ''}"
                axes.annotate(label, at, (-9, -14), textcoords="offset points", ha="right")
        axes.set(xlabel="nDCG@10 on general text", ylabel="nDCG@10 on dev")
        axes.margins(0.12)
    told = "; ".join(
        f"share {point['share']:g}: dev {point['dev']:.3f}, general {point['general']:.3f}"
        f"{' (ships)' if point['is_chosen'] else ''}"
        for point in ordered
    )
    return chart(figure, "trade-off", "Between base and tuned", f"By share of the tuned weights. {told}.")
