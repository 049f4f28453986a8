"""Merges what is the same and clusters what is nearly the same, so that neither a score nor a split can be flattered.

Identical queries become one query with several relevant documents. Near-identical documents, titles included
(`duplicate_of`), answer the same queries, so a correct answer never counts as a miss. Clusters are the connected
components over relevance, near-duplicate documents and near-duplicate queries: the unit that a split may not cut. A
cluster is named after its first document in the corpus's order: rows appended to the corpus leave the names of old
clusters as they are, unless one ties two old clusters together, which then share the first one's name.
"""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
from pydantic import Field, model_validator

from attune.clusters import components, normalise, similar_pairs
from attune.errors import BadInput
from attune.sources.beir import read_beir
from attune.sources.raw import RawData
from attune.stage import Out, Params, Receipt, run
from attune.tables import CLUSTERED_QUERIES, CORPUS, DOCUMENTS, QRELS, QUERIES, SPLITS, full_texts, write


class PrepareParams(Params):
    """How alike two texts must be (Jaccard similarity of word shingles) to be the same answer, or the same cluster."""

    document_shingle: int = Field(ge=1, le=20)
    query_shingle: int = Field(ge=1, le=20)
    identical_document: float = Field(gt=0, le=1)
    similar_document: float = Field(gt=0, le=1)
    similar_query: float = Field(gt=0, le=1)

    @model_validator(mode="after")
    def _identical_is_similar(self) -> "PrepareParams":
        if self.identical_document < self.similar_document:
            raise ValueError("identical_document must not be below similar_document: what is identical is similar")
        return self


def frames(raw: RawData) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """The raw records as tables; queries with the split that the user gave them, "" where there is none."""
    qrels = pl.DataFrame([row for rows in raw.qrels.values() for row in rows], QRELS, orient="row")
    given = {row.query_id: name for name, rows in raw.qrels.items() if name in SPLITS for row in rows}
    queries = pl.DataFrame(raw.queries, QUERIES, orient="row")
    given_split = pl.Series([given.get(id_, "") for id_ in queries["query_id"]], dtype=pl.String)
    return pl.DataFrame(raw.documents, DOCUMENTS, orient="row"), queries.with_columns(given_split=given_split), qrels


def merge_queries(queries: pl.DataFrame, qrels: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Makes one query of those that read the same: the first keeps its id and inherits the others' documents."""
    same = queries["text"].map_elements(normalise, return_dtype=pl.String)
    # queries of different given splits stay apart: merging them would hide a leak from the audit
    first = queries.with_columns(same=same).select(
        "query_id", kept=pl.col("query_id").first().over("same", "given_split")
    )
    merged = qrels.join(first, on="query_id", how="left", maintain_order="left").select(
        pl.col("kept").alias("query_id"), "document_id", "relevance"
    )
    merged = merged.group_by("query_id", "document_id", maintain_order=True).agg(pl.col("relevance").max())
    return queries.join(first, on="query_id", maintain_order="left").filter(
        pl.col("query_id") == pl.col("kept")
    ).select(queries.columns), merged


def share_relevance(qrels: pl.DataFrame, duplicate_of: pl.DataFrame) -> pl.DataFrame:
    """Makes every document relevant that is near-identical to a relevant one, with that one's relevance."""
    groups = duplicate_of.rename({"document_id": "twin_id"})
    shared = qrels.join(duplicate_of, on="document_id").join(groups, on="duplicate_of")
    shared = shared.select("query_id", pl.col("twin_id").alias("document_id"), "relevance")
    return shared.group_by("query_id", "document_id").agg(pl.col("relevance").max()).sort("query_id", "document_id")


def edges(
    corpus: pl.DataFrame,
    queries: pl.DataFrame,
    qrels: pl.DataFrame,
    alike: list[tuple[int, int, float]],
    params: PrepareParams,
) -> Iterator[tuple[int, int]]:
    """What ties rows together, documents first (0..n_documents-1), then queries: relevance and likeness."""
    document_row = {id_: row for row, id_ in enumerate(corpus["document_id"])}
    query_row = {id_: len(document_row) + row for row, id_ in enumerate(queries["query_id"])}
    for query_id, document_id in qrels.select("query_id", "document_id").iter_rows():
        yield query_row[query_id], document_row[document_id]
    for low, high, _ in alike:
        yield low, high
    for low, high, _ in similar_pairs(queries["text"].to_list(), params.query_shingle, params.similar_query):
        yield len(document_row) + low, len(document_row) + high


def prepare(params: PrepareParams, raw: Path, out: Out) -> Receipt:
    """Validates, merges and clusters the raw data."""
    documents, raw_queries, raw_qrels = frames(read_beir(raw))
    queries, qrels = merge_queries(raw_queries, raw_qrels)
    alike = similar_pairs(full_texts(documents), params.document_shingle, params.similar_document)
    twins = [(low, high) for low, high, similarity in alike if similarity >= params.identical_document]
    ids = documents["document_id"]
    documents = documents.with_columns(duplicate_of=ids.gather(components(len(ids), twins)))
    n_judged = qrels.height
    qrels = share_relevance(qrels, documents.select("document_id", "duplicate_of"))
    first = components(documents.height + queries.height, edges(documents, queries, qrels, alike, params))
    if first.max(initial=0) >= documents.height:
        raise BadInput(f"{raw}: a query without relevant documents has reached prepare; run `dvc repro collect`")
    cluster_ids = ids.gather(first)
    write(documents.with_columns(cluster_id=cluster_ids[: documents.height]), out / "corpus.parquet", CORPUS)
    write(queries.with_columns(cluster_id=cluster_ids[documents.height :]), out / "queries.parquet", CLUSTERED_QUERIES)
    write(qrels, out / "qrels.parquet", QRELS)
    return receipt(
        documents,
        queries,
        qrels,
        cluster_ids,
        n_merged=raw_queries.height - queries.height,
        n_shared=qrels.height - n_judged,
    )


def receipt(
    documents: pl.DataFrame,
    queries: pl.DataFrame,
    qrels: pl.DataFrame,
    cluster_ids: pl.Series,
    n_merged: int,
    n_shared: int,
) -> Receipt:
    """The counts that say what was merged and how large clusters became."""
    sizes = cluster_ids.value_counts()["count"]
    return {
        "n_documents": documents.height,
        "n_queries": queries.height,
        "n_qrels": qrels.height,
        "n_queries_merged": n_merged,
        "n_duplicate_documents": documents.filter(pl.col("duplicate_of") != pl.col("document_id")).height,
        "n_qrels_shared_with_duplicates": n_shared,
        "n_clusters": len(sizes),
        "largest_cluster_share": int(sizes.max()) / len(cluster_ids),  # type: ignore[arg-type]
    }


if __name__ == "__main__":
    run(prepare)
