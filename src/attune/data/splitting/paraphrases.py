"""Paraphrases: queries in other people's words, a second test set that shares no query with the data's own splits."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from attune.data.splitting.clusters import components, normalise
from attune.data.splitting.leaks import NearDuplicates, Texts, lexical_leaks
from attune.data.splitting.similarity import alike
from attune.tables import PARAPHRASES, SPLIT_QUERIES, full_texts

REASONS = ("not_test", "near_seen_query", "near_test_query", "in_document")


class Paraphrase(NamedTuple):
    """A text and the documents that answer it, sorted."""

    query_id: str
    text: str
    document_ids: list[str]


class SplitQuery(NamedTuple):
    """A query of the data and the split that it is in."""

    query_id: str
    text: str
    split: str


def merge_paraphrases(
    texts: Iterable[tuple[str, str]], answers: Iterable[tuple[str, str]], duplicate_of: Mapping[str, str]
) -> list[Paraphrase]:
    """Merges paraphrases of equal text into one with all their answers, near-identical documents included.

    It keeps the first id; paraphrases without an answer are left out.

    Args:
        texts: pairs (query id, text), in their order.
        answers: pairs (query id, document id).
        duplicate_of: for every document the first of the near-identical ones, itself when there is none.
    """
    duplicates: dict[str, list[str]] = {}
    for document_id, first in duplicate_of.items():
        duplicates.setdefault(first, []).append(document_id)
    relevant: dict[str, set[str]] = {}
    for query_id, document_id in answers:
        relevant.setdefault(query_id, set()).update(duplicates[duplicate_of[document_id]])
    merged: dict[str, tuple[str, str, set[str]]] = {}
    for query_id, text in texts:
        merged.setdefault(normalise(text), (query_id, text, set()))[2].update(relevant.get(query_id, set()))
    return [Paraphrase(query_id, text, sorted(ids)) for query_id, text, ids in merged.values() if ids]


def usable(
    paraphrases: Sequence[Paraphrase],
    queries: Sequence[SplitQuery],
    split_of: Mapping[str, str],
    texts: Mapping[str, str],
    width: int,
    threshold: float,
    split: str = "test",
) -> tuple[list[Paraphrase], dict[str, int]]:
    """Keeps the paraphrases of a split that neither leak nor repeat their document; counts the others by reason.

    Args:
        paraphrases: merged; their ids are not those of queries.
        queries: of all splits.
        split_of: the split of each document.
        texts: the full text of each document.
        width: words per shingle.
        threshold: lowest Jaccard similarity of shingles at which two texts are near-duplicates.
        split: the one that holds all relevant documents of a kept paraphrase.

    Returns:
        The kept paraphrases, and counts of `not_test` (a relevant document is not in that split),
        `near_seen_query` (a near-duplicate of a query of train or dev), `near_test_query` (a near-duplicate of a query
        of test) and `in_document` (word for word in a relevant document). A paraphrase counts for its first reason.
    """
    near = _near_splits(paraphrases, queries, width, threshold)
    reasons = {p.query_id: _reason(p, near.get(p.query_id), split_of, texts, split) for p in paraphrases}
    counts = Counter(reasons.values())
    return [p for p in paraphrases if reasons[p.query_id] is None], {reason: counts[reason] for reason in REASONS}


def n_near(texts: Sequence[str], others: Sequence[str], width: int, threshold: float) -> int:
    """Counts the texts that nearly repeat one of the others, by the definition of near-duplicate queries."""
    queries = [SplitQuery(str(row), text, "train") for row, text in enumerate(others)]
    return len(
        _near_splits([Paraphrase(str(row), text, []) for row, text in enumerate(texts)], queries, width, threshold)
    )


def paraphrase_tables(
    near: NearDuplicates, paraphrases: pl.DataFrame, corpus: pl.DataFrame, queries: pl.DataFrame, by: str
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, int]]:
    """Returns the paraphrases that neither leak nor repeat their document, their judgments, and counts of the others.

    What a protocol keeps whole is here the paraphrases of one document (by: query) or of one cluster of documents.

    Args:
        near: definition of near-duplicates.
        paraphrases: PARAPHRASES.
        corpus: CORPUS, with the split of each document.
        queries: of all splits, with their split.
        by: protocol, cluster or query.
    """
    own = [SplitQuery(*row) for row in queries.select("query_id", "text", "split").iter_rows()]
    splits = dict(corpus.select("document_id", "split").iter_rows())
    texts = dict(zip(corpus["document_id"], full_texts(corpus), strict=True))
    rows = [Paraphrase(*row) for row in paraphrases.iter_rows()]
    kept, dropped = usable(rows, own, splits, texts, near.query_shingle, near.similar_query)
    frame = pl.DataFrame(kept, PARAPHRASES, orient="row").with_columns(
        pl.lit("").alias(name) for name in ("given_split", "stratum")
    )
    first = alike(frame["text"].to_list(), near.query_shingle, near.similar_query).edges()
    frame = frame.with_columns(
        document_id=pl.col("document_ids").list.first(),
        near_group=frame["query_id"].gather(components(frame.height, first)),
    )
    unit = "cluster_id" if by == "cluster" else "duplicate_of"
    units = corpus.select("document_id", cluster_id=unit)
    frame = frame.join(units, on="document_id", how="left", maintain_order="left")
    qrels = frame.select("query_id", document_id="document_ids").explode("document_id")
    qrels = qrels.with_columns(relevance=pl.lit(1, pl.Int64)).sort("query_id", "document_id")
    counts = {"n_paraphrases": len(kept)} | {f"n_dropped_paraphrase_{reason}": n for reason, n in dropped.items()}
    return frame.select(list(SPLIT_QUERIES)), qrels, counts


def _near_splits(
    paraphrases: Sequence[Paraphrase], queries: Sequence[SplitQuery], width: int, threshold: float
) -> dict[str, str]:
    """Returns the split of the query that a paraphrase nearly repeats.

    If several match, train wins over dev, and dev over test.
    """
    near: dict[str, str] = {}
    for split in ("test", "dev", "train"):
        own = [query for query in queries if query.split == split]
        ids = [row.query_id for row in own] + [row.query_id for row in paraphrases]
        texts = [row.text for row in own] + [row.text for row in paraphrases]
        # the audit's definition of a leak: the queries take the place of train, the paraphrases that of test
        splits = np.array(["train"] * len(own) + ["test"] * len(paraphrases))
        both = Texts("queries", splits, ids, texts)
        near |= dict.fromkeys((leak.leaked_id for leak in lexical_leaks(both, width, threshold)), split)
    return near


def _reason(
    paraphrase: Paraphrase, near: str | None, split_of: Mapping[str, str], texts: Mapping[str, str], split: str
) -> str | None:
    if any(split_of[id_] != split for id_ in paraphrase.document_ids):
        return "not_test"
    if near is not None:
        return "near_test_query" if near == "test" else "near_seen_query"
    text = normalise(paraphrase.text)
    return "in_document" if any(text in normalise(texts[id_]) for id_ in paraphrase.document_ids) else None
