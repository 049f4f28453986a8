"""Markdown pages from templates, in which no text from the data can break a table, become markup or smuggle in HTML."""

import html
import math
import re
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

INLINE = re.compile(r"([\\`*_\[\]|~$])")
LEADING = re.compile(r"^(\d*)([#+\-=.)])")  # a heading, a list or a rule, if it came first on a line


def plain(text: str, limit: int = 100) -> str:
    """A text on one line, cut to `limit` characters, with every character escaped that Markdown or HTML would obey."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(line) > limit:
        line = line[: limit - 1].rstrip() + "…"
    return LEADING.sub(r"\1\\\2", INLINE.sub(r"\\\1", html.escape(line, quote=False)))


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign, such as +0.16; what rounds to nothing is +0.00."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"  # + 0.0 turns -0.0 into 0.0


def p_value(value: float, floor: float = 0.0) -> str:
    """A p-value as papers print it; one at the floor, below which the test finds none, is an upper bound."""
    if value < 0.001:
        return "p < 0.001"
    if value <= floor + 5e-7:  # files hold six digits
        return f"p ≤ {math.ceil(1000 * value - 1e-6) / 1000:.3f}"
    return f"p = {value:.3f}"


def score(value: float) -> str:
    """A measure between 0 and 1 to three digits."""
    return f"{value:.3f}"


def percent(share: float, digits: int = 2) -> str:
    """A share as a percentage, cut rather than rounded up: 98.999% is not yet 99%."""
    return f"{math.floor(100 * share * 10**digits + 1e-6) / 10**digits:.{digits}f}%"


def number(value: object) -> str:
    """A figure of a receipt: thousands grouped, six digits after the point (three of a tiny one); else plain text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        tiny = 0 < abs(value) < 1e-4
        return f"{value:.3g}" if tiny else f"{value:,.6f}".rstrip("0").rstrip(".")
    return plain(str(value))


def words(key: str) -> str:
    """A receipt's key in words: n_near_queries is "near queries"."""
    return plain(key.removeprefix("n_").replace("_", " ").replace(".", ": "))


def render(template: str, **values: Any) -> str:  # noqa: ANN401
    """Fills in a template of this package; a value that it lacks is an error, not a blank."""
    # HTML escaping off: the page is Markdown, and texts go through `plain`
    environment = Environment(autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {f.__name__: f for f in (number, p_value, percent, plain, score, signed, words, zip)}
    environment.globals["plain"] = plain
    source = (files(__package__) / "templates" / template).read_text(encoding="utf-8")
    page = environment.from_string(source).render(values)
    return re.sub(r"\n{3,}", "\n\n", page).strip() + "\n"
