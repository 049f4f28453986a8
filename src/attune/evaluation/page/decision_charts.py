"""Charts of what to decide: the gain of each choice by its cost, and how scores grow with the labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from attune.evaluation.page.charts import MARKED
from attune.evaluation.page.svg import COLOURS, Chart, canvas, chart, styled
from attune.evaluation.report.what_to_ship import Decision

SHOWN = (("test_ndcg@10", "tuned", "o", "test nDCG@10"), ("dev_ndcg@10", "adapter", "s", "dev nDCG@10"))


def gains(decision: Decision) -> Chart:
    """Gain over base with its interval, the choices from the cheapest to run to the dearest; the named one ringed."""
    with styled():
        figure = canvas(height=3.9)
        axes = figure.add_subplot()
        for place, one in enumerate(decision.choices):
            colour = COLOURS["tuned" if one.is_reindexed else "base"]
            axes.plot([place, place], [one.gain.ci_low, one.gain.ci_high], color=colour, linewidth=2.4)
            axes.plot(place, one.gain.delta, "s" if one.is_reindexed else "o", color=colour, markersize=6.5)
            if one.system == decision.named:
                ring, ink = "none", COLOURS["ink"]
                axes.plot(
                    place,
                    one.gain.delta,
                    "o",
                    markersize=MARKED,
                    clip_on=False,
                    markerfacecolor=ring,
                    markeredgecolor=ink,
                )
        axes.axhline(0, color=COLOURS["ink"], linewidth=1)
        names = [one.system.replace("_", " ") for one in decision.choices]
        axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
        axes.grid(axis="x", visible=False)
        axes.set(xlabel="from cheap to dear; squares need a new index", ylabel=f"gain in {decision.headline} over base")
    described = "; ".join(
        f"{one.system.replace('_', ' ')} {one.gain.delta:+.3f} ({one.gain.ci_low:+.3f} to {one.gain.ci_high:+.3f})"
        f"{', with a new index' if one.is_reindexed else ''}"
        for one in decision.choices
    )
    named = f" The rule names {decision.named.replace('_', ' ')}." if decision.named else ""
    title = f"Gain in {decision.headline} by cost"
    return chart(figure, "choices", title, f"From the cheapest to run to the dearest: {described}.{named}")


def labels(points: Sequence[Mapping[str, Any]]) -> Chart:
    """nDCG@10 of the query adapter on test and dev by the number of labelled queries, a point per draw.

    Args:
        points: rows of labels.csv, at least one.
    """
    by_share: dict[float, list[Mapping[str, Any]]] = {}
    for point in points:
        by_share.setdefault(point["share"], []).append(point)
    n = [float(np.mean([one["n_queries"] for one in own])) for own in by_share.values()]
    means = {
        column: [float(np.mean([one[column] for one in own])) for own in by_share.values()] for column, *_ in SHOWN
    }
    with styled():
        figure = canvas(height=3.9)
        axes = figure.add_subplot()
        for column, colour, marker, label in SHOWN:
            drawn = [(point["n_queries"], point[column]) for point in points]
            axes.plot(*zip(*drawn, strict=True), marker, color=COLOURS[colour], markersize=4, alpha=0.5)
            axes.plot(n, means[column], marker=marker, color=COLOURS[colour], label=label)
        axes.set_xscale("log")
        axes.set_xticks(n, [f"{value:,.0f}" for value in n])
        axes.minorticks_off()
        axes.set(xlabel="labelled train queries", ylabel="nDCG@10 of the query adapter")
        axes.legend(loc="lower right")
    described = "; ".join(
        f"{label} " + ", ".join(f"{value:.3f} with {size:,.0f}" for size, value in zip(n, means[column], strict=True))
        for column, _, _, label in SHOWN
    )
    return chart(figure, "labels", "nDCG@10 by labelled queries", f"Mean over draws: {described}.")
