"""Frozen embeddings of train and dev, as the query adapter learns from them and is scored."""

import polars as pl

from attune.evaluation.scoring.judgments import Split
from attune.export.query_map import QueryMap
from attune.retrieval.grouped import document_search
from attune.retrieval.ndcg import ndcg
from attune.retrieval.passages import Passages
from attune.runtime.arrays import Float32, Float64
from attune.tuning.adapter import pairs
from attune.tuning.adapter.fit import Pairs

DEPTH = 10  # cut-off of nDCG


def dev_scores(
    query_map: QueryMap, dev: Split, queries: Float32, passages: Passages, documents: Float32, threads: int
) -> Float64:
    """Returns (n_queries,) nDCG@10 on dev of the mapped queries over the whole corpus."""
    search = document_search(query_map(queries), documents, passages.document_rows, threads)
    scores, rows = dev.ranked(search, DEPTH)
    return ndcg(rows, dev.judgments, scores, DEPTH)


def train_pairs(train: Split, usable: pl.Series, queries: Float32, passages: Passages, documents: Float32) -> Pairs:
    """Returns the pairs of train with the embeddings of the documents that train may use.

    A document of several passages is the passage nearest to the query.

    Args:
        train: queries and judgments.
        usable: ids of the documents of train.
        queries: (n_queries, dim) embeddings.
        passages: of the corpus.
        documents: (n_passages, dim) embeddings.
    """
    is_usable = passages.corpus["document_id"].is_in(usable.implode()).to_numpy()
    return pairs.train_pairs(train.judgments, train.own_texts, is_usable, queries, passages.document_rows, documents)
