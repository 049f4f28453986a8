"""`attune judge --test`: the sheet of unjudged documents, the table it fills, and what stage split and report count."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from command_lines import Finished, run_here
from prepared_tables import write_corpus
from shipped_params import PANEL

from attune.cli.judge.sheet import NO, UNDECIDED, YES, Row, read_sheet, write_sheet
from attune.cli.main import main
from attune.data.judgments import Judgment, pair_hash, read_judgments, write_judgments
from attune.tables import CORPUS, NEGATIVES, QRELS, RUN, SPLIT_QUERIES, write

ROOT = Path(__file__).resolve().parents[2]
SHEET, TABLE = Path("data/judged/test.csv"), Path("data/own/judgments.csv")
# base ranks d3 first for q0 and d2 for q1, tuned finds d4 and d5 instead; d1 is judged not to answer q1
RANKED = {"base": {"q0": "d3 d0 d2", "q1": "d2 d1 d0"}, "tuned": {"q0": "d0 d4 d2", "q1": "d5 d1 d0"}}
TEXTS = {f"d{i}": f"text of {i}" for i in range(6)}


def judge(folder: Path, *arguments: str) -> Finished:
    """Runs `attune judge --test` in a project."""
    return run_here(main, folder, "judge", *arguments, "--test")


def run_of(ranked: dict[str, str]) -> pl.DataFrame:
    """Returns a run with falling scores."""
    rows = [
        (query, rank, document, 1 / rank)
        for query, documents in ranked.items()
        for rank, document in enumerate(documents.split(), 1)
    ]
    return pl.DataFrame(rows, RUN, orient="row")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of two test queries and six documents, evaluated."""
    for name in ("params.yaml", "advanced.yaml"):
        shutil.copy(PANEL.with_name(name), tmp_path)
    corpus = pl.DataFrame([(id_, "", text, id_, id_) for id_, text in TEXTS.items()], dict(CORPUS), orient="row")
    write_corpus(corpus, tmp_path / "data/prepared")
    test = tmp_path / "data/splits/test"
    queries = [(f"q{i}", f"query {i}", f"q{i}", f"q{i}", "", "") for i in range(2)]
    write(pl.DataFrame(queries, dict(SPLIT_QUERIES), orient="row"), test / "queries.parquet", SPLIT_QUERIES)
    write(pl.DataFrame([("q0", "d0", 1), ("q1", "d0", 2)], QRELS, orient="row"), test / "qrels.parquet", QRELS)
    write(pl.DataFrame([("q1", "d1")], NEGATIVES, orient="row"), test / "negatives.parquet", NEGATIVES)
    for system, ranked in RANKED.items():
        write(run_of(ranked), tmp_path / f"data/runs/{system}/run.parquet", RUN)
    return tmp_path


def rows_in(project: Path) -> list[Row]:
    return list(read_sheet(project / SHEET).values())


def fill(project: Path, words: dict[str, str], name: str = "Ann") -> None:
    """Writes judgements by document into the sheet."""
    rows = [
        Row(row.query, row.known_answer, row.document, words.get(row.document_id, ""), name, *row.key)
        for row in rows_in(project)
    ]
    write_sheet(rows, project / SHEET)


def test_the_sheet_holds_what_the_systems_disagree_about(project: Path) -> None:
    """First ranks first; what both find, or was judged, is not asked; a known answer stands beside it."""
    done = judge(project)
    assert done.returncode == 0, done.stderr
    assert f"{SHEET}: 4 unjudged documents of test queries" in done.stdout and "none is judged" in done.stdout
    rows = rows_in(project)
    assert {row.key for row in rows[:3]} == {("q0", "d3"), ("q1", "d2"), ("q1", "d5")}
    assert rows[3].key == ("q0", "d4")
    assert {(row.query, row.known_answer) for row in rows} == {("query 0", "text of 0"), ("query 1", "text of 0")}
    assert not (project / TABLE).exists()
    before = (project / SHEET).read_bytes()
    assert judge(project).stdout == done.stdout and (project / SHEET).read_bytes() == before


def test_judged_rows_reach_the_table_with_who_judged(project: Path) -> None:
    """Any rows, in any order; ? and empty rows stay out; the table keeps others' rows and grades."""
    held = [Judgment("q0", "d5", 0, "Bob", "00"), Judgment("q1", "d5", 3, "Bob", pair_hash("query 1", "", TEXTS["d5"]))]
    write_judgments(held, project / TABLE)
    assert judge(project).returncode == 0
    assert {row.key for row in rows_in(project)} == {("q0", "d3"), ("q0", "d4"), ("q1", "d2")}
    fill(project, {"d3": YES, "d2": NO, "d4": UNDECIDED})
    done = judge(project)
    assert f"{TABLE}: has 1 answers and 1 others of 3 documents in the sheet, by Ann" in done.stdout
    assert "nothing is trained" in done.stdout
    judged = read_judgments(project / TABLE)
    assert [(row.key, row.relevance, row.judged_by) for row in judged] == [
        (("q0", "d3"), 1, "Ann"),
        (("q0", "d5"), 0, "Bob"),
        (("q1", "d2"), 0, "Ann"),
        (("q1", "d5"), 3, "Bob"),
    ]
    before = (project / TABLE).read_bytes()
    assert judge(project).returncode == 0 and (project / TABLE).read_bytes() == before


def test_a_judgement_of_another_text_does_not_count(project: Path) -> None:
    """A document whose text has changed since the sheet was written, and a query that is not in test any more."""
    judge(project)
    fill(project, {"d3": YES, "d2": YES})
    changed = [(id_, "", "another" if id_ == "d3" else text, id_, id_) for id_, text in TEXTS.items()]
    write_corpus(pl.DataFrame(changed, dict(CORPUS), orient="row"), project / "data/prepared")
    done = judge(project)
    assert "has 1 answers and 0 others of 4 documents in the sheet, by Ann, 1 left out" in done.stdout
    assert [row.key for row in read_judgments(project / TABLE)] == [("q1", "d2")]


def test_what_changed_since_is_asked_again_and_a_question_mark_takes_back(project: Path) -> None:
    """A judgment of an older text asks for the pair anew; ? removes the judgment of who wrote it, nobody else's."""
    bobs = Judgment("q1", "d2", 1, "Bob", pair_hash("query 1", "", TEXTS["d2"]))
    write_judgments([Judgment("q0", "d3", 1, "Ann", "0" * 16), bobs], project / TABLE)
    judge(project)
    assert {row.key for row in rows_in(project)} == {("q0", "d3"), ("q0", "d4"), ("q1", "d5")}
    fill(project, {"d3": YES, "d4": NO})
    judge(project)
    fill(project, {"d3": UNDECIDED, "d4": UNDECIDED})
    anns = Row("query 1", "text of 0", TEXTS["d2"], UNDECIDED, "Ann", *bobs.key)
    write_sheet([*rows_in(project), anns], project / SHEET)
    assert "0 answers and 0 others of 4 documents in the sheet, by nobody; 2 taken back, now ?" in judge(project).stdout
    assert [row.key for row in read_judgments(project / TABLE)] == [("q1", "d2")]


def test_a_model_judges_what_nobody_has_and_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cross-encoder of models/rerankers; a person's word stays."""
    monkeypatch.setattr(
        "attune.cli.judge.models.load_reranker", lambda *_: lambda pairs: np.ones(len(pairs.rows), np.float32)
    )
    (project / "models/rerankers/yes").mkdir(parents=True)
    judge(project)
    fill(project, {"d3": NO})
    done = judge(project, "--reranker", "yes")
    assert done.returncode == 0 and "a model's judgement is not calibrated" in done.stdout
    judged = {row.key: (row.relevance, row.judged_by) for row in read_judgments(project / TABLE)}
    assert judged[("q0", "d3")] == (0, "Ann") and len(judged) == 4
    assert judged[("q1", "d5")] == (1, "yes (cross-encoder, score of at least 0.5)")


def test_where_both_agree_there_is_nothing_to_judge(project: Path) -> None:
    """No sheet is written."""
    write(run_of(RANKED["base"]), project / "data/runs/tuned/run.parquet", RUN)
    done = judge(project)
    assert done.stdout == "every document that base and tuned disagree about is judged\n"
    assert not (project / SHEET).exists()


@pytest.mark.parametrize(
    ("table", "arguments", "complaint"),
    [
        (
            "query_id\n",
            [],
            "judgments.csv:1: columns are 'query_id', expected query_id,document_id,relevance,judged_by",
        ),
        ("", ["--earlier", "old.csv"], "got --test and --earlier, expected one"),
        ("", ["--reranker", "absent"], "models/rerankers/absent: not found"),
    ],
)
def test_what_cannot_be_used_is_one_line(project: Path, table: str, arguments: list[str], complaint: str) -> None:
    """No sheet is left behind, and the table stays."""
    if table:
        (project / TABLE).parent.mkdir(parents=True)
        (project / TABLE).write_text(table)
    done = judge(project, *arguments)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and complaint in done.stderr
    assert not (project / SHEET).exists() and (not table or (project / TABLE).read_text() == table)
