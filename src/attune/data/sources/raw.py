"""What every source gives: documents, queries and judgments as plain records, and what was left out and why."""

from collections import Counter
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import NamedTuple


class Document(NamedTuple):
    """One thing that can be found."""

    document_id: str
    title: str
    text: str


class Query(NamedTuple):
    """One thing that is asked; queries of one group (a customer, a thread, a page) are never split."""

    query_id: str
    text: str
    group: str = ""  # "" where there is none
    stratum: str = ""  # of each stratum the splits get the same share; "" where there is none


class Qrel(NamedTuple):
    """One judgment: the document answers the query, the better the higher the relevance; 0: it does not answer it."""

    query_id: str
    document_id: str
    relevance: int


@dataclass(frozen=True)
class RawData:
    """A retrieval data set; `qrels` is keyed by split, or by "all" where the split is still to be made.

    Paraphrases are queries in other people's words, never trained on: a second test for documents of the test split.
    """

    documents: list[Document]
    queries: list[Query]
    qrels: dict[str, list[Qrel]]
    paraphrases: list[Query] = field(default_factory=list)
    paraphrase_qrels: list[Qrel] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    facts: dict[str, str | int] = field(default_factory=dict)


def subset(raw: RawData, max_documents: int) -> RawData:
    """A miniature that stays the same when rows are added elsewhere: queries in the order of their ids' hashes.

    Each query comes with all its relevant documents or not at all; room left at the end goes to other documents, as
    distractors.
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
        queries=[q for q in raw.queries if q.query_id in kept_queries],
        qrels={split: [q for q in qrels if q.query_id in kept_queries] for split, qrels in raw.qrels.items()},
    )


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()
