"""Passages of a corpus, as encoders read them; whole documents where none is cut.

Embeddings of a corpus have one row per passage, in the order of the documents.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from attune.errors import BadInput
from attune.runtime.arrays import Int64
from attune.tables import Columns, full_texts, read

# data/prepared: range of characters in a document's full text, and what encoders read; no rows where none is cut
PASSAGES: Columns = {"document_id": pl.String, "start": pl.Int64, "stop": pl.Int64, "text": pl.String}
# data/mined: the passage (0: first) in which a query's row of training reads a document of several passages
READ_PASSAGES: Columns = {"query_id": pl.String, "document_id": pl.String, "passage": pl.Int64}


@dataclass(frozen=True)
class Passages:
    """Passages of a corpus in the order of its documents.

    Attributes:
        corpus: table of documents.
        table: of passages; empty where no document is cut.
    """

    corpus: pl.DataFrame
    table: pl.DataFrame

    def __len__(self) -> int:
        """Number of passages, or of documents where none is cut: the rows of the corpus's embeddings."""
        return self.table.height or self.corpus.height

    @property
    def is_cut(self) -> bool:
        """Tells whether documents are read in passages."""
        return self.table.height > 0

    @cached_property
    def texts(self) -> list[str]:
        """Text of each passage, as encoders read it."""
        return self.table["text"].to_list() if self.is_cut else full_texts(self.corpus)

    @cached_property
    def document_rows(self) -> Int64:
        """Row of each passage's document, (n_passages,), ascending."""
        if not self.is_cut:
            return np.arange(self.corpus.height)
        row_of = {id_: row for row, id_ in enumerate(self.corpus["document_id"])}
        return np.array([row_of[id_] for id_ in self.table["document_id"]], dtype=np.int64)

    @property
    def first(self) -> Int64:
        """Row of each document's first passage, (n_documents,)."""
        return np.searchsorted(self.document_rows, np.arange(self.corpus.height))

    def of(self, document_ids: pl.Series) -> list[str]:
        """Returns the texts of the passages of some documents, in the corpus's order."""
        rows = np.flatnonzero(self.corpus["document_id"].is_in(document_ids.implode()).to_numpy())
        return [self.texts[row] for row in np.flatnonzero(np.isin(self.document_rows, rows)).tolist()]

    def of_documents(self) -> dict[str, list[str]]:
        """Returns the texts of the passages by document id; {} where no document is cut."""
        texts: dict[str, list[str]] = {}
        for id_, text in self.table.select("document_id", "text").iter_rows():
            texts.setdefault(id_, []).append(text)
        return texts


def read_passages(prepared: Path, corpus: pl.DataFrame) -> Passages:
    """Reads the passages of data/prepared; no document is cut where the table has no rows.

    Raises:
        BadInput: the table is missing or damaged, or its documents are not those of the corpus.
    """
    file = prepared / "passages.parquet"
    table = read(file, PASSAGES)
    if table.height and table["document_id"].rle().struct.field("value").to_list() != corpus["document_id"].to_list():
        raise BadInput(f"{file}: passages are of other documents than those of the corpus; run `dvc repro prepare`")
    return Passages(corpus, table)


def read_as(mined: Path, passages: Mapping[str, list[str]]) -> dict[tuple[str, str], str]:
    """Reads the passage of each document of several in the rows of training, by the ids of query and document.

    Args:
        mined: folder of stage mine; in its table are the pairs whose document is not read whole.
        passages: by document id.

    Raises:
        BadInput: the table is missing or damaged.
    """
    rows = read(mined / "passages.parquet", READ_PASSAGES).iter_rows()
    return {(query_id, document_id): passages[document_id][place] for query_id, document_id, place in rows}
