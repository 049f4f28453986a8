"""Groups of the queries of a task: of one cluster of the split, near-identical, or with the same text."""

from collections.abc import Collection, Mapping

import numpy as np
import polars as pl

from attune.data.splitting.clusters import components
from attune.data.splitting.similarity import alike

Origins = dict[str, tuple[str, str]]  # cluster and near-group by query id


def origins_of(*queries: pl.DataFrame) -> Origins:
    """Returns the cluster and the near-group of the queries of some splits (SPLIT_QUERIES), whose ids differ."""
    rows = (row for own in queries for row in own.select("query_id", "cluster_id", "near_group").rows())
    return {id_: (cluster, near_group) for id_, cluster, near_group in rows}


def clusters_of(relevant: Mapping[str, Collection[str]], queries: pl.DataFrame) -> dict[str, str]:
    """Returns the cluster of each document: that of the first query, by id, to which it is relevant.

    Args:
        relevant: ids of relevant documents by query id.
        queries: SPLIT_QUERIES of a split.
    """
    cluster_of: dict[str, str] = {}
    for query_id, cluster in queries.sort("query_id").select("query_id", "cluster_id").iter_rows():
        for document_id in relevant.get(query_id, ()):
            cluster_of.setdefault(document_id, cluster)
    return cluster_of


def origins_of_paraphrases(
    texts: Mapping[str, str],
    relevant: Mapping[str, Collection[str]],
    cluster_of: Mapping[str, str],
    query_shingle: int,
    similar_query: float,
) -> Origins:
    """Returns the cluster and the near-group of paraphrases.

    The cluster is that of the first document that answers the paraphrase, or this document where it has none.
    Near-groups are those of the paraphrases among each other.

    Args:
        texts: of the paraphrases, by id.
        relevant: ids of their documents, by id.
        cluster_of: cluster of documents.
        query_shingle: words per shingle.
        similar_query: lowest Jaccard similarity of near-identical queries.
    """
    ids = list(texts)
    near = components(len(ids), alike(list(texts.values()), query_shingle, similar_query).edges())
    first = {id_: min(relevant[id_]) for id_ in ids}
    return {id_: (cluster_of.get(first[id_], first[id_]), ids[row]) for id_, row in zip(ids, near, strict=True)}


def groups_of(texts: Mapping[str, str], origins: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """Returns the group of each query: the first of those that hang together, as the ids of the task stand.

    Queries hang together where they come from one cluster of the split or from near-identical queries, and where they
    read the same here: rewritten, two queries may have become one text.

    Args:
        texts: of the queries of a task, by id.
        origins: the cluster, which the split keeps whole, and the near-group of each query.
    """
    first: dict[tuple[str, str], int] = {}
    pairs = []
    for row, (id_, text) in enumerate(texts.items()):
        cluster, near_group = origins[id_]
        for key in (("cluster", cluster), ("near", near_group), ("text", text)):
            pairs.append((first.setdefault(key, row), row))
    ids = list(texts)
    lowest = components(len(ids), np.array(pairs, dtype=np.int64).reshape(-1, 2))
    return {id_: ids[row] for id_, row in zip(ids, lowest, strict=True)}
