"""Markdown: escaping of texts, tables, number formats, and pages from templates.

No escaped text can break a table, become markup or inject HTML.
"""

import html
import math
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from attune.evaluation.report.excerpts import cut, isolated, isolated_words, line

INLINE = re.compile(r"([\\`*_\[\]|~$])")
LEADING = re.compile(r"^(\d*)([#+\-=.)])")  # a heading, a list or a rule at the beginning of a line
MENTION = re.compile(r"(?<!\w)@")  # notifies someone on a code host; the @ of recall@10 does not


def plain(text: object, limit: int | None = 100, can_mention: bool = True) -> str:
    """Returns a text on one line in which no character is markup.

    Args:
        text: any object; its str() is shown.
        limit: longer texts are cut to this number of characters, the last one an ellipsis; None for a sentence of ours,
            which has no limit, and in which right-to-left words are isolated one by one, not as a whole.
        can_mention: False puts a zero-width space after an @ that begins a word, so that it notifies nobody.
    """
    shown = isolated_words(line(str(text))) if limit is None else isolated(cut(line(str(text)), limit))
    escaped = LEADING.sub(r"\1\\\2", INLINE.sub(r"\\\1", html.escape(shown, quote=False)))
    return escaped if can_mention else MENTION.sub("@\u200b", escaped)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], n_text: int | None = None) -> str:
    """Returns a Markdown table.

    Args:
        head: names of the columns.
        rows: cells, escaped already (see `plain`).
        n_text: number of columns at the left that hold text; those to the right of them hold numbers and are aligned
            right. None aligns no column.

    Raises:
        ValueError: a row has another number of cells than the head.
    """
    rule = ["---:" if n_text is not None and place >= n_text else "---" for place in range(len(head))]
    if wrong := [row for row in rows if len(row) != len(head)]:
        raise ValueError(f"row {list(wrong[0])} has {len(wrong[0])} cells, expected {len(head)}")
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def signed(value: float, digits: int = 2) -> str:
    """Returns a number with its sign, such as +0.16; never -0.00."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"  # + 0.0 turns -0.0 into 0.0


def p_value(value: float) -> str:
    """Returns a p-value as papers print it."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def score(value: float | None) -> str:
    """Returns a measure between 0 and 1 with three digits, a dash where there is none."""
    return "–" if value is None else f"{value:.3f}"


def percent(share: float, digits: int = 2) -> str:
    """Returns a share as a percentage, rounded down: 98.999% is not 99%."""
    return f"{math.floor(100 * share * 10**digits + 1e-6) / 10**digits:.{digits}f}%"


def loss(share: float) -> str:
    """Returns a relative loss as a percentage with its sign: +3.5% where tuned is worse, -1.2% where it gained."""
    return f"{signed(100 * share, 1)}%"


def number(value: object) -> str:
    """Returns a figure of a receipt: a number with grouped thousands, yes or no, escaped text, or none where null.

    Floats have at most six digits after the point, three significant ones below 0.0001.
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        tiny = 0 < abs(value) < 1e-4
        return f"{value:.3g}" if tiny else f"{value:,.6f}".rstrip("0").rstrip(".")
    return plain(str(value))


def words(key: str) -> str:
    """Returns a receipt's key in words: "near queries" for n_near_queries."""
    return plain(key.removeprefix("n_").replace("_", " ").replace(".", ": "))


def render(template: str, **values: Any) -> str:  # noqa: ANN401
    """Renders a template of this package; raises jinja2.UndefinedError if a value is missing."""
    # no HTML escaping: the page is Markdown, and templates escape texts with `plain`
    environment = Environment(autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {f.__name__: f for f in (loss, number, p_value, percent, plain, score, signed, words, zip)}
    environment.globals["plain"] = plain
    source = (files(__package__) / "templates" / template).read_text(encoding="utf-8")
    page = environment.from_string(source).render(values)
    return re.sub(r"\n{3,}", "\n\n", page).strip() + "\n"
