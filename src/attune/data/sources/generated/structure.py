"""Queries from what documents are made of: a title or heading asks for its text, else the first sentence for the rest.

Titles as queries are much of what E5 was trained on (Wang et al. 2022, arXiv 2212.03533); a sentence taken out of its
passage is the inverse cloze task (Lee et al. 2019, arXiv 1906.00300). What became a query is taken out of the document
wherever it stands there, or the task would be to find the same words again; a heading also out of the titles of the
sections below. A document that gives no good query stays as it is, to be found by others or by none.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

from attune.data.sources.documents import Entry, plain_text
from attune.data.sources.raw import Document, Qrel, Query, RawData

# Chinese and Japanese put no space between words: each of their characters counts as one.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_LETTER = rf"[^\W{_UNSPACED}]"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}][^\s{_UNSPACED}]*")  # `a.b` and `don't` are one
_ABBREVIATIONS = "e.g i.e vs cf al etc Fig No Dr Mr Mrs Ms Prof St".split()
_NOT_AFTER = "".join(rf"(?<!\b{re.escape(abbreviation)})" for abbreviation in _ABBREVIATIONS) + r"(?<!\b[A-Z])"
# The end of a paragraph, or a stop with a space and no small letter behind it.
_END = re.compile(rf"\n\s*\n|{_NOT_AFTER}[.!?…]+[\"'”’)\]]*(?=\s+[^\sa-z])|[。！？]+[」』”]*")
# Code, tables, HTML, pictures, lists, quotations, prompts: no sentence starts so.
_NO_PROSE = re.compile(r"```|~~~|\||<|!\[|[-*+•] |#|>|\$ |\{|\d+[.)] ")
_BETWEEN_HEADINGS = re.compile(r"(?<!\S)>(?!\S)")
_TIMES = 3  # a repetition is looked for again, since what closes up may be the query once more
_WORDS = re.compile(r"[^\W_]+")
_NUMBER = re.compile(r"^(\d+\.)+\d*\)?\s+")  # of a heading: 3. or 3.4 or 3.4.1.
_BARE = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_LONGEST = 4000  # characters in which a first sentence has to end
_STOPS = " \t\n.,:;…。、"


@dataclass(frozen=True)
class QueryRules:
    """What a made query has to be; each field is the parameter of its name."""

    min_query_words: int  # also what has to be left of the document
    max_query_words: int
    max_documents_per_query: int  # what asks for more documents is too general


class Candidate(NamedTuple):
    """A query, and the place in its document that it was taken from."""

    query: str
    title: str  # what is left of the title
    start: int  # where what is left of the text starts


def queries_from_structure(entries: Sequence[Entry], rules: QueryRules) -> RawData:
    """Makes at most one query of each document; all documents stay, in their order and with their ids.

    `dropped` counts the documents without a query, by the flaw of the first one that was tried.
    """
    tried = [_candidates(entry) for entry in entries]
    shared = generic([candidate.query for candidates in tried for candidate in candidates], rules)
    raw = RawData([], [], {"all": []})
    for entry, candidates in zip(entries, tried, strict=True):
        flaws = []
        for candidate in candidates:
            document = _without_query(entry.document, candidate)
            flaw = _flaw(candidate.query, document, shared, rules)
            if flaw is None:
                add(raw, entry._replace(document=document), candidate.query)
                break
            flaws.append(flaw)
        else:
            add(raw, entry, "")
            raw.dropped[f"query_{flaws[0]}"] += 1
    asked = {_bare(query.text) for query in raw.queries}
    documents = [_below_asked(d, entry, asked) for d, entry in zip(raw.documents, entries, strict=True)]
    return replace(raw, documents=documents)


def generic(queries: Iterable[str], rules: QueryRules) -> set[str]:
    """The queries, case-folded, that more documents give than make sense as the answers to one question."""
    counts = Counter(query.casefold() for query in queries)
    return {query for query, n in counts.items() if n > rules.max_documents_per_query}


def add(raw: RawData, entry: Entry, query: str) -> None:
    """Adds a document and, unless it is "", its query."""
    document_id = entry.document.document_id
    raw.documents.append(entry.document)
    if query:
        raw.queries.append(Query(f"{document_id}#query", query, entry.group, entry.stratum))
        raw.qrels["all"].append(Qrel(f"{document_id}#query", document_id, 1))


def n_words(text: str, enough: int | None = None) -> int:
    """The number of words; counts no further than `enough`."""
    return sum(1 for _ in islice(_WORD.finditer(text), enough))


def _candidates(entry: Entry) -> list[Candidate]:
    """The heading, then the first sentence."""
    _, title, text = entry.document
    beginning = text[:_LONGEST]
    end = _END.search(beginning, len(beginning) - len(beginning.lstrip()))
    sentence = beginning[: end.end()] if end else beginning
    query = plain_text(sentence) if entry.is_markdown and not _NO_PROSE.match(sentence.lstrip()) else sentence
    asked = Candidate(_line(query), title, len(sentence))
    if not entry.heading.strip():
        return [asked]
    heading = _NUMBER.sub("", entry.heading) if entry.is_markdown else entry.heading
    return [Candidate(_line(heading), title.removesuffix(entry.heading), 0), asked]


def _line(text: str) -> str:
    return " ".join(text.split()).rstrip(_STOPS)


def _flaw(query: str, document: Document, shared: Set[str], rules: QueryRules) -> str | None:
    """A reason not to ask the query for the rest of its document, or None."""
    flaws = {
        "no_prose": _NO_PROSE.match(query) or not any(map(str.isalpha, query)),
        "short": n_words(query) < rules.min_query_words,
        "long": n_words(query) > rules.max_query_words,
        "generic": query.casefold() in shared,
        "leaves_too_little": n_words(document.text, rules.min_query_words) < rules.min_query_words,
        "repeated": _bare(query) in _bare(f"{document.title} {document.text}"),
    }
    return next((flaw for flaw, found in flaws.items() if found), None)


def _without_query(document: Document, candidate: Candidate) -> Document:
    """The document without the place that the query was taken from, and without all that repeats it."""
    title = _without(document.title if candidate.start else candidate.title, candidate.query)
    parts = (part.strip() for part in _BETWEEN_HEADINGS.split(title))
    text = _without(document.text[candidate.start :], candidate.query)
    if text != document.text:
        text = text.lstrip(_STOPS).rstrip()
    return document._replace(title=" > ".join(filter(None, parts)), text=text)


def _without(text: str, query: str) -> str:
    """The text without the words of the query, in whatever case and with whatever space and marks between them."""
    words = _WORDS.findall(query)
    if not words:
        return text
    start, end = (_LETTER if re.match(_LETTER, edge) else "(?!)" for edge in (words[0][0], words[-1][-1]))
    pattern = rf"(?<!{start})" + r"[\W_]+".join(map(re.escape, words)) + rf"(?!{end})[.!?…。]*"
    for _ in range(_TIMES):
        text = re.sub(pattern, " ", text, flags=re.IGNORECASE)
    return text


def _bare(text: str) -> str:
    """The words alone, case-folded, each with a space before and after: what is left of a text without its marks."""
    return f" {' '.join(_BARE.findall(text.casefold()))} "


def _below_asked(document: Document, entry: Entry, asked: Set[str]) -> Document:
    """The section without the headings above it that became queries: they would find it, and it is not their answer."""
    if not entry.is_markdown:
        return document
    parts = document.title.split(" > ")
    kept = [part for part in parts if part == entry.heading or _bare(_NUMBER.sub("", part)) not in asked]
    return document._replace(title=" > ".join(kept))
