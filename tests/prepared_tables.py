"""Tables of data/prepared as tests write them, for documents that are read whole."""

from pathlib import Path

import polars as pl

from attune.retrieval.passages import PASSAGES
from attune.tables import CORPUS, write


def write_corpus(corpus: pl.DataFrame, folder: Path) -> None:
    """Writes the documents, and the table of passages without rows, as stage prepare does where none is cut."""
    write(corpus, folder / "corpus.parquet", CORPUS)
    write(pl.DataFrame(schema=dict(PASSAGES)), folder / "passages.parquet", PASSAGES)
