"""Columns of the tables that stages exchange, and how they are read and written as parquet.

Rows keep the order of the raw files or are sorted by key, so that the same content gives the same bytes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from attune.errors import BadInput

SPLITS = ("train", "dev", "test")

Columns = Mapping[str, pl.DataType | type[pl.DataType]]

DOCUMENTS: Columns = {"document_id": pl.String, "title": pl.String, "text": pl.String}
QUERIES: Columns = {"query_id": pl.String, "text": pl.String}
QRELS: Columns = {"query_id": pl.String, "document_id": pl.String, "relevance": pl.Int64}
# data/raw: other forms of documents, in which people index them, too
DOCUMENT_FORMS: Columns = {"document_id": pl.String, "text": pl.String}
# data/prepared: adds the cluster, and for documents the first of the near-identical ones (itself when alone)
CORPUS: Columns = {**DOCUMENTS, "duplicate_of": pl.String, "cluster_id": pl.String}
# ... and for queries the split that the data brings ("" where stage split decides), the first of the near-identical
# queries (itself when alone), and the cluster over the queries alone, which split.by: query keeps whole
CLUSTERED_QUERIES: Columns = {
    **QUERIES,
    "cluster_id": pl.String,
    "query_cluster_id": pl.String,
    "near_group": pl.String,
    "given_split": pl.String,
    "stratum": pl.String,
}
# a query merged into an earlier one with the same text, which takes over its documents
MERGED_QUERIES: Columns = {"merged_id": pl.String, "query_id": pl.String}
# a document judged not relevant to the query: a hard negative of the data's own
NEGATIVES: Columns = {"query_id": pl.String, "document_id": pl.String}
# a paraphrased query with all its relevant documents
PARAPHRASES: Columns = {**QUERIES, "document_ids": pl.List(pl.String)}
# data/splits: queries, whose cluster is the one that the protocol (split.by) keeps whole
SPLIT_QUERIES: Columns = {name: kind for name, kind in CLUSTERED_QUERIES.items() if name != "query_cluster_id"}
# ... the documents that may be searched or mined for a split
DOCUMENT_IDS: Columns = {"document_id": pl.String}
# ... documents with the text of the query itself, which split.leave_out_own_text leaves out of its ranking
OWN_TEXTS: Columns = {"query_id": pl.String, "document_id": pl.String}
# data/splits and data/audit: leaks between splits, one row per leaked text and kind; crossed: a query that is a
# document of an earlier split, or a document that is a query there
LEAKS: Columns = {
    "split": pl.String,
    "kind": pl.String,
    "leaked_id": pl.String,
    "match_id": pl.String,
    "similarity": pl.Float64,
}
# dev must not contain texts of train, test none of train or dev
SEEN = {"dev": ("train",), "test": ("train", "dev")}
# the kinds of leaks: by id or words (stage split), by embeddings (stage audit)
LEXICAL = (
    *("exact_queries", "near_queries", "crossed_queries"),
    *("shared_documents", "exact_documents", "near_documents", "crossed_documents"),
)
SEMANTIC = ("semantic_queries", "semantic_documents")


class Leak(NamedTuple):
    """A row of LEAKS: a query or document of dev or test, and the most similar text of an earlier split."""

    split: str
    kind: str
    leaked_id: str
    match_id: str
    similarity: float


# data/mined: a query, one of its relevant documents, and the negatives to train it with
TRIPLETS: Columns = {
    "query_id": pl.String,
    "text": pl.String,
    "near_group": pl.String,
    "document_id": pl.String,
    "relevance": pl.Int64,
    "negative_ids": pl.List(pl.String),
}
# ... and a sample for the human eye: a negative beside the lowest-scoring relevant document of its query
NEGATIVE_SAMPLE: Columns = {
    "query_id": pl.String,
    "text": pl.String,
    "positive_id": pl.String,
    "positive_title": pl.String,
    "positive_text": pl.String,
    "positive_score": pl.Float64,
    "negative_id": pl.String,
    "negative_title": pl.String,
    "negative_text": pl.String,
    "negative_score": pl.Float64,
    "source": pl.String,
}
# models/rounds: nDCG@10 of a dev query by a checkpoint at a share of its weights; base is step 0, share 0
DEV_SCORES: Columns = {"step": pl.Int64, "share": pl.Float64, "query_id": pl.String, "ndcg@10": pl.Float64}
# data/probe: an item (query, pair, text) of a counted task, and its value of the task's main measure; similarity, whose
# measure is a rank correlation, has the pair's cosine as value, and its grade (null elsewhere)
PROBE_ITEMS: Columns = {
    **{"task": pl.String, "measure": pl.String, "item": pl.String, "cluster": pl.String},
    **{"value": pl.Float64, "grade": pl.Float64},
}
# data/runs: ranked documents per query; the columns of scores.parquet are named by the measures
RUN: Columns = {"query_id": pl.String, "rank": pl.Int64, "document_id": pl.String, "score": pl.Float64}


def scores_columns(measures: Sequence[str]) -> Columns:
    """Returns the columns of data/runs/*/scores.parquet: one row per query, one column per measure."""
    return {"query_id": pl.String, "split": pl.String} | dict.fromkeys(measures, pl.Float64)


def seed_scores_columns(measures: Sequence[str]) -> Columns:
    """Returns the columns of data/seeds/scores.parquet: one row per seed and query, one column per measure."""
    return {"seed": pl.Int64} | dict(scores_columns(measures))


def read(path: Path, columns: Columns) -> pl.DataFrame:
    """Reads a parquet table and checks that it has exactly these columns.

    Raises:
        BadInput: the file is missing or is not that table.
    """
    if not path.is_file():
        raise BadInput(f"{path}: not found; run `dvc repro` to make it")
    try:
        frame = pl.read_parquet(path)
    except pl.exceptions.PolarsError as error:
        raise BadInput(f"{path}: not a readable parquet file ({error}); delete it and run `dvc repro`") from None
    if dict(frame.schema) != dict(columns):
        raise BadInput(f"{path}: columns are {dict(frame.schema)}, expected {dict(columns)}; run `dvc repro`")
    return frame


def write(frame: pl.DataFrame, path: Path, columns: Columns) -> None:
    """Writes a table as parquet, making the folder when needed; the frame must have exactly these columns.

    Raises:
        OSError: the file cannot be written, for example because the disk is full.
    """
    if dict(frame.schema) != dict(columns):
        raise ValueError(f"{path}: columns are {dict(frame.schema)}, expected {dict(columns)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        frame.write_parquet(path)
    except pl.exceptions.PolarsError as error:  # how polars reports a full disk
        raise OSError(f"{path}: cannot be written ({error}); make room or check the permissions") from None


def full_text(title: str, text: str) -> str:
    """Joins title, if any, and body of a document: the text that encoders and BM25 read (BEIR's convention)."""
    return f"{title} {text}".strip()


def full_texts(documents: pl.DataFrame) -> list[str]:
    """Returns the full text of each document, in row order."""
    return [full_text(title, text) for title, text in documents.select("title", "text").iter_rows()]


def form_texts(forms: pl.DataFrame, documents: pl.DataFrame) -> dict[str, str]:
    """Returns the full text of each document's other form, title included, by document id."""
    titles = dict(documents.select("document_id", "title").iter_rows())
    return {id_: full_text(titles[id_], text) for id_, text in forms.select("document_id", "text").iter_rows()}
