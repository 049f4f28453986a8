"""Paraphrases from See Also sections: the description of a name in one docstring is a query for what the name means.

A docstring's first sentence shares its author's words with the code below it; a description elsewhere was written by
another person, for a reader who looks for something similar. It counts if its name resolves to exactly one document.
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
class SeeAlso:
    """An entry of a See Also section: its names, without markup, and their description."""

    names: tuple[str, ...]
    description: str


def see_also(docstring: str) -> list[SeeAlso]:
    """Returns the entries with a description, in their order; none where there is no such section."""
    return [entry for entry in _entries(_section(docstring)) if entry.description]


def _section(docstring: str) -> list[str]:
    """Returns the lines between the section's underlined title and the next one, without common indentation."""
    first, _, rest = docstring.expandtabs().partition("\n")
    lines = [first.strip(), *dedent(rest).splitlines()]
    titles = [n for n in range(len(lines) - 1) if lines[n].strip() and _UNDERLINE.fullmatch(lines[n + 1].strip())]
    for place, number in enumerate(titles):
        if _TITLE.fullmatch(lines[number].strip()):
            end = titles[place + 1] if place + 1 < len(titles) else len(lines)
            return dedent("\n".join(lines[number + 2 : end])).splitlines()
    return []


def _entries(lines: list[str]) -> Iterator[SeeAlso]:
    """Yields the entries: a line at the margin begins one, indented lines continue it."""
    names: tuple[str, ...] = ()
    description: list[str] = []
    for line in [*lines, "end"]:
        if line[:1].isspace():
            description.append(line.strip())
        elif line:
            if names:
                yield SeeAlso(names, " ".join(description).strip())
            match = _ENTRY.fullmatch(line.rstrip())
            names = tuple(map(_bare, _ONE_NAME.findall(match[1]))) if match else ()
            description = [match[2] or match[3] or ""] if match else []


def _bare(name: str) -> str:
    """Removes markup: `:func:`~numpy.mean`` and `mean <numpy.mean>` are both numpy.mean."""
    text = _ROLE.sub("", name).strip("`~").removesuffix("()")
    target = _TARGET.search(text)
    return target[1] if target else text


# words that compare with the function whose docstring this is, which a query does not name
_COMPARES = re.compile(
    r"\b(this|these|similar|analogous|analog of|counterpart|alternate|alternative|variant|version|related|alias|newer"
    r"|faster|wraps|implementation of|the function that|the equivalent"
    r"|equivalent (array|attribute|class|for|function|in|method|numpy|of|on|to|ufunc)|(ufunc|method) equivalent"
    r"|same (as|behaviou?r|for|function|functionality|method|operation|thing)|inverse (function|method|operation)"
    r"|(inverse|opposite) of [\w.]+$|^for (details|further|more)|^(an? )?more \w+)\b",
    re.IGNORECASE,
)


class Mention(NamedTuple):
    """A name in a See Also section: its place, the modules and classes around it, and its description."""

    place: str  # as in document ids
    scopes: tuple[str, ...]
    name: str
    description: str


@dataclass(frozen=True)
class PackageMentions:
    """The mentions in a package, and the names and files to resolve mentions of its own definitions."""

    names: PublicNames
    file_of: Mapping[str, str]
    mentions: list[Mention]


@dataclass(frozen=True)
class ParaphraseRules:
    """Bounds of a paraphrase's length in words, and of the number of documents that share it."""

    min_query_words: int
    max_query_words: int
    max_documents_per_query: int


def mentions_of(sources: Sequence[Source], names: PublicNames) -> PackageMentions:
    """Returns all mentions in the docstrings of a package."""
    mentions = [mention for source in sources for mention in _mentions(source, names)]
    return PackageMentions(names, {source.module.name: source.file for source in sources}, mentions)


def _mentions(source: Source, names: PublicNames) -> Iterator[Mention]:
    for definition in source.definitions:
        module = source.module.name
        around = [names.of(module, definition.qualname) or "", f"{module}.{definition.qualname}"]
        scopes = tuple(dict.fromkeys(scope for dotted in around for scope in _prefixes(dotted)))
        for entry in see_also(definition.docstring):
            for name in entry.names:
                yield Mention(f"{source.file}::{definition.qualname}", scopes, name, entry.description)


def _prefixes(dotted: str) -> list[str]:
    """Returns `a.b.c`, `a.b` and `a` for `a.b.c`; nothing for ""."""
    parts = dotted.split(".") if dotted else []
    return [".".join(parts[:n]) for n in range(len(parts), 0, -1)]


def paraphrases(
    packages: Iterable[PackageMentions], documents: Sequence[Document], rules: ParaphraseRules, dropped: Counter[str]
) -> tuple[list[Query], list[Qrel]]:
    """Returns one query for each mention of a document with a good description; counts the others by reason."""
    packages = list(packages)
    resolver = Resolver(packages, documents)
    titles = {document.document_id: document.title for document in documents}
    kept: dict[str, tuple[str, str]] = {}
    for mention in (mention for package in packages for mention in package.mentions):
        document_id = resolver.only(mention)
        text = (sentences(mention.description) or [""])[0]
        flaw = "unresolved" if document_id is None else _flaw(mention, text, titles[document_id], rules)
        if flaw is None and document_id is not None:
            kept.setdefault(f"{mention.place}#see_also:{mention.name}", (text, document_id))
        else:
            dropped[f"paraphrase_{flaw}"] += 1
    return _specific(kept, rules.max_documents_per_query, dropped)


def _flaw(mention: Mention, text: str, title: str, rules: ParaphraseRules) -> str | None:
    """Returns a reason to drop the description's first sentence as a query for the document of this title, or None."""
    name = title.rpartition(".")[2]
    if _COMPARES.search(text):
        return "incomplete"
    if re.search(rf"[`'\"(.]{re.escape(name)}[`'\"(]", mention.description):
        return "gives_name"
    return sentence_flaw(text, name, True, rules.min_query_words, rules.max_query_words)


def _specific(
    rows: Mapping[str, tuple[str, str]], max_documents: int, dropped: Counter[str]
) -> tuple[list[Query], list[Qrel]]:
    """Drops texts that describe more than `max_documents` documents."""
    n_documents = Counter(text.casefold() for text, _ in {(t.casefold(), id_) for t, id_ in rows.values()})
    kept = {id_: row for id_, row in rows.items() if n_documents[row[0].casefold()] <= max_documents}
    dropped["paraphrase_generic"] += len(rows) - len(kept)
    queries = [Query(query_id, text) for query_id, (text, _) in kept.items()]
    return queries, [Qrel(query_id, document_id, 1) for query_id, (_, document_id) in kept.items()]


class Resolver:
    """Resolves names, in the scopes of their mention, to documents of all packages."""

    def __init__(self, packages: Sequence[PackageMentions], documents: Sequence[Document]) -> None:
        self._by_title = {document.title: document.document_id for document in documents}
        self._ids = set(self._by_title.values())
        self._packages = packages

    def only(self, mention: Mention) -> str | None:
        """Returns the only document that a mention can mean; None for none, several, or the mentioning one itself."""
        dotted = [mention.name, *(f"{scope}.{mention.name}" for scope in mention.scopes)]
        ids = {document_id for name in dotted if (document_id := self._document(name)) is not None}
        return ids.pop() if len(ids) == 1 and mention.place not in ids else None

    def _document(self, dotted: str) -> str | None:
        """Returns the document of a full dotted name: by its title, or by following imports and base classes."""
        if dotted in self._by_title:
            return self._by_title[dotted]
        for package in self._packages:
            for module, qualname in package.names.places(dotted):
                document_id = f"{package.file_of[module]}::{qualname}"
                if document_id in self._ids:
                    return document_id
        return None
