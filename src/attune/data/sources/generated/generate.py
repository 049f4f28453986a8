"""Queries for a corpus without any: made from document structure, or written by a language model and filtered.

Query generation as in InPars (Bonifacio et al. 2022, arXiv 2202.05144). A generated query is kept if it is well formed
and retrieves its own document: the round-trip filter of Alberti et al. (2019, arXiv 1906.05416), which Promptagator
(Dai et al. 2022, arXiv 2209.11755) shows to matter. The filter here retrieves by BM25, which needs no training and
favours queries that share words with their document, so the kept queries understate an encoder's advantage over BM25.
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
from attune.data.sources.generated.structure import QueryRules, add, generic, queries_from_structure
from attune.data.sources.raw import Document, RawData
from attune.retrieval.bm25 import Bm25
from attune.retrieval.words import n_words

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
    """Reads a corpus, draws at most `max_documents` documents of it (0: all), and generates queries for them.

    Raises:
        BadInput: the corpus is missing or malformed, or the endpoint does not answer.
    """
    entries, dropped = read_documents(path, columns)
    if max_documents:
        # drawn by hash: from all parts of the corpus, and mostly the same documents when others are added
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
    """Requests one query for each document and filters them; all documents stay, unchanged and in their order.

    Raises:
        BadInput: the endpoint does not answer.
    """
    documents = [entry.document for entry in entries]
    queries = [query_in(answer) for answer in complete(documents, endpoint)]
    shared = generic(queries, rules)
    flaws = [_flaw(query, document, shared, rules) for query, document in zip(queries, documents, strict=True)]
    sound = [row for row, flaw in enumerate(flaws) if flaw is None]
    for row in _lost([queries[row] for row in sound], sound, documents, endpoint.found_within):
        flaws[row] = "not_found_again"
    raw = RawData([], [], {"all": []}, facts={"endpoint_model": endpoint.model})
    for entry, query, flaw in zip(entries, queries, flaws, strict=True):
        add(raw, entry, "" if flaw else query)
        if flaw:
            raw.dropped[f"query_{flaw}"] += 1
    return raw


def query_in(answer: str) -> str:
    """Extracts the query from an answer: its first line with content, without label, quotes and emphasis."""
    for line in _THOUGHTS.sub("", answer).splitlines():
        text = " ".join("".join(c if c.isprintable() else " " for c in line).split())
        query = _LABEL.sub("", text).strip(_QUOTES)
        if query.startswith("'") and query.endswith("'"):
            query = query.strip("'")
        if query and not query.endswith(":"):  # "Here is a query:"
            return query
    return ""


def _flaw(query: str, document: Document, shared: set[str], rules: QueryRules) -> str | None:
    """Returns a reason to drop a generated query, or None."""
    n = n_words(query)
    flaws = {
        "empty": n == 0,
        "short": n < rules.min_query_words,
        "long": n > rules.max_query_words,
        "copied": _bare(query) in {_bare(part) for part in [document.title, *_BREAKS.split(document.text)]},
        "generic": query.casefold() in shared,
    }
    return next((flaw for flaw, applies in flaws.items() if applies), None)


def _bare(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text).strip().casefold()


def _lost(queries: Sequence[str], rows: Sequence[int], documents: Sequence[Document], found_within: int) -> list[int]:
    """Returns the rows whose query does not retrieve the document of the same row within the first `found_within`."""
    if not queries:
        return []
    texts = [f"{document.title} {document.text}" for document in documents]
    _, ranked = Bm25(texts).top_k(queries, found_within)
    return [row for row, top in zip(rows, ranked.tolist(), strict=True) if row not in top]
