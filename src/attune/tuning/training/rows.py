"""Training rows from mined triplets: their texts, the ids of their documents, and the judgments by which they batch."""

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from attune.tuning.training.conflicts import BatchingKeys


def training_rows(
    triplets: pl.DataFrame, texts: dict[str, str], read_as: Mapping[tuple[str, str], str] | None = None
) -> dict[str, list[str]]:
    """Returns the trainer's columns: query, positive, negative_1..n (one text each).

    Args:
        triplets: of stage mine, one row per training row.
        texts: of documents, by id.
        read_as: the passage in which a query reads a document, by the ids of both; others are read whole.
    """
    query_ids = triplets["query_id"].to_list()

    def column(document_ids: Iterable[str]) -> list[str]:
        pairs = zip(query_ids, document_ids, strict=True)
        return [(read_as or {}).get(pair, texts[pair[1]]) for pair in pairs]

    columns = {"query": triplets["text"].to_list()}
    return columns | {name: column(ids) for name, ids in row_document_ids(triplets).items()}


def row_document_ids(triplets: pl.DataFrame) -> dict[str, list[str]]:
    """Returns the id of each row's document by the trainer's columns: positive, negative_1..n."""
    negatives = triplets["negative_ids"].to_list()
    columns = {f"negative_{place + 1}": [ids[place] for ids in negatives] for place in range(len(negatives[0]))}
    return {"positive": triplets["document_id"].to_list()} | columns


def batching_keys(
    triplets: pl.DataFrame,
    qrels: pl.DataFrame,
    own_texts: pl.DataFrame,
    lengths: Sequence[int],
    max_pairs_per_query: int,
) -> BatchingKeys:
    """Returns the judgments and lengths of the training rows, by which they are put into batches.

    Args:
        triplets: of stage mine, one row per training row.
        qrels: judgments of the train split; those of queries that read the same count for all of them.
        own_texts: documents with the text of a query, which are no negatives of it.
        lengths: characters of each row's positive.
        max_pairs_per_query: rows of a query that an epoch draws at most, 0 for all.
    """
    number_of: dict[str, int] = {}  # of documents

    def number(id_: str) -> int:
        return number_of.setdefault(id_, len(number_of))

    queries, near_groups = (_numbers(triplets[name]) for name in ("query_id", "near_group"))
    near_group_of = dict(zip(triplets["query_id"], near_groups, strict=True))
    rows = zip(triplets["document_id"], triplets["negative_ids"].to_list(), strict=True)
    documents = [tuple(number(id_) for id_ in (positive, *negatives)) for positive, negatives in rows]
    relevant: list[set[int]] = [set() for _ in range(1 + max(near_groups))]
    for near_group, (positive, *_) in zip(near_groups, documents, strict=True):
        relevant[near_group].add(positive)
    judged = qrels.filter(pl.col("relevance") > 0).select("query_id", "document_id")
    for query_id, document_id in (*judged.iter_rows(), *own_texts.select("query_id", "document_id").iter_rows()):
        if query_id in near_group_of:
            relevant[near_group_of[query_id]].add(number(document_id))
    return BatchingKeys(
        queries=queries,
        near_groups=near_groups,
        documents=documents,
        relevance=triplets["relevance"].to_list(),
        lengths=lengths,
        relevant=[frozenset(ids) for ids in relevant],
        max_pairs_per_query=max_pairs_per_query,
    )


def _numbers(ids: pl.Series) -> list[int]:
    """Returns a number from 0 for each id, the same for equal ids, in the order in which they first occur."""
    number_of = {id_: number for number, id_ in enumerate(ids.unique(maintain_order=True))}
    return [number_of[id_] for id_ in ids]
