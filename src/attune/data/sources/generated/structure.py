"""Queries from document structure: a title or heading is the query for the text below it.

Without a usable heading, the first sentence is the query for the rest of the text.

Titles as queries are much of the pre-training data of E5 (Wang et al. 2022, arXiv 2212.03533); a sentence taken out of
its passage is the inverse cloze task (Lee et al. 2019, arXiv 1906.00300). All occurrences of the query are removed from
the document, or the task would be to find the same words again; a heading also from the titles of the sections below
it. A document without a good query stays unchanged, as a distractor.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace
from typing import NamedTuple

from attune.data.sources.documents import Entry, plain_text
from attune.data.sources.raw import Document, Qrel, Query, RawData
from attune.retrieval.words import SPACELESS, n_words

_LETTER = rf"[^\W{SPACELESS}]"
_ABBREVIATIONS = "e.g i.e vs cf al etc Fig No Dr Mr Mrs Ms Prof St".split()
_NOT_AFTER = "".join(rf"(?<!\b{re.escape(abbreviation)})" for abbreviation in _ABBREVIATIONS) + r"(?<!\b[A-Z])"
# the end of a paragraph, or a full stop before a space and no lower-case letter
_END = re.compile(rf"\n\s*\n|{_NOT_AFTER}[.!?…]+[\"'”’)\]]*(?=\s+[^\sa-z])|[。！？]+[」』”]*")
# beginnings of code, tables, HTML, images, lists, quotations and prompts
_NO_PROSE = re.compile(r"```|~~~|\||<|!\[|[-*+•] |#|>|\$ |\{|\d+[.)] ")
_BETWEEN_HEADINGS = re.compile(r"(?<!\S)>(?!\S)")
_TIMES = 3  # removing an occurrence can join its surroundings into another one
_WORDS = re.compile(r"[^\W_]+")
_NUMBER = re.compile(r"^(\d+\.)+\d*\)?\s+")  # number of a heading: 3. or 3.4 or 3.4.1.
_BARE = re.compile(rf"[{SPACELESS}]|[^\W_{SPACELESS}]+")
_MAX_SENTENCE = 4000  # characters within which a first sentence must end
_STOPS = " \t\n.,:;…。、"


@dataclass(frozen=True)
class QueryRules:
    """Filters of queries; each field is the parameter of its name in section collect."""

    min_query_words: int  # also the fewest words that must remain of the document
    max_query_words: int
    max_documents_per_query: int  # a query of more documents is too general


class QueryCandidate(NamedTuple):
    """A query and the place in its document that it was taken from."""

    query: str
    title: str  # the rest of the title
    start: int  # offset of the rest of the text


def queries_from_structure(entries: Sequence[Entry], rules: QueryRules) -> RawData:
    """Makes at most one query of each document; all documents stay, in their order and with their ids.

    `dropped` counts the documents without a query, by the flaw of their first candidate.
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
    query_texts = {_bare(query.text) for query in raw.queries}
    documents = [_without_query_headings(d, e, query_texts) for d, e in zip(raw.documents, entries, strict=True)]
    return replace(raw, documents=documents)


def generic(queries: Iterable[str], rules: QueryRules) -> set[str]:
    """Returns the queries, case-folded, of more than `max_documents_per_query` documents."""
    counts = Counter(query.casefold() for query in queries)
    return {query for query, n in counts.items() if n > rules.max_documents_per_query}


def add(raw: RawData, entry: Entry, query: str) -> None:
    """Adds a document and its query, unless that is ""."""
    document_id = entry.document.document_id
    raw.documents.append(entry.document)
    if query:
        raw.queries.append(Query(f"{document_id}#query", query, entry.group, entry.stratum))
        raw.qrels["all"].append(Qrel(f"{document_id}#query", document_id, 1))


def _candidates(entry: Entry) -> list[QueryCandidate]:
    """Returns the heading, if any, then the first sentence."""
    _, title, text = entry.document
    beginning = text[:_MAX_SENTENCE]
    end = _END.search(beginning, len(beginning) - len(beginning.lstrip()))
    sentence = beginning[: end.end()] if end else beginning
    query = plain_text(sentence) if entry.is_markdown and not _NO_PROSE.match(sentence.lstrip()) else sentence
    first_sentence = QueryCandidate(_line(query), title, len(sentence))
    if not entry.heading.strip():
        return [first_sentence]
    heading = _NUMBER.sub("", entry.heading) if entry.is_markdown else entry.heading
    return [QueryCandidate(_line(heading), title.removesuffix(entry.heading), 0), first_sentence]


def _line(text: str) -> str:
    return " ".join(text.split()).rstrip(_STOPS)


def _flaw(query: str, document: Document, shared: Set[str], rules: QueryRules) -> str | None:
    """Returns a reason to drop a query for the rest of its document, or None."""
    flaws = {
        "no_prose": _NO_PROSE.match(query) or not any(map(str.isalpha, query)),
        "short": n_words(query) < rules.min_query_words,
        "long": n_words(query) > rules.max_query_words,
        "generic": query.casefold() in shared,
        "leaves_too_little": n_words(document.text) < rules.min_query_words,
        "repeated": _bare(query) in _bare(f"{document.title} {document.text}"),
    }
    return next((flaw for flaw, applies in flaws.items() if applies), None)


def _without_query(document: Document, candidate: QueryCandidate) -> Document:
    """Removes the query from its document: the place it was taken from, and all repetitions."""
    title = _without(document.title if candidate.start else candidate.title, candidate.query)
    parts = (part.strip() for part in _BETWEEN_HEADINGS.split(title))
    text = _without(document.text[candidate.start :], candidate.query)
    if text != document.text:
        text = text.lstrip(_STOPS).rstrip()
    return document._replace(title=" > ".join(filter(None, parts)), text=text)


def _without(text: str, query: str) -> str:
    """Removes the words of the query from a text, in any case and with any white space and punctuation between them."""
    words = _WORDS.findall(query)
    if not words:
        return text
    start, end = (_LETTER if re.match(_LETTER, edge) else "(?!)" for edge in (words[0][0], words[-1][-1]))
    pattern = rf"(?<!{start})" + r"[\W_]+".join(map(re.escape, words)) + rf"(?!{end})[.!?…。]*"
    for _ in range(_TIMES):
        text = re.sub(pattern, " ", text, flags=re.IGNORECASE)
    return text


def _bare(text: str) -> str:
    """Returns the words of a text, case-folded, each between two spaces, without punctuation."""
    return f" {' '.join(_BARE.findall(text.casefold()))} "


def _without_query_headings(document: Document, entry: Entry, query_texts: Set[str]) -> Document:
    """Drops from a section's title every parent heading that became a query.

    That query would find this section, which is not judged relevant.
    """
    if not entry.is_markdown:
        return document
    parts = document.title.split(" > ")
    kept = [part for part in parts if part == entry.heading or _bare(_NUMBER.sub("", part)) not in query_texts]
    return document._replace(title=" > ".join(kept))
