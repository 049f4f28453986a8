"""The test queries with what is known of them beside their scores: the traits that the report slices by."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from attune.evaluation.statistics.slices import Traits
from attune.evaluation.statistics.traits import lengths, overlaps, sources, unseen_words
from attune.tables import CLUSTERED_QUERIES, CORPUS, QRELS, full_texts, read, read_raw


def relevant_ids(split: Path) -> dict[str, list[str]]:
    """The relevant documents of each query of a split, sorted."""
    qrels = read(split / "qrels.parquet", QRELS).filter(pl.col("relevance") > 0).sort("query_id", "document_id")
    return dict(qrels.group_by("query_id", maintain_order=True).agg("document_id").iter_rows())


def seen_texts(train: Path, texts: dict[str, str]) -> Iterable[str]:
    """What training reads of the domain: the train queries and the documents that answer them."""
    yield from read(train / "queries.parquet", CLUSTERED_QUERIES)["text"]
    answers = read(train / "qrels.parquet", QRELS).filter(pl.col("relevance") > 0)
    yield from (texts[id_] for id_ in answers["document_id"].unique(maintain_order=True))


def cluster_sizes(queries: pl.DataFrame, corpus: pl.DataFrame) -> dict[str, int]:
    """How many queries and documents each cluster holds."""
    members = pl.concat([queries["cluster_id"], corpus["cluster_id"]])
    return dict(members.value_counts().iter_rows())


def traits_of(query_ids: Sequence[str], raw: Path, prepared: Path, splits: Path) -> Traits:
    """The traits of some test queries, in their order, from their texts, answers and columns, and from training.

    Raises:
        BadInput: a table is missing or is not what its stage writes.
    """
    corpus = read(prepared / "corpus.parquet", CORPUS)
    documents = dict(zip(corpus["document_id"], full_texts(corpus), strict=True))
    answers = relevant_ids(splits / "test")
    ids = [answers.get(id_, []) for id_ in query_ids]
    asked = pl.DataFrame({"query_id": query_ids}, schema={"query_id": pl.String})
    asked = asked.join(read(splits / "test/queries.parquet", CLUSTERED_QUERIES), on="query_id", maintain_order="left")
    asked = asked.join(read_raw(raw)[1].select("query_id", "group"), on="query_id", how="left", maintain_order="left")
    sizes = cluster_sizes(read(prepared / "queries.parquet", CLUSTERED_QUERIES), corpus)
    texts = asked["text"].to_list()
    return {
        "query length": lengths(texts),
        "lexical overlap": overlaps(texts, [[documents[id_] for id_ in found] for found in ids]),
        "relevant documents": pl.Series([len(found) for found in ids], dtype=pl.Int64).to_numpy(),
        "unseen words": unseen_words(texts, seen_texts(splits / "train", documents)),
        "cluster size": asked["cluster_id"].replace_strict(sizes, return_dtype=pl.Int64).to_numpy(),
        "source": sources(ids),
        "group": asked["group"].fill_null("").to_list(),
        "stratum": asked["stratum"].to_list(),
    }
