"""A corpus becomes a data set: queries made from structure, or written by a language model and then checked.

What a model writes is kept if it is a query at all and finds its own document again: the round trip of Alberti et al.
(2019, arXiv 1906.05416), which Promptagator (Dai et al. 2022, arXiv 2209.11755) shows to matter; the task itself is
InPars' (Bonifacio et al. 2022, arXiv 2202.05144). Ours goes by BM25, which needs no training, so it favours queries
that share words with their document: what it keeps says little of an encoder's advantage over BM25.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Literal

from attune.data.sources.documents import Entry, read_documents
from attune.data.sources.files.cells import ColumnNames
from attune.data.sources.generated.endpoint import Endpoint, complete
from attune.data.sources.generated.structure import QueryRules, add, generic, n_words, queries_from_structure
from attune.data.sources.raw import Document, RawData
from attune.retrieval.bm25 import bm25_top_k

_THOUGHTS = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)  # of models that reason aloud
_LABEL = re.compile(
    r"^(?:(?:[-*•]|\d+[.)])\s)?[\s*_]*(?:(?:search |user )?(?:query|question)\s*\d*[\s*_]*:[\s*_]*)?", re.I
)
_QUOTES = ' \t"“”„«»`*'
_BREAKS = re.compile(r"[\n。！？]+|[.!?]+(?:\s|$)")


def collect_documents(
    path: Path,
    columns: ColumnNames,
    how: Literal["structure", "endpoint"],
    rules: QueryRules,
    endpoint: Endpoint,
    max_documents: int,
) -> RawData:
    """Reads a corpus, and of it at most so many documents (0: all), and makes queries for it.

    Raises:
        BadInput: the corpus is not there or malformed, or the endpoint does not answer.
    """
    entries, dropped = read_documents(path, columns)
    if max_documents:
        # by hash and not from the top: the same documents when others are added, and of all parts of the corpus
        kept = set(sorted(_hash(e) for e in entries)[:max_documents])
        entries = [e for e in entries if _hash(e) in kept]
    if how == "structure":
        raw = queries_from_structure(entries, rules)
    else:
        raw = queries_from_endpoint(entries, rules, endpoint)
    return replace(raw, dropped=dropped + raw.dropped)


def _hash(entry: Entry) -> str:
    return sha256(entry.document.document_id.encode()).hexdigest()


def queries_from_endpoint(entries: Sequence[Entry], rules: QueryRules, endpoint: Endpoint) -> RawData:
    """Asks for one query for each document and keeps the good ones; all documents stay, whole and in their order.

    Raises:
        BadInput: the endpoint does not answer.
    """
    documents = [entry.document for entry in entries]
    queries = [query_in(answer) for answer in complete(documents, endpoint)]
    shared = generic(queries, rules)
    flaws = [_flaw(query, document, shared, rules) for query, document in zip(queries, documents, strict=True)]
    asked = [row for row, flaw in enumerate(flaws) if flaw is None]
    for row in _lost([queries[row] for row in asked], asked, documents, endpoint.found_within):
        flaws[row] = "not_found_again"
    raw = RawData([], [], {"all": []}, facts={"endpoint_model": endpoint.model})
    for entry, query, flaw in zip(entries, queries, flaws, strict=True):
        add(raw, entry, "" if flaw else query)
        if flaw:
            raw.dropped[f"query_{flaw}"] += 1
    return raw


def query_in(answer: str) -> str:
    """The query that an answer holds: its first line that says something, without label, quotes and emphasis."""
    for line in _THOUGHTS.sub("", answer).splitlines():
        text = " ".join("".join(c if c.isprintable() else " " for c in line).split())
        query = _LABEL.sub("", text).strip(_QUOTES)
        if query.startswith("'") and query.endswith("'"):
            query = query.strip("'")
        if query and not query.endswith(":"):  # "Here is a query:"
            return query
    return ""


def _flaw(query: str, document: Document, shared: set[str], rules: QueryRules) -> str | None:
    """A reason not to ask what a model wrote, or None."""
    n = n_words(query)
    flaws = {
        "empty": n == 0,
        "short": n < rules.min_query_words,
        "long": n > rules.max_query_words,
        "copied": _bare(query) in {_bare(part) for part in [document.title, *_BREAKS.split(document.text)]},
        "generic": query.casefold() in shared,
    }
    return next((flaw for flaw, found in flaws.items() if found), None)


def _bare(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text).strip().casefold()


def _lost(queries: Sequence[str], rows: Sequence[int], documents: Sequence[Document], found_within: int) -> list[int]:
    """The rows whose query does not find its document, which is in the same row, within the first `found_within`."""
    if not queries:
        return []
    texts = [f"{document.title} {document.text}" for document in documents]  # as every system will see them
    _, found = bm25_top_k(queries, texts, found_within)
    return [row for row, ranked in zip(rows, found.tolist(), strict=True) if row not in ranked]
