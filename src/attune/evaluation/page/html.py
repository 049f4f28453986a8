"""Rendering of the HTML page; every text is escaped, so that markup in a document is shown as text."""

import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from attune.evaluation.report.excerpts import cut, isolated_words, line, visible
from attune.evaluation.report.markdown import loss, number, p_value, percent, score, signed

PAGE = "page.html.j2"


def excerpt(text: str, limit: int) -> str:
    """Returns a text on one line, without control characters, cut to `limit` characters."""
    return cut(line(text), limit)


def lead(text: str) -> str:
    """Returns the first sentences of a text: as many as make sixty characters."""
    return re.split(r"(?<=.{60}[.;]) ", text, maxsplit=1)[0].removesuffix(";")


def passage(text: str, limit: int) -> str:
    """Returns a text with its lines and indents, without other control characters, cut to `limit` characters."""
    lines = [visible(own.expandtabs(4)).rstrip() for own in text.splitlines()]
    kept = [own for place, own in enumerate(lines) if own or (place and lines[place - 1])]
    return cut("\n".join(kept).strip("\n"), limit)


def figure(value: object) -> str:
    """Returns a figure of a receipt or a parameter as text: numbers grouped and rounded, anything else unchanged."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(map(figure, value)) or "none"
    return number(value) if isinstance(value, bool | int | float) else "none" if not value else str(value)


def spoken(key: str) -> str:
    """Returns a key in words: "near queries" for n_near_queries."""
    return key.removeprefix("n_").replace("_", " ").replace(".", ": ")


def megabytes(n_bytes: int) -> str:
    """Returns a size in MB, or in kB below 0.1 MB."""
    return f"{n_bytes / 1e6:,.1f} MB" if n_bytes >= 1e5 else f"{n_bytes / 1e3:,.1f} kB"


def render_page(**values: Any) -> str:  # noqa: ANN401
    """Renders the page; raises jinja2.UndefinedError if a value is missing."""
    environment = Environment(
        autoescape=True,
        loader=PackageLoader(__package__),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (excerpt, figure, lead, loss, megabytes, number, p_value, passage, percent, score, signed, spoken, zip)
    environment.filters |= {f.__name__: f for f in (isolated_words, *filters)}
    return environment.get_template(PAGE).render(values)
