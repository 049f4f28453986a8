"""HTML from templates in which every text is escaped: what looks like markup in a document is shown, never obeyed."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from attune.evaluation.report.markdown import number, p_value, percent, score, signed

# The page and what it is put together from (named here, so that the stage depends on them).
PAGE = "page.html.j2"
PARTS = ("page.css", "page_macros.html.j2", "page_scores.html.j2", "page_panels.html.j2", "page_sources.html.j2")


def excerpt(text: str, limit: int) -> str:
    """A text on one line, without control characters, cut to `limit` characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def passage(text: str, limit: int) -> str:
    """A text with its lines and indents, without other control characters, cut to `limit` characters."""
    lines = ["".join(c if c.isprintable() else " " for c in line.expandtabs(4)).rstrip() for line in text.splitlines()]
    kept = [line for place, line in enumerate(lines) if line or (place and lines[place - 1])]
    told = "\n".join(kept).strip("\n")
    return told if len(told) <= limit else told[: limit - 1].rstrip() + "…"


def figure(value: object) -> str:
    """A figure of a receipt or a parameter: numbers grouped and rounded, anything else as it is."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(map(figure, value)) or "none"
    return number(value) if isinstance(value, bool | int | float) else "none" if not value else str(value)


def spoken(key: str) -> str:
    """A key in words: n_near_queries is "near queries"."""
    return key.removeprefix("n_").replace("_", " ").replace(".", ": ")


def megabytes(n_bytes: int) -> str:
    """A size as people say it."""
    return f"{n_bytes / 1e6:,.1f} MB" if n_bytes >= 1e5 else f"{n_bytes / 1e3:,.1f} kB"


def render_page(**values: Any) -> str:  # noqa: ANN401
    """The page, filled in; a value that it lacks is an error, not a blank."""
    environment = Environment(
        autoescape=True,
        loader=PackageLoader(__package__),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (excerpt, figure, megabytes, number, p_value, passage, percent, score, signed, spoken, zip)
    environment.filters |= {f.__name__: f for f in filters}
    return environment.get_template(PAGE).render(values)
