"""Draws the sheet of the unjudged documents that may change the verdict most, and adds their judgements to test.

Base and tuned found them for test queries and disagree about them (`evaluation.holes.pairs`). The sheet does not tell
which of the two did, so that nobody judges in favour of one. Answers go to the table that split.judgments names; the
next `dvc repro` counts them, and trains nothing anew.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from attune.cli.judge.command import MODEL_ALONE, SHEETS, filled
from attune.cli.judge.estimate import judges
from attune.cli.judge.interface import Added
from attune.cli.judge.models import JudgeParams
from attune.cli.judge.sheet import UNDECIDED, YES, Row, read_sheet, texts, write_sheet
from attune.data.judgments import Judgment, pair_hash, read_judgments, write_judgments
from attune.evaluation.holes.pairs import most_telling
from attune.evaluation.holes.pool import pool_of
from attune.evaluation.report.examples import read_rankings
from attune.stage import all_params, load_params
from attune.tables import CORPUS, NEGATIVES, full_text, read

RUNS, TEST, CORPUS_FILE = Path("data/runs"), Path("data/splits/test"), Path("data/prepared/corpus.parquet")
SIDES = ("base", "tuned")
NEXT = "`make repro` counts them: split, evaluate and what follows; nothing is trained or embedded"


class Texts(NamedTuple):
    """Texts of the test queries and of the documents, by id; a document's title and text."""

    queries: dict[str, str]
    documents: dict[str, tuple[str, str]]


def judge_test(sheet: Path | None, reranker: str, is_endpoint: bool) -> Added:
    """Writes the sheet where there is none, lets a model judge if one is named, and adds what was judged to the table.

    Args:
        sheet: the file; None takes data/judged/test.csv.
        reranker: folder in models/rerankers whose cross-encoder judges what nobody has judged.
        is_endpoint: the chat model of collect.endpoint judges what nobody has judged.

    Raises:
        BadInput: nothing was evaluated, the sheet, the table or the model cannot be used, or two models are named.
    """
    params, everything = load_params(JudgeParams, "judge"), all_params()
    table, sheet = Path(everything["split"]["judgments"]), sheet or SHEETS / "test.csv"
    known = {row.key: row for row in read_judgments(table)}
    known_rows = list(read_sheet(sheet).values()) if sheet.exists() else []
    rows, current = drawn(everything["report"]["headline"], params.n_pairs, known)
    if not (rows := known_rows or rows):
        return Added(str(sheet), str(table), 0, 0, 0, ["every document that base and tuned disagree about is judged"])
    rows = filled(rows, params, reranker, is_endpoint)
    if rows != known_rows:
        write_sheet(rows, sheet)
    decided = [row for row in rows if row.is_answer and row.is_answer != UNDECIDED]
    left = {key: one for key, one in known.items() if not is_withdrawn(one, rows)}
    if not decided and left == known:
        what = f"{len(rows)} unjudged documents of test queries, those that may change the verdict most first"
        how = "write yes, no or ? into its column is_answer, any rows you like, and who you are into judged_by"
        lines = [f"{sheet}: {what}; none is judged", f"{how}; then: attune judge {sheet} --test"]
        return Added(str(sheet), str(table), len(rows), 0, 0, lines)
    added = {one.key: one for one in judgments(decided, current)}
    # a grade that somebody wrote into the table says more than the sheet's yes
    graded = {key: known[key] for key, one in added.items() if key in known and known[key].agrees(one)}
    write_judgments((left | added | graded).values(), table)
    n_answers = sum(one.relevance > 0 for one in added.values())
    withdrawn = f"; {len(known) - len(left)} taken back, now ?" if len(left) < len(known) else ""
    lines = [told(table, decided, added, len(rows)) + withdrawn, NEXT]
    lines += [MODEL_ALONE] if reranker or is_endpoint else []
    return Added(str(sheet), str(table), len(rows), n_answers, len(added) - n_answers, lines)


def drawn(headline: str, n: int, known: dict[tuple[str, str], Judgment]) -> tuple[list[Row], Texts]:
    """Returns the rows of an empty sheet, without what the table holds already of today's texts, and all texts.

    Args:
        headline: measure that the documents have to touch.
        n: number of rows.
        known: judgments of the table, by query and document.

    Raises:
        BadInput: a table is missing or is not the table its stage writes.
    """
    rankings = read_rankings(RUNS, TEST, SIDES)
    queries = dict(rankings.queries.select("query_id", "text").iter_rows())
    corpus = read(CORPUS_FILE, CORPUS).select("document_id", "title", "text")
    current = Texts(queries, {id_: (title, text) for id_, title, text in corpus.iter_rows()})
    negatives = read(TEST / "negatives.parquet", NEGATIVES)
    held = [key for key, one in known.items() if one.text == hash_of(key, current)]
    judged = pl.DataFrame(held, NEGATIVES, orient="row")
    pool = pool_of(rankings.runs, rankings.qrels, pl.concat([negatives, judged]), list(queries))
    best = rankings.qrels.sort("relevance", "document_id", descending=[True, False])
    answers = dict(best.unique("query_id", keep="first").select("query_id", "document_id").iter_rows())
    pairs = most_telling(pool, *SIDES, headline, n).iter_rows()
    return [
        Row(
            query=queries[query_id],
            known_answer=full_text(*current.documents[answers[query_id]]),
            document=full_text(*current.documents[document_id]),
            is_answer="",
            judged_by="",
            query_id=query_id,
            document_id=document_id,
        )
        for query_id, document_id in pairs
    ], current


def judgments(rows: Sequence[Row], current: Texts) -> list[Judgment]:
    """Returns the judgments of rows that are decided; without those whose texts are others now, or gone."""
    made = []
    for row in rows:
        hashed = hash_of(row.key, current)
        if not hashed:
            continue
        now = Row(current.queries[row.query_id], "", full_text(*current.documents[row.document_id]), "", "", *row.key)
        if texts(now) == texts(row):
            made.append(Judgment(*row.key, int(row.is_answer == YES), row.judged_by, hashed))
    return made


def hash_of(key: tuple[str, str], current: Texts) -> str:
    """Returns the hash of a query's and a document's texts; "" where one is not there."""
    query, document = current.queries.get(key[0]), current.documents.get(key[1])
    return "" if query is None or document is None else pair_hash(query, *document)


def is_withdrawn(judgment: Judgment, rows: Sequence[Row]) -> bool:
    """Tells whether who judged a pair has since written ? into a sheet."""
    return any(
        row.key == judgment.key and row.is_answer == UNDECIDED and row.judged_by == judgment.judged_by for row in rows
    )


def told(table: Path, decided: Sequence[Row], added: dict[tuple[str, str], Judgment], n_rows: int) -> str:
    """Says what the table got from a sheet, and from whom."""
    counts = Counter(one.relevance for one in added.values())
    n_left_out = len(decided) - len(added)
    left_out = f", {n_left_out} left out, whose texts have changed since or are not in test" if n_left_out else ""
    by = judges([row for row in decided if row.key in added]) if added else "nobody"
    found = f"{counts[1]} answers and {counts[0]} others of {n_rows} documents in the sheet"
    return f"{table}: has {found}, by {by}{left_out}"
