"""Queries in other people's words: a second test, which no query of the data has a part in."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from attune.data.splitting.clusters import normalise


class Paraphrase(NamedTuple):
    """A text and the documents that answer it, sorted."""

    query_id: str
    text: str
    document_ids: list[str]


def merge(
    texts: Iterable[tuple[str, str]], answers: Iterable[tuple[str, str]], duplicate_of: Mapping[str, str]
) -> list[Paraphrase]:
    """Makes those that read the same one, under the first id, with the documents of all and what is near-identical.

    Args:
        texts: pairs (query id, text), in their order.
        answers: pairs (query id, document id).
        duplicate_of: for every document the first of the near-identical ones, itself when there is none.
    """
    fellows: dict[str, list[str]] = {}
    for document_id, first in duplicate_of.items():
        fellows.setdefault(first, []).append(document_id)
    found: dict[str, set[str]] = {}
    for query_id, document_id in answers:
        found.setdefault(query_id, set()).update(fellows[duplicate_of[document_id]])
    merged: dict[str, tuple[str, str, set[str]]] = {}
    for query_id, text in texts:
        merged.setdefault(normalise(text), (query_id, text, set()))[2].update(found.get(query_id, set()))
    return [Paraphrase(query_id, text, sorted(ids)) for query_id, text, ids in merged.values() if ids]
