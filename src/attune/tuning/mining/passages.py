"""The passage in which a query reads a document: its best one by the encoder that mines, or its first."""

import numpy as np
import polars as pl

from attune.retrieval.passages import READ_PASSAGES
from attune.runtime.arrays import Float32, Int64
from attune.tuning.mining.candidates import Pairs, Scorer, cosines

BATCH = 2**16  # pairs whose passages are scored at a time; bounds memory


def best_passages(queries: Float32, passages: Float32, document_rows: Int64, pairs: Pairs) -> tuple[Float32, Int64]:
    """Returns the score of each pair's best passage and its row, the first among equals, (n_pairs,) each.

    Args:
        queries: (n_queries, dim) unit embeddings.
        passages: (n_passages, dim) unit embeddings.
        document_rows: the document of each passage, (n_passages,), ascending.
        pairs: of query and document.
    """
    score = cosines(queries, passages)
    best, rows = np.empty(len(pairs.rows), np.float32), np.empty(len(pairs.rows), np.int64)
    for start in range(0, len(pairs.rows), BATCH):
        part = slice(start, start + BATCH)
        documents = pairs.rows[part]
        first = np.searchsorted(document_rows, documents)
        n = np.searchsorted(document_rows, documents, side="right") - first
        place = np.cumsum(n) - n  # where each pair's passages begin among all
        of_pairs = np.repeat(first - place, n) + np.arange(n.sum())
        scores = score(Pairs(np.repeat(pairs.queries[part], n), of_pairs))
        best[part] = np.maximum.reduceat(scores, place)
        is_best = np.flatnonzero(scores == np.repeat(best[part], n))
        rows[part] = of_pairs[is_best[np.searchsorted(is_best, place)]]
    return best, rows


def passage_scorer(queries: Float32, passages: Float32, document_rows: Int64) -> Scorer:
    """Returns a scorer of pairs of query and document by the document's best passage."""
    if len(document_rows) == (document_rows[-1] + 1 if len(document_rows) else 0):
        return cosines(queries, passages)

    def score(pairs: Pairs) -> Float32:
        return best_passages(queries, passages, document_rows, pairs)[0]

    return score


def read_as(
    triplets: pl.DataFrame,
    query_ids: pl.Series,
    document_ids: pl.Series,
    vectors: tuple[Float32, Float32],
    document_rows: Int64,
    positive_passage: str,
) -> pl.DataFrame:
    """Returns the passage in which each row of training reads its documents of several passages.

    Args:
        triplets: rows of training.
        query_ids: of the train queries, in the order of their embeddings.
        document_ids: of the corpus.
        vectors: of the queries and of the passages.
        document_rows: the document of each passage, (n_passages,), ascending.
        positive_passage: nearest or first, of relevant documents; negatives are read as their nearest passage.
    """
    positives = triplets.select("query_id", "document_id", is_positive=True)
    negatives = triplets.select("query_id", document_id="negative_ids", is_positive=False).explode("document_id")
    pairs = pl.concat([positives, negatives.drop_nulls()]).unique(["query_id", "document_id"], keep="first")
    n_passages = pl.DataFrame({"document_id": document_ids, "n": np.bincount(document_rows)})
    rows = pairs.join(n_passages.with_row_index("row"), on="document_id").filter(pl.col("n") > 1)
    rows = rows.join(pl.DataFrame({"query_id": query_ids}).with_row_index("query"), on="query_id")
    rows = rows.sort("query_id", "document_id")
    documents = rows["row"].to_numpy().astype(np.int64)
    of_rows = Pairs(rows["query"].to_numpy().astype(np.int64), documents)
    _, nearest = best_passages(*vectors, document_rows, of_rows)
    place = nearest - np.searchsorted(document_rows, documents)
    if positive_passage == "first":
        place[rows["is_positive"].to_numpy()] = 0
    return rows.with_columns(passage=pl.Series(place, dtype=pl.Int64)).select(list(READ_PASSAGES))
