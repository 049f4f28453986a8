"""The demo's page, rendered here and sent without any script; a document's text cannot become markup."""

import textwrap
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from attune.cli.demo.comparison import MAX_QUERY, Comparison, direction, moved
from attune.cli.demo.examples import ChangedQueries

SHOWN = 180  # characters of a text before it is unfolded
TEMPLATES = files(__package__) / "templates"
STYLE = (TEMPLATES / "demo.css").read_text(encoding="utf-8")


def start_of(text: str) -> str:
    """The first words of a text, on one line."""
    return textwrap.shorten(text, SHOWN, placeholder=" …")


def breakable(name: str) -> Markup:
    """A dotted name that a narrow column may break after a dot rather than within a word; everything is escaped."""
    return Markup(".<wbr>").join(name.split("."))


_ENVIRONMENT = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
_ENVIRONMENT.globals |= {
    "moved": moved,
    "direction": direction,
    "start_of": start_of,
    "breakable": breakable,
    "max_query": MAX_QUERY,
}
_PAGE = _ENVIRONMENT.from_string((TEMPLATES / "demo.html.j2").read_text(encoding="utf-8"))


def render(
    changed: ChangedQueries, n_examples: int, n_documents: int, comparison: Comparison | None = None, problem: str = ""
) -> str:
    """The page: a search box, then results side by side if there are any, then queries to try."""
    return _PAGE.render(
        changed=changed,
        n_examples=n_examples,
        n_documents=n_documents,
        query=comparison.query if comparison else "",
        found=comparison,
        problem=problem,
        tested=changed.find(comparison.query) if comparison else None,
    )
