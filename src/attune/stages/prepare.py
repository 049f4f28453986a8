"""Merges identical queries and documents and clusters near-duplicates, so that no split or score rests on repetition.

Identical queries become one query with several relevant documents. Near-identical documents, titles included
(`duplicate_of`), share their relevance judgments, so a correct answer never counts as a miss. There are two
clusterings, one for each protocol of stage split, and both are connected components:

- `cluster_id`, over relevance, groups of queries, near-duplicate documents, near-duplicate queries, and queries that
  are or nearly are a document's text, or are its title. It is named after its first document in the corpus's order.
- `query_cluster_id`, over the queries alone: near-duplicates, groups, and a query that is or nearly is a relevant
  document of another query, with that query. It is named after its first query. A title is no edge here: it would join
  all queries of a document that is named by one of them, and documents are known there, titles included.

Rows appended to the data leave the names of old clusters as they are, unless a row connects two of them, which then
share the first one's name.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from attune.data.passages import PassageParams, passages_of
from attune.data.raw_tables import read_raw_forms
from attune.data.splitting.clusters import components
from attune.data.splitting.crossing import Readings, compare_roles, equal_titles
from attune.data.splitting.duplicates import MergedData, merge_raw, share_relevance
from attune.data.splitting.leaks import NearDuplicates
from attune.data.splitting.paraphrases import merge_paraphrases
from attune.data.splitting.similarity import alike, alike_with_symbols
from attune.errors import BadInput
from attune.retrieval.passages import PASSAGES
from attune.runtime.arrays import Int64
from attune.stage import Out, Params, Receipt, run
from attune.tables import (
    CLUSTERED_QUERIES,
    CORPUS,
    DOCUMENT_FORMS,
    MERGED_QUERIES,
    NEGATIVES,
    PARAPHRASES,
    QRELS,
    write,
)

TABLES = {
    "corpus": CORPUS,
    "queries": CLUSTERED_QUERIES,
    "qrels": QRELS,
    "negatives": NEGATIVES,
    "merged_queries": MERGED_QUERIES,
    "paraphrases": PARAPHRASES,
    "forms": DOCUMENT_FORMS,
    "indexed": DOCUMENT_FORMS,
    "passages": PASSAGES,
}


class PrepareParams(Params):
    """Jaccard similarities of word shingles from which on texts are the same answer or in one cluster; and passages."""

    document_shingle: int = Field(ge=1, le=20)
    query_shingle: int = Field(ge=1, le=20)
    identical_document: float = Field(gt=0, le=1)
    similar_document: float = Field(gt=0, le=1)
    similar_query: float = Field(gt=0, le=1)
    passages: PassageParams

    @model_validator(mode="after")
    def _identical_is_similar(self) -> "PrepareParams":
        if self.identical_document < self.similar_document:
            raise ValueError("identical_document must not be below similar_document")
        return self

    def near_duplicates(self) -> NearDuplicates:
        """Returns the definition by which the splits are audited."""
        return NearDuplicates(self.query_shingle, self.document_shingle, self.similar_query, self.similar_document)


def own_negatives(qrels: pl.DataFrame, answers: pl.DataFrame) -> pl.DataFrame:
    """Returns the documents judged 0 for a query, except those that are near-identical to a relevant one."""
    negatives = qrels.filter(pl.col("relevance") <= 0).select(list(NEGATIVES))
    return negatives.join(answers, on=list(NEGATIVES), how="anti").sort(list(NEGATIVES))


def judged_rows(documents: pl.DataFrame, queries: pl.DataFrame, qrels: pl.DataFrame) -> Int64:
    """Returns the judgments as pairs (query row, document row), (n judgments, 2)."""
    document_row = documents.select("document_id").with_row_index("document_row")
    query_row = queries.select("query_id").with_row_index("query_row")
    rows = qrels.join(document_row, on="document_id").join(query_row, on="query_id")
    return _pairs(rows.select("query_row", "document_row"))


def group_edges(queries: pl.DataFrame, groups: pl.DataFrame) -> Int64:
    """Returns edges between the rows of queries that connect the groups of the user's data, (n_edges, 2)."""
    query_row = queries.select("query_id").with_row_index("query_row")
    grouped = groups.filter(pl.col("group") != "").join(query_row, left_on="kept", right_on="query_id")
    return _pairs(grouped.select(pl.col("query_row").min().over("group").alias("first"), "query_row"))


def _pairs(rows: pl.DataFrame) -> Int64:
    return rows.to_numpy().astype(np.int64).reshape(-1, 2)


def paraphrases_of(data: MergedData, duplicates: pl.DataFrame) -> pl.DataFrame:
    """Returns the paraphrases, merged by equal text, with all near-identical documents."""
    texts, qrels = data.paraphrases
    answers = qrels.filter(pl.col("relevance") > 0).select("query_id", "document_id")
    return pl.DataFrame(
        merge_paraphrases(texts.rows(), answers.rows(), dict(duplicates.iter_rows())), PARAPHRASES, orient="row"
    )


def cluster_queries(n: int, alike: Int64, grouped: Int64, crossed: Int64, judged: Int64) -> tuple[Int64, Int64]:
    """Clusters queries by themselves, as split.by: query keeps them whole.

    Args:
        n: number of queries.
        alike: edges between near-duplicate queries, (n_edges, 2).
        grouped: edges between queries of a group.
        crossed: pairs (query row, document row) of a query that is or nearly is this document.
        judged: pairs (query row, document row) of relevance.

    Returns:
        For each query the first one of its cluster, and the first one of its near-duplicates, (n,) each.
    """
    # a document that is also a query connects all queries that it is relevant to
    hubs = judged[np.isin(judged[:, 1], crossed[:, 1])]
    edges = np.concatenate([alike, grouped, crossed + np.array([0, n]), hubs + np.array([0, n])])
    clusters = components(int(edges.max(initial=n - 1)) + 1, edges)[:n]
    return clusters, components(n, alike)


def cut(corpus: pl.DataFrame, params: PassageParams) -> pl.DataFrame:
    """Returns the passages of all documents, in their order; no rows where passages are off."""
    documents = corpus.select("document_id", "title", "text").iter_rows() if params.tokens else []
    rows = [(id_, *passage) for id_, title, text in documents for passage in passages_of(title, text, params)]
    return pl.DataFrame(rows, dict(PASSAGES), orient="row")


def tables_of(data: MergedData, params: PrepareParams) -> dict[str, pl.DataFrame]:
    """Returns the tables of data/prepared, with shared judgments and clusters; without other forms and passages.

    Raises:
        BadInput: a query has no relevant document.
    """
    titles, bodies = (data.documents[name].to_list() for name in ("title", "text"))
    readings = Readings.of(titles, bodies)
    texts = readings.texts[: data.documents.height]
    similar = alike(texts, params.document_shingle, params.similar_document)
    ids, n = data.documents["document_id"], data.documents.height
    identical = alike_with_symbols(texts, similar, params.document_shingle, params.identical_document)
    documents = data.documents.with_columns(duplicate_of=ids.gather(components(n, identical)))
    answers = data.judged.filter(pl.col("relevance") > 0)
    duplicates = documents.select("document_id", "duplicate_of")
    qrels = share_relevance(answers, duplicates)
    asked = data.queries["text"].to_list()
    roles = compare_roles(asked, readings.texts, params.query_shingle, params.similar_query)
    near, crossed = roles.queries.edges(), readings.of_documents(roles.crossings())
    titled = equal_titles(asked, titles)
    grouped, judged = group_edges(data.queries, data.groups), judged_rows(documents, data.queries, qrels)
    # documents come first, so that they name the clusters
    edges = [
        similar.edges(),
        near + n,
        grouped + n,
        *(pairs[:, ::-1] + np.array([0, n]) for pairs in (crossed, titled, judged)),
    ]
    clusters = components(n + data.queries.height, np.concatenate(edges))
    if clusters.max(initial=0) >= n:
        raise BadInput("prepare: data/raw holds a query without a relevant document; run `dvc repro collect`")
    own, near_group = cluster_queries(data.queries.height, near, grouped, crossed, judged)
    query_ids = data.queries["query_id"]
    queries = data.queries.with_columns(
        cluster_id=ids.gather(clusters[n:]),
        query_cluster_id=query_ids.gather(own),
        near_group=query_ids.gather(near_group),
    )
    return {
        "corpus": documents.with_columns(cluster_id=ids.gather(clusters[:n])).select(list(CORPUS)),
        "queries": queries.select(list(CLUSTERED_QUERIES)),
        "qrels": qrels,
        "negatives": own_negatives(data.judged, qrels),
        "merged_queries": data.kept.filter(pl.col("query_id") != pl.col("kept")).select(
            merged_id="query_id", query_id="kept"
        ),
        "paraphrases": paraphrases_of(data, duplicates),
    }


def prepare(params: PrepareParams, raw: Path, out: Out) -> Receipt:
    """Validates, merges and clusters the raw data."""
    data = merge_raw(raw)
    tables = tables_of(data, params)
    for name, folder in (("forms", raw), ("indexed", raw / "as_indexed")):
        forms = read_raw_forms(folder)
        tables[name] = forms.join(tables["corpus"], on="document_id", how="semi").sort("document_id", "text")
    tables["passages"] = cut(tables["corpus"], params.passages)
    for name, columns in TABLES.items():
        write(tables[name], out / f"{name}.parquet", columns)
    return receipt(tables, n_judged=data.judged.filter(pl.col("relevance") > 0).height)


def passage_figures(passages: pl.DataFrame) -> Receipt:
    """Counts passages and the documents that have several; {} where passages are off."""
    if not passages.height:
        return {}
    per_document = passages.group_by("document_id").len()["len"]
    return {
        "n_passages": passages.height,
        "n_documents_cut": int((per_document > 1).sum()),
        "passages_per_document": passages.height / len(per_document),
    }


def receipt(tables: Mapping[str, pl.DataFrame], n_judged: int) -> Receipt:
    """Counts rows, merged queries and documents, and clusters."""
    rows = pl.concat([tables[name].select("cluster_id") for name in ("corpus", "queries")])
    sizes = rows["cluster_id"].value_counts()["count"]
    of_queries = tables["queries"]["query_cluster_id"].value_counts()["count"]
    duplicates = tables["corpus"].filter(pl.col("duplicate_of") != pl.col("document_id"))
    return {
        "n_documents": tables["corpus"].height,
        **passage_figures(tables["passages"]),
        "n_forms": tables["forms"].height,
        "n_queries": tables["queries"].height,
        "n_qrels": tables["qrels"].height,
        "n_negatives": tables["negatives"].height,
        "n_paraphrases": tables["paraphrases"].height,
        "n_queries_merged": tables["merged_queries"].height,
        "n_duplicate_documents": duplicates.height,
        "n_qrels_shared_with_duplicates": tables["qrels"].height - n_judged,
        "n_clusters": len(sizes),
        "largest_cluster_share": int(sizes.max()) / rows.height,  # type: ignore[arg-type]
        "n_query_clusters": len(of_queries),
        "largest_query_cluster_share": int(of_queries.max()) / tables["queries"].height,  # type: ignore[arg-type]
    }


if __name__ == "__main__":
    run(prepare)
