"""Schemas, readers and writers of the tables that stages exchange: parquet between stages, csv in metrics/plots.

Rows keep the order of the raw files or are sorted by key, so that the same content gives the same bytes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from attune.errors import BadInput

SPLITS = ("train", "dev", "test")

Columns = Mapping[str, pl.DataType | type[pl.DataType]]

DOCUMENTS: Columns = {"document_id": pl.String, "title": pl.String, "text": pl.String}
QUERIES: Columns = {"query_id": pl.String, "text": pl.String}
QRELS: Columns = {"query_id": pl.String, "document_id": pl.String, "relevance": pl.Int64}
# data/raw: other forms of documents, in which people index them, too
DOCUMENT_FORMS: Columns = {"document_id": pl.String, "text": pl.String}
# ... group and stratum are "" where the data has none
RAW_QUERIES: Columns = {**QUERIES, "group": pl.String, "stratum": pl.String}
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
# metrics/plots: training loss and dev nDCG@10 by seed and step, empty where not measured
TRAINING_CURVE: Columns = {"seed": pl.Int64, "step": pl.Int64, "loss": pl.Float64, "dev_ndcg@10": pl.Float64}
# ... nDCG@10 on dev of every probed learning rate after a few steps, by share of the trained weights
RATES: Columns = {
    **{"learning_rate": pl.Float64, "n_steps": pl.Int64},
    **{"share": pl.Float64, "dev_ndcg@10": pl.Float64, "is_chosen": pl.Boolean},
}
# ... candidates of merge, base (step 0) first: a checkpoint, or the average of the last n_averaged ones up to a step,
# at a share of its weights; se: standard error of the paired difference to base on dev; near-domain: mean over the
# tasks; both others are empty where a candidate did not come into question
MERGE_CURVE: Columns = {
    **{"step": pl.Int64, "n_averaged": pl.Int64, "share": pl.Float64},
    **dict.fromkeys(("dev_ndcg@10", "se", "general_ndcg@10", "near_domain_ndcg@10"), pl.Float64),
    **{"is_chosen": pl.Boolean, "is_next": pl.Boolean},
}
# ... base against tuned by task and measure
COMPARISONS: Columns = {
    **{"task": pl.String, "measure": pl.String, "n": pl.Int64},
    **dict.fromkeys(("base", "tuned", "delta", "low", "high", "p", "p_holm"), pl.Float64),
    **{"wins": pl.Int64, "ties": pl.Int64, "losses": pl.Int64, "smallest_detectable": pl.Float64},
}
# ... base against tuned by slice of the test queries
SLICES: Columns = {
    **{"slice": pl.String, "bin": pl.String, "n": pl.Int64},
    **dict.fromkeys(("base", "tuned", "delta", "low", "high", "p_holm"), pl.Float64),
}
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


def read_raw(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, pl.DataFrame]]:
    """Reads data/raw: documents, queries, and qrels by split ("all" where the data brings no split).

    Raises:
        BadInput: a file is missing or was not written by stage collect.
    """
    documents, queries = (
        _raw(pl.read_ndjson, folder / f"{name}.jsonl", {"_id": pl.String, **dict(list(columns.items())[1:])})
        .with_columns(pl.col(name_of).fill_null("") for name_of in list(columns)[1:])
        .rename({"_id": next(iter(columns))})
        for name, columns in (("corpus", DOCUMENTS), ("queries", RAW_QUERIES))
    )
    files = [folder / "qrels" / f"{split}.tsv" for split in (*SPLITS, "all")]
    return documents, queries, {file.stem: _raw_qrels(file) for file in files if file.is_file()}


def read_raw_paraphrases(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Reads the paraphrases of data/raw and their qrels; both are empty where the source has none.

    Raises:
        BadInput: a file was not written by stage collect, or one of the two is missing.
    """
    file = folder / "paraphrases.jsonl"
    if not file.is_file() or not file.stat().st_size:
        return pl.DataFrame(schema=dict(QUERIES)), pl.DataFrame(schema=dict(QRELS))
    texts = _raw(pl.read_ndjson, file, {"_id": pl.String, "text": pl.String}).rename({"_id": "query_id"})
    return texts, _raw_qrels(folder / "paraphrases.tsv")


def read_raw_forms(folder: Path) -> pl.DataFrame:
    """Reads the documents' other forms in data/raw/forms.jsonl; empty where the source has none.

    Raises:
        BadInput: the file was not written by stage collect.
    """
    file = folder / "forms.jsonl"
    if not file.is_file() or not file.stat().st_size:
        return pl.DataFrame(schema=dict(DOCUMENT_FORMS))
    return _raw(pl.read_ndjson, file, {"_id": pl.String, "text": pl.String}).rename({"_id": "document_id"})


def _raw_qrels(file: Path) -> pl.DataFrame:
    judged = {"query-id": pl.String, "corpus-id": pl.String, "score": pl.Int64}
    frame = _raw(pl.read_csv, file, judged, separator="\t", quote_char=None)
    return frame.rename(dict(zip(judged, QRELS, strict=True)))


def _raw(reader: Callable[..., pl.DataFrame], path: Path, columns: Columns, **options: str | None) -> pl.DataFrame:
    if not path.is_file():
        raise BadInput(f"{path}: not found; run `dvc repro` to make it")
    try:
        return reader(path, schema=dict(columns), **options)
    except pl.exceptions.PolarsError as error:
        raise BadInput(f"{path}: not what its stage writes ({error}); delete it and run `dvc repro`") from None


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


def read_csv(path: Path, columns: Columns) -> pl.DataFrame:
    """Reads these columns of a csv file; other columns are left out, empty cells are null.

    Args:
        path: a file of metrics/plots.
        columns: names and types: text, whole numbers, numbers, booleans (`true`, `false`).

    Raises:
        BadInput: the file is missing, is not csv, lacks a column, or a cell is not of its column's type.
    """
    if not path.is_file():
        raise BadInput(f"{path}: not found; run `dvc repro` to make it")
    try:
        cells = pl.read_csv(path, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise BadInput(f"{path}: not a readable csv file ({error}); delete it and run `dvc repro`") from None
    lacking = [name for name in columns if name not in cells.columns]
    if lacking:
        raise BadInput(f"{path}: no column {', '.join(lacking)}; delete it and run `dvc repro`")
    return cells.select(_typed(path, cells[name], kind) for name, kind in columns.items())


def _typed(path: Path, cells: pl.Series, kind: pl.DataType | type[pl.DataType]) -> pl.Series:
    """Returns a csv column, read as text, as its type; names the first cell that is not of that type."""
    if kind == pl.Boolean:
        values = cells.replace_strict({"true": True, "false": False}, default=None, return_dtype=pl.Boolean)
    else:
        values = cells.cast(kind, strict=False)
    wrong = (cells.is_not_null() & values.is_null()).arg_true()
    if wrong.len():
        row = wrong[0]
        raise BadInput(
            f"{path}:{row + 2}: {cells.name} is {cells[row]!r}, expected {kind}; delete the file and run `dvc repro`"
        )
    return values


def records_table(records: Iterable[Any], columns: Columns) -> pl.DataFrame:
    """Returns dataclass records as a table, floats rounded to six digits after the point.

    Args:
        records: one per row, with a field for each column.
        columns: names and types, in the order of the fields.
    """
    rows = [
        # + 0.0 turns -0.0 into 0.0
        {name: round(value, 6) + 0.0 if isinstance(value, float) else value for name, value in asdict(record).items()}
        for record in records
    ]
    return pl.DataFrame(rows, schema=dict(columns))


def write_csv(frame: pl.DataFrame, path: Path, columns: Columns) -> None:
    """Writes a table as csv; the frame must have exactly these columns, null becomes an empty cell.

    Raises:
        OSError: the file cannot be written, for example because the disk is full.
    """
    if dict(frame.schema) != dict(columns):
        raise ValueError(f"{path}: columns are {dict(frame.schema)}, expected {dict(columns)}")
    try:
        frame.write_csv(path)
    except pl.exceptions.PolarsError as error:  # how polars reports a full disk
        raise OSError(f"{path}: cannot be written ({error}); make room or check the permissions") from None
