"""Markdown cut at its headings: each section is a document, and its heading is what somebody might ask.

Headings are found by a CommonMark parser, because `# ...` in a code block is a comment and a line can also be made a
heading by underlining it. Front matter (`---`, YAML, `---`) is no text; its title, if any, stands above all headings.
"""

import re
from itertools import pairwise
from typing import NamedTuple

from markdown_it import MarkdownIt

_FRONT = re.compile(r"\A---[ \t]*\n(\w[\w.-]*[ \t]*:.*?\n)(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_FRONT_TITLE = re.compile(r"^title[ \t]*:[ \t]*([\"']?)(.+?)\1[ \t]*$", re.MULTILINE)
_LONGEST = 1000  # characters of a heading; no query is longer, and brackets without end take their time
_LINE_END = re.compile(r"\r\n?")
_PARSER = MarkdownIt("commonmark")
_BLOCKS = MarkdownIt("commonmark").disable(["inline", "text_join"])  # which line is a heading, and nothing finer


class Section(NamedTuple):
    """The headings above a text, outermost first, and the text itself, in Markdown."""

    headings: tuple[str, ...]
    text: str


def sections(markdown: str) -> list[Section]:
    """All sections in order, first what stands before any heading (often nothing); texts may be blank.

    A section ends at the next heading of whatever level, so no text is in two of them.
    """
    text = _LINE_END.sub("\n", markdown)
    front = _FRONT.match(text)
    title = _FRONT_TITLE.search(front[1]) if front else None
    text = text[front.end() :] if front else text
    lines = text.split("\n")
    path: dict[int, str] = {0: title[2]} if title else {}
    found: list[Section] = []
    start = 0
    for level, heading, first, end in _headings(text):
        found.append(_section(path, lines[start:first]))
        path = {above: name for above, name in path.items() if above < level} | {level: heading}
        start = end
    return [*found, _section(path, lines[start:])]


def _section(path: dict[int, str], lines: list[str]) -> Section:
    return Section(tuple(name for name in path.values() if name), "\n".join(lines).strip())


def _headings(text: str) -> list[tuple[int, str, int, int]]:
    """Level (1 to 6), plain text, first line and the line after, of each heading that is in no list or quotation."""
    return [
        (int(token.tag[1]), plain_text(content.content[:_LONGEST]), token.map[0], token.map[1])
        for token, content in pairwise(_BLOCKS.parse(text))
        if token.type == "heading_open" and token.level == 0 and token.map
    ]


def plain_text(markdown: str) -> str:
    """One paragraph or heading as a person reads it: without emphasis, link targets, images and HTML; on one line."""
    tokens = _PARSER.parseInline(markdown)[0].children or []
    breaks = {"softbreak": " ", "hardbreak": " "}
    pieces = (
        breaks.get(t.type, t.content if t.type in {"text", "code_inline", "text_special"} else "") for t in tokens
    )
    return " ".join("".join(pieces).split())
