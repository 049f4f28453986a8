"""Judgments that were made after the data was: documents that a system found for a test query, and nobody had judged.

`attune judge --test` writes them to the table that split.judgments names, and stage split counts them as judgments of
test. They come from what base and tuned found, so neither train nor dev may learn from them, and they move no query and
no document to another split.
"""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import NamedTuple

import polars as pl

from attune.data.splitting.duplicates import share_relevance
from attune.data.text_hash import text_hash
from attune.errors import Problems, one_line
from attune.files import replacing
from attune.tables import NEGATIVES, QRELS, full_text


@dataclass(frozen=True)
class Judgment:
    """A row of the table; the fields are its columns.

    Attributes:
        query_id: of a test query.
        document_id: that somebody judged for it.
        relevance: 1 or more where the document answers the query, 0 where it does not.
        judged_by: a person or a model; "" for a person without a name.
        text: hash of both texts, so that no judgment counts for a text that nobody has read.
    """

    query_id: str
    document_id: str
    relevance: int
    judged_by: str
    text: str

    @property
    def key(self) -> tuple[str, str]:
        """Ids of query and document."""
        return self.query_id, self.document_id

    def agrees(self, other: "Judgment") -> bool:
        """Tells whether two judgments of a pair say the same of the same texts, but for the grade of an answer."""
        return self.text == other.text and (self.relevance > 0) == (other.relevance > 0)


COLUMNS = tuple(field.name for field in fields(Judgment))


class Counted(NamedTuple):
    """Judgments of test with those of the table.

    Attributes:
        qrels: QRELS of test, with the answers.
        negatives: NEGATIVES of test, with the documents that were judged as no answers.
        counts: what became of the table's rows; {} where it has none.
    """

    qrels: pl.DataFrame
    negatives: pl.DataFrame
    counts: Mapping[str, int]


def pair_hash(query: str, title: str, text: str) -> str:
    """Returns the hash of a query and a document, by which a judgment belongs to both."""
    return text_hash(f"{query}\n{full_text(title, text)}")


def read_judgments(path: Path) -> list[Judgment]:
    """Reads the table, in the order of the file; no judgments where there is none.

    Raises:
        BadInput: it has other columns, or a row is no judgment or stands twice.
    """
    if not path.is_file():
        return []
    problems, rows = Problems(), {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        try:
            if (head := tuple(next(reader, ()))) != COLUMNS:
                what = f"columns are {','.join(head)!r}, expected {','.join(COLUMNS)}"
                problems.stop(f"{path}:1", f"{what}; restore them")
            for cells in filter(None, reader):
                where = f"{path}:{reader.line_num}"
                if len(cells) != len(COLUMNS) or not (cells[2].isascii() and cells[2].isdigit() and len(cells[2]) < 4):
                    what = f"{len(cells)} cells, relevance {''.join(cells[2:3])!r}"
                    problems.add(where, f"{what}; expected {len(COLUMNS)} and a whole number from 0 on; mend the row")
                    continue
                row = Judgment(cells[0], cells[1], int(cells[2]), *cells[3:])
                if row.key in rows:
                    problems.add(where, f"query {row.query_id!r} and document {row.document_id!r} again; remove one")
                rows[row.key] = row
        except (csv.Error, UnicodeDecodeError) as error:
            problems.stop(str(path), f"not a csv in UTF-8 ({one_line(error)}); restore it from git")
    problems.check()
    return list(rows.values())


def write_judgments(rows: Iterable[Judgment], path: Path) -> None:
    """Writes the table, sorted by query and document, so that equal judgments give equal bytes."""
    with replacing(path) as writing, writing.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(astuple(row) for row in sorted(rows, key=lambda row: row.key))


def counted(
    rows: Iterable[Judgment], queries: pl.DataFrame, corpus: pl.DataFrame, qrels: pl.DataFrame, negatives: pl.DataFrame
) -> Counted:
    """Adds the table's judgments to those of test.

    A near-identical document is judged as its twin is. What the data has judged stays as it is. A row whose query is
    not in test, or of whose texts one has changed or is gone, is left out.

    Args:
        rows: of the table.
        queries: of test, with `query_id` and `text`.
        corpus: CORPUS, with the split of each document.
        qrels: QRELS of test.
        negatives: NEGATIVES of test.
    """
    keys = ["query_id", "document_id"]
    columns = {**QRELS, "hash": pl.String}
    read = pl.DataFrame([(*row.key, row.relevance, row.text) for row in rows], columns, orient="row")
    if read.is_empty():
        return Counted(qrels, negatives, {})
    found = read.join(queries.select("query_id", query="text"), on="query_id").join(corpus, on="document_id")
    now = [pair_hash(*texts) for texts in found.select("query", "title", "text").iter_rows()]
    held = found.filter(pl.col("hash") == pl.Series(now, dtype=pl.String)).select(list(QRELS))
    shared = share_relevance(held, corpus.select("document_id", "duplicate_of"))
    new = shared.join(qrels, on=keys, how="anti").join(negatives, on=keys, how="anti")
    answers, refused = new.filter(pl.col("relevance") > 0), new.filter(pl.col("relevance") <= 0)
    in_train = answers.join(corpus.filter(pl.col("split") != "test"), on="document_id", how="semi")
    return Counted(
        pl.concat([qrels, answers]),
        pl.concat([negatives, refused.select(list(NEGATIVES))]).sort(keys),
        {
            "n_judged_rows": read.height,
            "n_judged_rows_left_out": read.height - held.height,
            "n_judged_answers": answers.height,
            "n_judged_answers_outside_test": in_train.height,
            "n_judged_no_answers": refused.height,
        },
    )
