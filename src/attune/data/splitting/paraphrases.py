"""Queries in other people's words: a second test, which no query of the data has a part in."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from attune.data.splitting.clusters import normalise
from attune.data.splitting.leaks import Texts, lexical_leaks


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


REASONS = ("not_test", "near_seen_query", "near_test_query", "in_document")


class Asked(NamedTuple):
    """A query of the data, and the split that it is in."""

    query_id: str
    text: str
    split: str


def hold_out(
    paraphrases: Sequence[Paraphrase],
    queries: Sequence[Asked],
    split_of: Mapping[str, str],
    texts: Mapping[str, str],
    width: int,
    threshold: float,
) -> tuple[list[Paraphrase], dict[str, int]]:
    """The paraphrases that test nothing but understanding, and how many are left out, by reason.

    Args:
        paraphrases: merged; their ids are not those of queries.
        queries: of all splits.
        split_of: the split of each document.
        texts: the full text of each document.
        width: words per shingle.
        threshold: the Jaccard similarity of shingles from which on two texts are near-duplicates.

    Returns:
        The kept ones, and counts of: `not_test` (a document is not in the test split), `near_seen_query` (nearly a
        query of train or dev), `near_test_query` (nearly one of test: its own document's, or one whose answers it
        lacks) and `in_document` (word for word in a document that answers it). The first reason counts.
    """
    like = _likeness(paraphrases, queries, width, threshold)
    reasons = {p.query_id: _reason(p, like.get(p.query_id), split_of, texts) for p in paraphrases}
    counts = Counter(reasons.values())
    return [p for p in paraphrases if reasons[p.query_id] is None], {reason: counts[reason] for reason in REASONS}


def _likeness(
    paraphrases: Sequence[Paraphrase], queries: Sequence[Asked], width: int, threshold: float
) -> dict[str, str]:
    """For each paraphrase that is (nearly) a query the split of that query, train and dev before test."""
    like: dict[str, str] = {}
    for split in ("test", "dev", "train"):
        asked = [query for query in queries if query.split == split]
        ids = [row.query_id for row in asked] + [row.query_id for row in paraphrases]
        texts = [row.text for row in asked] + [row.text for row in paraphrases]
        # the audit's definition, with the queries in the place of train and the paraphrases in that of test
        sides = np.array(["train"] * len(asked) + ["test"] * len(paraphrases))
        both = Texts("queries", sides, ids, texts)
        like |= dict.fromkeys((leak.leaked_id for leak in lexical_leaks(both, width, threshold)), split)
    return like


def _reason(
    paraphrase: Paraphrase, like: str | None, split_of: Mapping[str, str], texts: Mapping[str, str]
) -> str | None:
    if any(split_of[id_] != "test" for id_ in paraphrase.document_ids):
        return "not_test"
    if like is not None:
        return "near_test_query" if like == "test" else "near_seen_query"
    text = normalise(paraphrase.text)
    return "in_document" if any(text in normalise(texts[id_]) for id_ in paraphrase.document_ids) else None
