"""A user's table of queries and the documents that answer them, and, as in triplets, of documents that do not.

One row is a query and a document; a query may have several rows and so may a document. What has no id column is known
by its text: the same text is the same query or document, whatever rows are added.
"""

from difflib import get_close_matches
from pathlib import Path

from tqdm import tqdm

from attune.data.sources.files.columns import Columns
from attune.data.sources.files.lines import shown
from attune.data.sources.files.tabular import columns_of, read_table, single_file
from attune.data.sources.judged import judged
from attune.data.sources.pair_rows import PairRows
from attune.data.sources.raw import RawData
from attune.problems import Problems


def read_pairs(path: Path, columns: Columns) -> RawData:
    """Reads a table, or the only one in a folder; queries and documents keep the order they are first met in.

    Left out and counted: rows without a query or a document, the same pair or negative again, and queries without a
    document that answers them.

    Raises:
        BadInput: the file is missing, malformed or contradicts itself; all problems at once.
    """
    problems = Problems()
    file = single_file(path, problems)
    wanted = _wanted(file, columns, problems)
    rows = PairRows(columns, problems)
    for where, record in tqdm(read_table(file, problems, wanted), desc=file.name, unit=" rows", disable=None):
        rows.add(where, record)
    raw = judged(rows, problems)
    problems.check()
    if raw.qrels and "all" not in raw.qrels and not any(qrel.relevance for qrel in raw.qrels.get("train", [])):
        what = "no document answers a query of train; add rows or leave collect.columns.split empty"
        problems.stop(str(file), f"column {shown(columns.split)}: {what}")
    return raw


def _wanted(file: Path, columns: Columns, problems: Problems) -> list[str]:
    """The columns to read; stops where one is not there, which would otherwise be a problem of each row."""
    named = {key: name for key, name in columns.model_dump(exclude={"negatives"}).items() if name}
    if not columns.query or not columns.document or columns.query == columns.document:
        what = f"collect.columns.query is {shown(columns.query)} and collect.columns.document {shown(columns.document)}"
        problems.stop(str(file), f"{what}, expected two columns; name them in params.yaml")
    wanted = [*named.items(), *(("negatives", name) for name in columns.negatives)]
    found = columns_of(file, Problems())  # what is wrong with rows is noted when they are read
    missing = [
        f"{shown(name)} (collect.columns.{key}{_like(name, found)})" for key, name in wanted if name not in found
    ]
    if missing and found:
        names = ", ".join(map(shown, found[:20])) + (" ..." if len(found) > 20 else "")
        what = f"no column {', no column '.join(missing)}; the columns are {names}; mend collect.columns in params.yaml"
        problems.stop(str(file), what)
    return [name for _, name in wanted]


def _like(name: str, found: list[str]) -> str:
    by_lower = {other.lower(): other for other in found}
    close = get_close_matches(name.lower(), by_lower, n=1)
    return f", did you mean {shown(by_lower[close[0]])}?" if close else ""
