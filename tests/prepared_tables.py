"""Tables of data/prepared and data/splits as tests write them, for documents that are read whole."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from attune.retrieval.passages import PASSAGES
from attune.tables import CORPUS, DOCUMENT_IDS, OWN_TEXTS, QRELS, SPLIT_QUERIES, Columns, write


def filled(columns: Mapping[str, Any], schema: Columns) -> pl.DataFrame:
    """Returns a frame of this schema; columns not given hold empty strings."""
    missing = [pl.lit("").alias(name) for name in schema if name not in columns]
    return pl.DataFrame(columns).with_columns(missing).select(list(schema))


def write_corpus(corpus: pl.DataFrame, folder: Path) -> None:
    """Writes the documents, and the table of passages without rows, as stage prepare does where none is cut."""
    write(corpus, folder / "corpus.parquet", CORPUS)
    write(pl.DataFrame(schema=dict(PASSAGES)), folder / "passages.parquet", PASSAGES)


def write_word_pairs(pairs: Sequence[tuple[str, str]], folder: Path) -> list[str]:
    """Writes a corpus with a document on each pair of words, and returns the documents' ids."""
    ids = [f"d{i:03}" for i in range(len(pairs))]
    texts = [f"{one} {other} of the data" for one, other in pairs]
    write_corpus(filled({"document_id": ids, "text": texts, "duplicate_of": ids, "cluster_id": ids}, CORPUS), folder)
    return ids


def write_split(
    folder: Path,
    queries: Mapping[str, Any],
    judged: Iterable[tuple[str, str, int]],
    documents: Sequence[str] | None = None,
) -> None:
    """Writes a split whose queries are no documents: queries, qrels and own texts, and documents if there are any.

    Args:
        folder: of the split.
        queries: columns of SPLIT_QUERIES; others hold empty strings.
        judged: query id, document id and relevance.
        documents: ids; None writes no table of them.
    """
    table = filled(queries, SPLIT_QUERIES).cast(dict(SPLIT_QUERIES))
    write(table, folder / "queries.parquet", SPLIT_QUERIES)
    write(pl.DataFrame(list(judged), schema=QRELS, orient="row"), folder / "qrels.parquet", QRELS)
    write(pl.DataFrame(schema=OWN_TEXTS), folder / "own_texts.parquet", OWN_TEXTS)
    if documents is not None:
        write(pl.DataFrame({"document_id": documents}), folder / "documents.parquet", DOCUMENT_IDS)
