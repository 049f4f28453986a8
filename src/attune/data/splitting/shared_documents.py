"""Documents that queries of several splits share: answers that train knows, and documents that are a query's text."""

import polars as pl

from attune.data.splitting.clusters import normalise
from attune.tables import OWN_TEXTS, full_texts


def known_answers_share(qrels: pl.DataFrame, splits: pl.DataFrame, split: str) -> float:
    """Returns the share of a split's judgments whose document is also relevant to a train query; 0 without judgments.

    Args:
        qrels: of all splits.
        splits: columns query_id and split.
        split: dev or test.
    """
    judged = qrels.join(splits.select("query_id", "split"), on="query_id").select("document_id", "split")
    own = judged.filter(pl.col("split") == split)
    known = own.join(judged.filter(pl.col("split") == "train"), on="document_id", how="semi")
    return known.height / max(1, own.height)


def own_texts(queries: pl.DataFrame, corpus: pl.DataFrame, qrels: pl.DataFrame) -> pl.DataFrame:
    """Returns the documents whose text is a query's own, where they are not judged relevant to it, sorted (OWN_TEXTS).

    Texts are compared normalised, documents with and without their title.

    Args:
        queries: columns query_id and text.
        corpus: columns document_id, title and text.
        qrels: judgments of relevance.
    """
    of_queries = queries.select("query_id", same=_normalised(queries["text"].to_list()))
    bodies = corpus.select("document_id", same=_normalised(corpus["text"].to_list()))
    whole = corpus.select("document_id", same=_normalised(full_texts(corpus)))
    pairs = of_queries.join(pl.concat([bodies, whole]).unique(), on="same").select(list(OWN_TEXTS))
    return pairs.unique().join(qrels, on=list(OWN_TEXTS), how="anti").sort(list(OWN_TEXTS))


def _normalised(texts: list[str]) -> pl.Series:
    return pl.Series("same", [normalise(text) for text in texts], pl.String)
