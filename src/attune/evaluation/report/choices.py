"""Renders *What to ship*: in words, as scalars for `dvc metrics diff`, and as a table for plots."""

from collections.abc import Callable
from typing import Any

import polars as pl

from attune.evaluation.report.markdown import loss, number, percent, score, signed
from attune.evaluation.report.ways import BASE
from attune.evaluation.report.what_to_ship import SHOWN, Choice, Decision
from attune.tables import Columns

UNKNOWN = "–"
# rows of metrics/plots/choices.csv, cheapest to run first: slice says whether a new index is needed, bin is the system
CHOICES: Columns = {
    **{"slice": pl.String, "bin": pl.String},
    **dict.fromkeys(("delta", "low", "high"), pl.Float64),
    **{"is_named": pl.Boolean},
}


def sentence(decision: Decision) -> str:
    """Returns what to ship and why, in words."""
    if not decision.named:
        return "No choice is named: fewer than two clusters of test queries are without leaks."
    named, best = decision.of(decision.named), decision.of(decision.best)
    action = "Keep" if named.system == BASE else "Ship"
    words = f"{action} {_spoken(named.system)}: {_figures(named, decision)}"
    words += (
        ", with a new index."
        if named.is_reindexed
        else ", over the vectors of base."
        if named.bytes_per_vector
        else "."
    )
    equals = [choice for choice in decision.choices if choice.is_as_good and not choice.is_too_costly]
    if len(equals) > 1:
        others = f"the {len(equals)} choices whose interval excludes a loss of {number(decision.margin)}"
        than = f" against the best, {_spoken(best.system)} ({score(best.headline)})"
        words += f" It costs least of {others}{than}."
    else:
        words += f" No other choice's interval excludes a loss of {number(decision.margin)} against it."
    for one in (choice for choice in decision.choices if choice.is_as_good and choice.is_too_costly):
        words += f" Not named: {_spoken(one.system)}, {decision.headline} {score(one.headline)}, {_loses(one)}."
    if named.is_reindexed:
        other = decision.of(decision.without_reindex)
        words += f" Without a new index: {_spoken(other.system)}, {_figures(other, decision)}."
    return words


def _loses(choice: Choice) -> str:
    """Returns the larger of a choice's losses on general and on near-domain tasks, in words."""
    cost, where = max((choice.general_cost or 0.0, "a general"), (choice.near_cost or 0.0, "a near-domain"))
    return f"as it loses {percent(cost, 0)} on {where} task"


def _spoken(system: str) -> str:
    return system.replace("_", " ")


def _figures(choice: Choice, decision: Decision) -> str:
    """Returns the headline of a choice with its gain over base, in words."""
    value = f"{decision.headline} {score(choice.headline)}"
    if choice.system == BASE:
        return value
    level = number(100 * decision.confidence)
    between = f"{level}% interval {signed(choice.gain.ci_low, 3)} to {signed(choice.gain.ci_high, 3)}"
    return f"{value} ({signed(choice.gain.delta, 3)} over base, {between})"


def columns(decision: Decision) -> list[str]:
    """Returns the heads of the table: the choice, then those of `cells`."""
    gain = f"gain in {decision.headline}, {number(100 * decision.confidence)}% interval"
    losses = ["loss on general tasks", "loss near the domain"]
    return [
        "choice",
        *SHOWN,
        gain,
        "new index",
        *losses,
        "a query takes",
        *_measured(decision),
    ]


def cells(decision: Decision) -> dict[str, list[str]]:
    """Returns the cells of each choice as text, by system, cheapest to run first."""
    measured = _measured(decision).values()
    return {one.system: _cells(one) + [cell(one) for cell in measured] for one in decision.choices}


def _measured(decision: Decision) -> dict[str, Callable[[Choice], str]]:
    """Returns the cells of the columns at the table's end by their heads, without columns that nobody measured."""
    found: dict[str, Callable[[Choice], str]] = {
        "MB to load": lambda one: _figure(one.model_bytes, _megabytes),
        "ms per query": lambda one: _figure(one.milliseconds, "{:.1f}".format),
        "of it embedding": lambda one: _figure(one.embedding_milliseconds, "{:.2f}".format),
        "made in": lambda one: _figure(one.seconds, duration),
        "bytes per vector": lambda one: _figure(one.bytes_per_vector, number),
    }
    return {head: cell for head, cell in found.items() if {cell(one) for one in decision.choices} != {UNKNOWN}}


def _figure(value: float | None, shown: Callable[[Any], str]) -> str:
    return UNKNOWN if value is None else shown(value)


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.0f}"


def _cells(choice: Choice) -> list[str]:
    gain = choice.gain
    between = f"{signed(gain.delta, 3)}, {signed(gain.ci_low, 3)} to {signed(gain.ci_high, 3)}"
    return [
        *(score(choice.scores[name]) for name in SHOWN),
        UNKNOWN if choice.system == BASE else between,
        "yes" if choice.is_reindexed else "no",
        *(
            choice.general_words or UNKNOWN if cost is None else loss(cost)
            for cost in (choice.general_cost, choice.near_cost)
        ),
        choice.query,
    ]


def duration(seconds: float) -> str:
    """Returns a time in the unit that matters: 35 s, 18 min, 1 h 5 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def scalars(decision: Decision) -> dict[str, Any]:
    """Returns metrics/choices.json: what is named, then the figures of each choice that are known, times left out."""
    figures: dict[str, Any] = {"named": decision.named, "without_reindex": decision.without_reindex}
    figures |= {"best": decision.best, "headline": decision.headline, "n_queries": decision.n_queries}
    for one in sorted(decision.choices, key=lambda choice: choice.system):
        own: dict[str, Any] = {
            **one.scores,
            "gain": one.gain.delta,
            "gain_low": one.gain.ci_low,
            "gain_high": one.gain.ci_high,
        }
        own |= {"against_best_low": one.against_best.ci_low, "is_as_good": one.is_as_good}
        own |= {"is_reindexed": one.is_reindexed, "bytes_per_vector": one.bytes_per_vector}
        own |= {"general_cost": one.general_cost, "near_cost": one.near_cost}
        figures[one.system] = {key: value for key, value in own.items() if value is not None}
    return figures


def plotted(decision: Decision) -> pl.DataFrame:
    """Returns the rows of choices.csv."""
    rows = [
        ("new index" if one.is_reindexed else "base's index", one.system, *_gain(one), one.system == decision.named)
        for one in decision.choices
    ]
    return pl.DataFrame(rows, schema=dict(CHOICES), orient="row")


def _gain(choice: Choice) -> tuple[float, float, float]:
    """Returns the gain over base and its interval, with six digits."""
    ends = choice.gain.delta, choice.gain.ci_low, choice.gain.ci_high
    delta, low, high = (round(end, 6) + 0.0 for end in ends)  # + 0.0 turns -0.0 into 0.0
    return delta, low, high
