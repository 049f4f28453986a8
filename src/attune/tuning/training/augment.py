"""Other forms of training rows: queries as people type them, documents as people index them.

An encoder that is trained on one form alone loses on the others (docs/experiments.md). Rows are drawn by a hash of the
seed, the query's text and the document's id, so neither the order of rows nor rows that are added change the others.
"""

import hashlib
from collections.abc import Mapping, Sequence

from attune.data.typed_queries import typed


def augmented(
    columns: Mapping[str, Sequence[str]],
    document_ids: Mapping[str, Sequence[str]],
    forms: Mapping[str, str],
    typed_query_share: float,
    other_form_share: float,
    seed: int,
) -> dict[str, list[str]]:
    """Returns the training columns with a share of typed queries and, drawn apart from them, of other documents' forms.

    All documents of a drawn row, positive and negatives alike, are read in their other form where they have one, so
    that the form does not tell the positive. Drawn queries that read as typed already stay.

    Args:
        columns: `query`, `positive` and `negative_1..n`, one text per row.
        document_ids: the document of each text, by the name of its column: (n rows,) each.
        forms: the other form's full text by document id, title included.
        typed_query_share: of rows, 0 to 1.
        other_form_share: of rows, 0 to 1.
        seed: another one draws other rows.
    """
    rows = list(zip(columns["query"], document_ids["positive"], strict=True))
    is_typed = [_position(seed, "query", *row) < typed_query_share for row in rows]
    is_other = [_position(seed, "documents", *row) < other_form_share for row in rows]
    queries = [typed(text) if drawn else text for text, drawn in zip(columns["query"], is_typed, strict=True)]
    documents = {
        name: [
            forms.get(document_id, text) if drawn else text
            for text, document_id, drawn in zip(columns[name], ids, is_other, strict=True)
        ]
        for name, ids in document_ids.items()
    }
    return {name: queries if name == "query" else documents[name] for name in columns}


def _position(seed: int, what: str, query: str, document_id: str) -> float:
    """Hashes a row to [0, 1)."""
    digest = hashlib.sha256(f"{seed}:{what}:{document_id}\n{query}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
