"""What people say of functions that others wrote: the See Also sections of docstrings as queries for what they name.

A docstring's own first sentence shares its author's words with the code below it; a line about it elsewhere was written
by somebody else, for somebody who looks for something near. A line counts if its name can only mean one document.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import dedent
from typing import NamedTuple

from attune.data.sources.packages.flaws import sentence_flaw
from attune.data.sources.packages.installed import Source
from attune.data.sources.packages.public_names import PublicNames
from attune.data.sources.packages.sentences import sentences
from attune.data.sources.raw import Document, Qrel, Query

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


# Says how something differs from what the reader has before him, who is not there when it is asked.
_LEANS_ON_READER = re.compile(
    r"\b(this|these|similar|analogous|analog of|counterpart|alternate|alternative|variant|version|related|alias|newer"
    r"|faster|wraps|implementation of|the function that|the equivalent"
    r"|equivalent (array|attribute|class|for|function|in|method|numpy|of|on|to|ufunc)|(ufunc|method) equivalent"
    r"|same (as|behaviou?r|for|function|functionality|method|operation|thing)|inverse (function|method|operation)"
    r"|(inverse|opposite) of [\w.]+$|^for (details|further|more)|^(an? )?more \w+)\b",
    re.IGNORECASE,
)


class Mention(NamedTuple):
    """A name in a See Also section: where it stands, the modules and classes around it, and what is said of it."""

    place: str  # as in document ids
    scopes: tuple[str, ...]
    name: str
    description: str


@dataclass(frozen=True)
class PackageMentions:
    """What a package mentions, and what is needed to find what is mentioned in it."""

    names: PublicNames
    file_of: Mapping[str, str]
    mentions: list[Mention]


@dataclass(frozen=True)
class Rules:
    """How long a paraphrase may be, and of how many documents it may be said."""

    min_query_words: int
    max_query_words: int
    max_documents_per_query: int


def mentions_of(sources: Sequence[Source], names: PublicNames) -> PackageMentions:
    """All that the docstrings of a package say of others."""
    found = [mention for source in sources for mention in _mentions(source, names)]
    return PackageMentions(names, {source.module.name: source.file for source in sources}, found)


def _mentions(source: Source, names: PublicNames) -> Iterator[Mention]:
    for definition in source.definitions:
        module = source.module.name
        around = [names.of(module, definition.qualname) or "", f"{module}.{definition.qualname}"]
        scopes = tuple(dict.fromkeys(scope for dotted in around for scope in _prefixes(dotted)))
        for entry in see_also(definition.docstring):
            for name in entry.names:
                yield Mention(f"{source.file}::{definition.qualname}", scopes, name, entry.description)


def _prefixes(dotted: str) -> list[str]:
    """Of `a.b.c` a.b.c, a.b and a; nothing of ""."""
    parts = dotted.split(".") if dotted else []
    return [".".join(parts[:n]) for n in range(len(parts), 0, -1)]


def paraphrases(
    packages: Iterable[PackageMentions], documents: Sequence[Document], rules: Rules, dropped: Counter[str]
) -> tuple[list[Query], list[Qrel]]:
    """One query for each mention of a document that says enough of it; what is left out is counted by reason."""
    packages = list(packages)
    find = Finder(packages, documents)
    titles = {document.document_id: document.title for document in documents}
    found: dict[str, tuple[str, str]] = {}
    for mention in (mention for package in packages for mention in package.mentions):
        document_id = find.only(mention)
        text = (sentences(mention.description) or [""])[0]
        flaw = "unresolved" if document_id is None else _flaw(mention, text, titles[document_id], rules)
        if flaw is None and document_id is not None:
            found.setdefault(f"{mention.place}#see_also:{mention.name}", (text, document_id))
        else:
            dropped[f"paraphrase_{flaw}"] += 1
    return _specific(found, rules.max_documents_per_query, dropped)


def _flaw(mention: Mention, text: str, title: str, rules: Rules) -> str | None:
    """A reason not to ask the text, the first sentence of the description, for the document of this title."""
    name = title.rpartition(".")[2]
    if _LEANS_ON_READER.search(text):
        return "incomplete"
    if re.search(rf"[`'\"(.]{re.escape(name)}[`'\"(]", mention.description):
        return "gives_name"
    return sentence_flaw(text, name, True, rules.min_query_words, rules.max_query_words)


def _specific(
    found: Mapping[str, tuple[str, str]], max_documents: int, dropped: Counter[str]
) -> tuple[list[Query], list[Qrel]]:
    """What is not said of more documents than make sense as the answers to one question."""
    n_documents = Counter(text.casefold() for text, _ in {(t.casefold(), id_) for t, id_ in found.values()})
    kept = {id_: row for id_, row in found.items() if n_documents[row[0].casefold()] <= max_documents}
    dropped["paraphrase_generic"] += len(found) - len(kept)
    queries = [Query(query_id, text) for query_id, (text, _) in kept.items()]
    return queries, [Qrel(query_id, document_id, 1) for query_id, (_, document_id) in kept.items()]


class Finder:
    """Which document a name means, in the scopes where it stands, across all packages."""

    def __init__(self, packages: Sequence[PackageMentions], documents: Sequence[Document]) -> None:
        self._by_title = {document.title: document.document_id for document in documents}
        self._ids = set(self._by_title.values())
        self._packages = packages

    def only(self, mention: Mention) -> str | None:
        """The one document that a mention can mean; None if there is none, several, or only the place itself."""
        dotted = [mention.name, *(f"{scope}.{mention.name}" for scope in mention.scopes)]
        found = {document_id for name in dotted if (document_id := self._document(name)) is not None}
        return found.pop() if len(found) == 1 and mention.place not in found else None

    def _document(self, dotted: str) -> str | None:
        """The document of a full dotted name: by its title, or by where imports and base classes lead."""
        if dotted in self._by_title:
            return self._by_title[dotted]
        for package in self._packages:
            for module, qualname in package.names.places(dotted):
                document_id = f"{package.file_of[module]}::{qualname}"
                if document_id in self._ids:
                    return document_id
        return None
