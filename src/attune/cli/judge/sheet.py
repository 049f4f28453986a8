"""The sheet: pairs of a query and a document, one a row, for a person to fill in with a spreadsheet program.

Mined negatives are drawn at random and in random order, so that the first k of them are a random sample, too: judging
may stop after any row, but may not leave rows out, since those that are easy to judge are not like the others. Unjudged
documents of test queries are no sample (unjudged.py), and any of them may be judged.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from attune.data.sources.files.lines import shown
from attune.data.sources.files.tabular import columns_of, read_table
from attune.errors import Problems
from attune.files import replacing
from attune.tables import full_text

if TYPE_CHECKING:
    import polars as pl

YES, NO, UNDECIDED = "yes", "no", "?"
CELLS = {
    "": "",
    **dict.fromkeys(("yes", "y", "1", "1.0", "true"), YES),
    **dict.fromkeys(("no", "n", "0", "0.0", "false"), NO),
    "?": UNDECIDED,
}


@dataclass(frozen=True)
class Row:
    """A document and the judgement of it; the fields are the columns of the sheet.

    Attributes:
        query: text.
        known_answer: a document that was judged relevant to the query; of mined negatives the one that scores lowest.
        document: the mined negative, or a document that nobody has judged.
        is_answer: yes or no: the document answers the query; ? where nobody can tell; "" before it is judged.
        judged_by: a person or a model; "" for a person without a name.
        query_id: of the query.
        document_id: of the document.
    """

    query: str
    known_answer: str
    document: str
    is_answer: str
    judged_by: str
    query_id: str
    document_id: str

    @property
    def key(self) -> tuple[str, str]:
        """Ids of query and document."""
        return self.query_id, self.document_id


def rows_of(sample: "pl.DataFrame") -> list[Row]:
    """Returns the rows of an empty sheet, in the order of the sample that stage mine drew."""
    return [
        Row(
            query=row["text"],
            known_answer=full_text(row["positive_title"], row["positive_text"]),
            document=full_text(row["negative_title"], row["negative_text"]),
            is_answer="",
            judged_by="",
            query_id=row["query_id"],
            document_id=row["negative_id"],
        )
        for row in sample.iter_rows(named=True)
    ]


def write_sheet(rows: Iterable[Row], path: Path) -> None:
    """Writes a sheet as csv, in UTF-8 with the mark by which spreadsheet programs recognise it."""
    with replacing(path) as writing, writing.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def read_sheet(path: Path) -> dict[str, Row]:
    """Reads a sheet; returns its rows by their place, such as "sheet.csv:7", in the order of the file.

    Raises:
        BadInput: no sheet, or a cell of is_answer holds something else than yes, no or ?; a row stands twice.
    """
    problems = Problems()
    names = [field.name for field in fields(Row)]
    if path.suffix.lower() != ".csv":
        problems.stop(str(path), "expected a sheet in csv; save it so, or name another")
    if lacking := [name for name in names if name not in columns_of(path, problems)]:
        problems.stop(f"{path}:1", f"no column {', '.join(lacking)}; restore the header that attune judge wrote")
    rows: dict[str, Row] = {}
    seen: dict[tuple[str, str], str] = {}
    for where, cells in read_table(path, problems, names):
        row = Row(**{name: cells[name] for name in names})
        cell = row.is_answer.strip().lower()
        if cell not in CELLS:
            problems.add(where, f"is_answer is {shown(row.is_answer)}, expected yes, no, ? or nothing; mend it")
        elif row.key in seen:
            problems.add(where, f"the same query and document as {seen[row.key]}; remove one of the two")
        else:
            rows[where] = replace(row, is_answer=CELLS[cell], judged_by=row.judged_by.strip())
            seen[row.key] = where
    problems.check()
    return rows


def with_judgements(drawn: Sequence[Row], sheet: Path, mined: Path) -> list[Row]:
    """Returns the drawn rows with the judgements of a sheet of them, in the order of the sample.

    Raises:
        BadInput: not a sheet, or rows of it are not in the sample, because the negatives were mined anew since.
    """
    rows, keys = read_sheet(sheet), {row.key for row in drawn}
    if others := [where for where, row in rows.items() if row.key not in keys]:
        advice = f"for a new sheet with the judgements that still hold: attune judge NEW.csv --earlier {sheet}"
        what = f"{len(others)} of {len(rows)} rows are not in the sample of {mined}, which was mined anew since"
        Problems().stop(others[0], f"{what}; {advice}")
    judged = {row.key: row for row in rows.values()}
    return [_filled(row, judged[row.key]) if row.key in judged else row for row in drawn]


def carried_over(drawn: Sequence[Row], earlier: Path) -> list[Row]:
    """Returns the drawn rows with the judgements of an earlier sheet about the same query and document, texts too.

    Raises:
        BadInput: the earlier file is not a sheet.
    """
    judged = {(row.key, *texts(row)): row for row in read_sheet(earlier).values()}
    same = [(row, judged.get((row.key, *texts(row)))) for row in drawn]
    return [row if known is None or row.is_answer else _filled(row, known) for row, known in same]


def judged_rows(rows: Sequence[Row], sheet: Path) -> list[Row]:
    """Returns the judged rows, which are the first ones of the sample.

    Raises:
        BadInput: a row before a judged one is not judged.
    """
    n_judged = sum(bool(row.is_answer) for row in rows)
    if gap := next((row for row in rows[:n_judged] if not row.is_answer), None):
        what = f"query {shown(gap.query_id)}, document {shown(gap.document_id)}: not judged, while later rows are"
        advice = "judge from the top, with ? where nobody can tell: rows left out would bias the share"
        Problems().stop(str(sheet), f"{what}; {advice}")
    return list(rows[:n_judged])


def _filled(row: Row, judged: Row) -> Row:
    return replace(row, is_answer=judged.is_answer, judged_by=judged.judged_by)


def texts(row: Row) -> tuple[str, str]:
    """Returns query and document without the white space that spreadsheet programs change."""
    return " ".join(row.query.split()), " ".join(row.document.split())
