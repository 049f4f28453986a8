"""A user's own data, in the layout of BEIR (Thakur et al. 2021, arXiv 2104.08663).

`corpus.jsonl` ({"_id", "title", "text"}), `queries.jsonl` ({"_id", "text"}) and `qrels/*.tsv` (query-id, corpus-id,
score): train and, as far as they are given, dev and test; or one file, whatever its name, whose split is still to be
made. Each may be .gz or .zst.
"""

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from attune.data.sources.files.cells import Cells
from attune.data.sources.files.lines import shown, text_of
from attune.data.sources.qrels import Judgments, qrels_files
from attune.data.sources.raw import Document, Query, RawData
from attune.data.sources.rows import MakeRow, Row, Rows, read_rows
from attune.problems import Problems

_LAYOUT = "a BEIR folder holds corpus.jsonl, queries.jsonl and qrels/*.tsv, each plain, .gz or .zst"


def read_beir(folder: Path, group: str = "", stratum: str = "") -> RawData:
    """Reads a BEIR folder; rows keep the order of the files, and a judgment of 0 or less is one of 0.

    Group and stratum of a query are under the keys of these names, in its object or in its "metadata". Left out and
    counted: documents and queries without any text, judgments of those, what is repeated, and queries that are left
    without a relevant document, with their judgments.

    Raises:
        BadInput: a file is missing or malformed, an id has two contents or is unknown, a pair is judged in two ways, a
            query is in two splits, or nothing is left of a split; all that is wrong, one problem a line.
    """
    problems = Problems()
    if not folder.is_dir():
        problems.stop(str(folder), f"{'a file' if folder.exists() else 'not found'}, expected a folder; {_LAYOUT}")
    documents = _rows(folder / "corpus.jsonl", partial(_document, problems), problems)
    queries = _rows(folder / "queries.jsonl", partial(_query, problems, group, stratum), problems)
    _check_ties(queries, group, stratum, problems)
    judgments = Judgments(queries, documents, problems)
    for split, file in qrels_files(folder / "qrels", problems).items():
        judgments.read(split, file)
    problems.check()
    raw = _without_blank(documents, queries, judgments)
    if len(raw.qrels) == 1:
        raw = replace(raw, qrels={"all": next(iter(raw.qrels.values()))})
    elif "train" not in raw.qrels:
        problems.add(str(folder / "qrels"), "got dev.tsv and test.tsv, expected train.tsv as well; add it")
    problems.check()
    return raw


def _rows(path: Path, make: MakeRow[Row], problems: Problems) -> Rows[Row]:
    """The rows of a file, also where it has .gz or .zst after its name; none where it is missing."""
    found = [file for suffix in ("", ".gz", ".zst") if (file := path.with_name(f"{path.name}{suffix}")).exists()]
    if len(found) > 1:
        names = " and ".join(file.name for file in found)
        problems.add(str(path.parent), f"got {names}, expected one of them; remove the others")
    elif not found:
        problems.add(str(path), f"not found; {_LAYOUT}")
    return read_rows(found[0], make, problems) if found else Rows(path, is_whole=False)


def _document(problems: Problems, where: str, id_: str, record: dict[str, Any]) -> Document | None:
    title = "" if record.get("title") is None else text_of(where, record, "title", problems)
    text = text_of(where, record, "text", problems)
    return None if title is None or text is None else Document(id_, title, text)


def _query(problems: Problems, group: str, stratum: str, where: str, id_: str, record: dict[str, Any]) -> Query | None:
    text = text_of(where, record, "text", problems)
    metadata = record.get("metadata")
    cells = Cells(where, {**(metadata if isinstance(metadata, dict) else {}), **record}, problems)
    ties = [cells.label(key) if key else "" for key in (group, stratum)]
    return None if text is None or None in ties else Query(id_, text, *(tie or "" for tie in ties))


def _check_ties(queries: Rows[Query], group: str, stratum: str, problems: Problems) -> None:
    """A key that no query has is a slip, and without its groups the split would leak."""
    for parameter, key, place in (("group", group, 2), ("stratum", stratum, 3)):
        if key and queries.by_id and not any(query[place] for query in queries.by_id.values()):
            what = f"no query has {shown(key)}; set collect.columns.{parameter} to a key of the queries, or to ''"
            problems.add(str(queries.path), what)


def _without_blank(documents: Rows[Document], queries: Rows[Query], judgments: Judgments) -> RawData:
    """What is left when documents and queries without text are, and then queries without a relevant document."""
    kept_documents = [row for row in documents.by_id.values() if (row.title + row.text).strip()]
    kept_queries = [row for row in queries.by_id.values() if row.text.strip()]
    dropped = Counter(
        document_blank=len(documents.by_id) - len(kept_documents),
        document_repeated=documents.n_repeated,
        qrel_repeated=judgments.n_repeated,
        query_blank=len(queries.by_id) - len(kept_queries),
        query_repeated=queries.n_repeated,
    )
    ids = {row.query_id for row in kept_queries}, {row.document_id for row in kept_documents}
    qrels = judgments.between(*ids, dropped)
    answered = {qrel.query_id for split in qrels.values() for qrel in split}
    dropped["query_without_relevant"] = sum(row.query_id not in answered for row in kept_queries)
    return RawData(kept_documents, [row for row in kept_queries if row.query_id in answered], qrels, dropped=dropped)
