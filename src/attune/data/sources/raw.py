"""Raw data as every source returns it: documents, queries and judgments, and counts of dropped rows by reason."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple


class Document(NamedTuple):
    """A document of the corpus."""

    document_id: str
    title: str
    text: str


class Query(NamedTuple):
    """A query; queries of one group (a customer, a thread, a page) go to the same split."""

    query_id: str
    text: str
    group: str = ""  # "" for none
    stratum: str = ""  # each split gets the same share of each stratum; "" for none


class Qrel(NamedTuple):
    """A judgment of a document for a query: a grade of 1 or more, or 0 where it does not answer the query."""

    query_id: str
    document_id: str
    relevance: int


@dataclass(frozen=True)
class RawData:
    """A retrieval data set; `qrels` is keyed by split, or by "all" where stage split assigns the splits.

    Paraphrases are queries in other people's words that are never trained on: a second test of the test split's
    documents. Indexed are the texts under which people index a document, by its id, and forms those without what
    is asked for in its query, fit to train on; few or no documents have them.
    """

    documents: list[Document]
    queries: list[Query]
    qrels: dict[str, list[Qrel]]
    paraphrases: list[Query] = field(default_factory=list)
    paraphrase_qrels: list[Qrel] = field(default_factory=list)
    forms: dict[str, str] = field(default_factory=dict)
    indexed: dict[str, str] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    facts: dict[str, str | int] = field(default_factory=dict)


def subset(raw: RawData, max_documents: int) -> RawData:
    """Draws at most `max_documents` documents: queries in the order of their ids' hashes, each with all its documents.

    The draw does not depend on the order of rows. Remaining room goes to other documents, as distractors.
    """
    if len(raw.documents) <= max_documents:
        return raw
    relevant: dict[str, set[str]] = {}
    for qrel in (qrel for qrels in raw.qrels.values() for qrel in qrels):
        relevant.setdefault(qrel.query_id, set()).add(qrel.document_id)
    kept_documents: set[str] = set()
    kept_queries: set[str] = set()
    for query_id in sorted(relevant, key=_hash):
        if len(kept_documents | relevant[query_id]) <= max_documents:
            kept_documents |= relevant[query_id]
            kept_queries.add(query_id)
    others = sorted((d.document_id for d in raw.documents if d.document_id not in kept_documents), key=_hash)
    kept_documents.update(others[: max_documents - len(kept_documents)])
    cut = {qrel.query_id for qrel in raw.paraphrase_qrels if qrel.document_id not in kept_documents}
    return replace(
        raw,
        paraphrases=[query for query in raw.paraphrases if query.query_id not in cut],
        paraphrase_qrels=[qrel for qrel in raw.paraphrase_qrels if qrel.query_id not in cut],
        documents=[d for d in raw.documents if d.document_id in kept_documents],
        forms={document_id: text for document_id, text in raw.forms.items() if document_id in kept_documents},
        indexed={document_id: text for document_id, text in raw.indexed.items() if document_id in kept_documents},
        queries=[q for q in raw.queries if q.query_id in kept_queries],
        qrels={split: [q for q in qrels if q.query_id in kept_queries] for split, qrels in raw.qrels.items()},
    )


def write_beir(
    documents: Iterable[Document], queries: Iterable[Query], qrels: Mapping[str, list[Qrel]], out: Path
) -> None:
    """Writes documents, queries and judgments by split in BEIR's layout: corpus.jsonl, queries.jsonl, qrels/*.tsv."""
    (out / "qrels").mkdir(parents=True)
    write_objects(out / "corpus.jsonl", ({"_id": i, "title": title, "text": text} for i, title, text in documents))
    write_queries(out / "queries.jsonl", queries)
    for split, rows in qrels.items():
        write_qrels(out / "qrels" / f"{split}.tsv", rows)


def write_queries(path: Path, queries: Iterable[Query]) -> None:
    """Writes one object per query, with group and stratum where it has them."""
    labelled = ((query, {"group": query.group, "stratum": query.stratum}) for query in queries)
    write_objects(
        path,
        ({"_id": q.query_id, "text": q.text} | {key: v for key, v in labels.items() if v} for q, labels in labelled),
    )


def write_qrels(path: Path, qrels: Iterable[Qrel]) -> None:
    """Writes judgments as a table with tabs, under BEIR's header."""
    _write_lines(path, ["query-id\tcorpus-id\tscore", *("\t".join(map(str, qrel)) for qrel in qrels)])


def write_objects(path: Path, records: Iterable[Mapping[str, str]]) -> None:
    """Writes one JSON object per line, in UTF-8."""
    _write_lines(path, (json.dumps(record, ensure_ascii=False) for record in records))


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()
