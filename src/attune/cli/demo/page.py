"""HTML of the demo's search page: rendered on the server, all texts escaped; a script only for the static encoder."""

from importlib.resources import files

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from attune.cli.demo.comparison import MAX_QUERY
from attune.cli.demo.examples import QueryChanges
from attune.cli.demo.hits import PairedHits, direction, rank_change
from attune.evaluation.report.excerpts import cut, line

MAX_SHOWN = 180  # characters of a text before it is unfolded
TEMPLATES = files(__package__) / "templates"
STYLE = (TEMPLATES / "demo.css").read_text(encoding="utf-8")
SCRIPTS = {name: (TEMPLATES / name).read_text(encoding="utf-8") for name in ("demo.js", "static_encoder.js")}


def start_of(text: str) -> str:
    """Returns the beginning of a text on one line."""
    return cut(line(text), MAX_SHOWN)


def breakable(name: str) -> Markup:
    """Escapes a dotted name and lets a narrow column break it after a dot rather than within a word."""
    return Markup(".<wbr>").join(name.split("."))


_NAMES = ("demo.html.j2", "hits.html.j2")
_LOADER = DictLoader({name: (TEMPLATES / name).read_text(encoding="utf-8") for name in _NAMES})
_ENVIRONMENT = Environment(
    autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=_LOADER
)
_ENVIRONMENT.globals |= {
    "rank_change": rank_change,
    "direction": direction,
    "start_of": start_of,
    "breakable": breakable,
    "max_query": MAX_QUERY,
}
_PAGE, _HITS = (_ENVIRONMENT.get_template(name) for name in _NAMES)


def render(
    changes: QueryChanges,
    n_examples: int,
    n_documents: int,
    paired: PairedHits | None = None,
    problem: str = "",
    other: str = "tuned",
    has_script: bool = False,
) -> str:
    """Renders the page: a search box, the hits of both systems if there are any, then example queries.

    Args:
        changes: test queries that tuning changed.
        n_examples: test queries shown of each kind.
        n_documents: size of the corpus.
        paired: hits of the query; None before a search.
        problem: message about a query that was refused.
        other: name of the system beside base.
        has_script: whether a script encodes the query on the page, too.
    """
    return _PAGE.render(
        changes=changes,
        n_examples=n_examples,
        n_documents=n_documents,
        query=paired.query if paired else "",
        paired=paired,
        problem=problem,
        other=other,
        has_script=has_script,
        test_query=changes.find(paired.query) if paired else None,
    )


def render_hits(found: PairedHits) -> str:
    """Renders the hits of the only system, as a part of the page."""
    return _HITS.render(hits=found.systems[0].hits, depth=found.depth)
