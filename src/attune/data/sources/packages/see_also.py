"""What docstrings say of others: the entries of their See Also sections, in numpydoc's format.

A section is a list of entries, `name : description` or `name, name : description`, where a name may stand in backticks
behind a role, and a description may go on in deeper lines. What one author says there of another's function is a
paraphrase of what that function says of itself. The format's own parser comes with Sphinx and refuses whole docstrings
over one slip, so these lines are read here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import dedent

_TITLE = re.compile(r"see also:?", re.IGNORECASE)
_UNDERLINE = re.compile(r"([-=~^])\1{2,}")
_NAME = r"(?:(?::[\w:]+:)?`{1,2}[^`]+`{1,2}|~?\w[\w.]*(?:\(\))?)"
_ENTRY = re.compile(rf"({_NAME}(?:\s*,\s*{_NAME})*),?\s*(?::(?!\w*`)\s*(.*)|(?:--?|—)\s+(.*))?")
_ONE_NAME = re.compile(_NAME)
_ROLE = re.compile(r"^:[\w:]+:")
_TARGET = re.compile(r"<([^<>]+)>$")


@dataclass(frozen=True)
class Entry:
    """One line of a See Also section: the names as they stand there, without markup, and what is said of them."""

    names: tuple[str, ...]
    description: str


def see_also(docstring: str) -> list[Entry]:
    """The entries with a description, in their order; nothing where there is no such section."""
    return [entry for entry in _entries(_section(docstring)) if entry.description]


def _section(docstring: str) -> list[str]:
    """The lines below the section's underlined title, up to the next one's; without their common indentation."""
    first, _, rest = docstring.expandtabs().partition("\n")
    lines = [first.strip(), *dedent(rest).splitlines()]
    titles = [n for n in range(len(lines) - 1) if lines[n].strip() and _UNDERLINE.fullmatch(lines[n + 1].strip())]
    for place, number in enumerate(titles):
        if _TITLE.fullmatch(lines[number].strip()):
            end = titles[place + 1] if place + 1 < len(titles) else len(lines)
            return dedent("\n".join(lines[number + 2 : end])).splitlines()
    return []


def _entries(lines: list[str]) -> Iterator[Entry]:
    """Lines that begin at the margin begin an entry; what is deeper goes on with the one before."""
    names: tuple[str, ...] = ()
    description: list[str] = []
    for line in [*lines, "end"]:
        if line[:1].isspace():
            description.append(line.strip())
        elif line:
            if names:
                yield Entry(names, " ".join(description).strip())
            found = _ENTRY.fullmatch(line.rstrip())
            names = tuple(map(_bare, _ONE_NAME.findall(found[1]))) if found else ()
            description = [found[2] or found[3] or ""] if found else []


def _bare(name: str) -> str:
    """`:func:`~numpy.mean`` and `mean <numpy.mean>` are both numpy.mean."""
    text = _ROLE.sub("", name).strip("`~").removesuffix("()")
    target = _TARGET.search(text)
    return target[1] if target else text
