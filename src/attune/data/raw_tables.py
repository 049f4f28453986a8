"""Reads data/raw, which has BEIR's layout, as tables."""

from collections.abc import Callable
from pathlib import Path

import polars as pl

from attune.errors import BadInput
from attune.tables import DOCUMENT_FORMS, DOCUMENTS, QRELS, QUERIES, SPLITS, Columns

# group and stratum are "" where the data has none
RAW_QUERIES: Columns = {**QUERIES, "group": pl.String, "stratum": pl.String}


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
