"""`attune judge`: planted shares of answers among mined negatives are within the interval; bad sheets are one line."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from chat_server import Model, Reply, loopback, says
from command_lines import Finished, run_here
from conftest import build_tiny_reranker
from miniature import change
from mining_inputs import mine_params
from planted_answers import Planted, fill, planted
from scipy import stats

from attune.cli.judge.estimate import interval, judged_share, judges
from attune.cli.judge.models import JudgeParams, word_in
from attune.cli.judge.sheet import NO, UNDECIDED, YES, Row, read_sheet, rows_of
from attune.cli.main import main
from attune.evaluation.report.judged import judged_of, sample_hash
from attune.tables import NEGATIVE_SAMPLE, read, write

__all__ = ["loopback"]

SHEET = "data/judged/r1.csv"


def judge(folder: Path, *arguments: str) -> Finished:
    """Runs `attune judge` in a project."""
    return run_here(main, folder, "judge", *arguments)


def receipt(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "metrics/judged.json").read_text())
    return content


def sample_of(folder: Path) -> pl.DataFrame:
    return read(folder / "data/mined/r1/sample.parquet", NEGATIVE_SAMPLE)


def rows_in(sheet: Path) -> list[Row]:
    return list(read_sheet(sheet).values())


CASES = [(0.0, 2), (0.08, 2), (0.15, 2), (0.31, 2), (0.69, 2), (0.76, 1)]


@pytest.mark.parametrize(("share", "n_judged"), CASES)
def test_the_interval_holds_the_planted_share(tmp_path: Path, share: float, n_judged: int) -> None:
    """Mined, drawn, judged and estimated: the interval of 200 rows holds the truth; the ranking of rules hardly moves.

    With one judged answer per query nothing can be hidden, and the ranking is null.
    """
    project = planted(tmp_path, share, n_judged)
    assert project.truth() == pytest.approx(share, abs=0.003)
    assert judge(tmp_path).returncode == 0
    fill(tmp_path / SHEET, project.judge, rows_in(tmp_path / SHEET))
    assert judge(tmp_path).returncode == 0
    figures = receipt(tmp_path)["r1"]
    assert figures["n_judged"] == 200
    assert figures["ci_low"] <= project.truth() <= figures["ci_high"]
    assert figures["ci_high"] - figures["ci_low"] < 0.15
    ranking = project.receipt["hidden_answer_rule_ranking"]
    assert 0.15 < ranking < 0.25 if n_judged > 1 and ranking is not None else ranking is None


@pytest.mark.parametrize("n", [30, 100, 1000])
@pytest.mark.parametrize("share", [0.0, 0.08, 0.15, 0.31, 0.69, 0.76, 1.0])
def test_the_interval_misses_the_truth_in_at_most_5_of_100_samples(share: float, n: int) -> None:
    """Exact probabilities of every sample without replacement from 3,000 negatives; ends by the beta distribution."""
    k = np.arange(n + 1)
    low = np.where(k > 0, stats.beta.ppf(0.025, np.maximum(k, 1), n - k + 1), 0.0)
    high = np.where(k < n, stats.beta.ppf(0.975, k + 1, np.maximum(n - k, 1)), 1.0)
    misses = (low > share + 1e-12) | (high < share - 1e-12)
    assert stats.hypergeom.pmf(k, 3000, round(3000 * share), n)[misses].sum() <= 0.05
    for place in (0, n // 5, n):
        assert interval(place, 0, n, 0.95) == pytest.approx((low[place], high[place]), abs=1e-9)


def test_undecided_rows_widen_the_interval_both_ways() -> None:
    """10 yes, 80 no, 10 undecided: the share is of the decided, the ends are those of 10 and of 20 answers in 100."""
    words = [YES] * 10 + [NO] * 80 + [UNDECIDED] * 10
    share = judged_share([replace(EMPTY, is_answer=word) for word in words], 0.95, "")
    assert (share.n_judged, share.n_answers, share.n_undecided) == (100, 10, 10)
    assert share.share == pytest.approx(10 / 90)
    assert (share.ci_low, share.ci_high) == (interval(10, 0, 100, 0.95)[0], interval(20, 0, 100, 0.95)[1])
    assert "10 undecided (the interval counts them either way)" in share.sentence
    none = judged_share([replace(EMPTY, is_answer=UNDECIDED)] * 3, 0.95, "")
    assert (none.share, none.ci_low, none.ci_high) == (None, 0, 1) and "answers: unknown" in none.sentence


EMPTY = Row("query", "answer", "document", "", "", "q", "d")


def test_who_judged_is_named() -> None:
    """One judge by name, several with their numbers of rows, a person without a name as such."""
    rows = [replace(EMPTY, judged_by=name) for name in ("Ann", "Ann", "", "small (chat model)")]
    assert judges(rows[:2]) == "Ann"
    assert judges(rows[2:3]) == "a person"
    assert judges(rows) == "Ann (2), a person (1), small (chat model) (1)"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """A project with 30% answers among its negatives, 20 of them drawn."""
    return planted(tmp_path_factory.mktemp("planted"), 0.3, n_queries=60, n_sample=20)


@pytest.fixture
def project(whole: Planted, tmp_path: Path) -> Planted:
    """A project of its own for each test, with what `attune judge` reads."""
    for name in ("params.yaml", "advanced.yaml", "data/mined/r1/sample.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((whole.folder / name).read_bytes())
    return replace(whole, folder=tmp_path)


def test_the_first_run_writes_an_empty_sheet_and_says_what_to_do(project: Planted) -> None:
    """Texts with quotes, tabs and line ends come back as they were; there is no estimate, and no second sheet."""
    done = judge(project.folder)
    assert done.returncode == 0 and done.stdout.splitlines() == [
        f"{SHEET}: 20 mined negatives drawn at random, none judged",
        f"write yes, no or ? into its column is_answer, from the top, as far as you like; then: attune judge {SHEET}",
    ]
    assert rows_in(project.folder / SHEET) == rows_of(sample_of(project.folder))
    assert '"marks",\n\nlines; and a tab\t.' in rows_in(project.folder / SHEET)[0].document
    assert not (project.folder / "metrics").exists()
    before = (project.folder / SHEET).read_bytes()
    assert judge(project.folder, SHEET).stdout == done.stdout
    assert (project.folder / SHEET).read_bytes() == before


def test_judging_may_stop_after_any_row(project: Planted) -> None:
    """The first 12 rows are a random sample, too; the sentence has counts, interval and judge, as has the receipt."""
    judge(project.folder)
    fill(project.folder / SHEET, project.judge, rows_in(project.folder / SHEET), n=12, name="Ann")
    done = judge(project.folder)
    n_answers = sum(row.key in project.answers for row in rows_in(project.folder / SHEET)[:12])
    low, high = interval(n_answers, 0, 12, 0.95)
    assert done.stdout.splitlines() == [
        f"Mined negatives that are answers: {n_answers / 12:.1%}, 95% interval {low:.1%} to {high:.1%}; "
        f"{n_answers} of 12 drawn at random answer their query, by Ann.",
        "metrics/judged.json: r1 written; `make repro` shows it in the report",
    ]
    assert receipt(project.folder)["r1"] == {
        "judged_by": "Ann",
        "n_judged": 12,
        "n_answers": n_answers,
        "n_undecided": 0,
        "share": pytest.approx(n_answers / 12, abs=1e-6),
        "ci_low": pytest.approx(low, abs=1e-6),
        "ci_high": pytest.approx(high, abs=1e-6),
        "confidence": 0.95,
        "sample_sha256": sample_hash(sample_of(project.folder)),
    }


def edited(sheet: Path, edit: Callable[[list[list[str]]], list[list[str]]], separator: str = ",") -> None:
    """Edits the records of a sheet, header first, as a spreadsheet program would."""
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        records = list(csv.reader(file))
    with sheet.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=separator).writerows(edit(records))


def answered(records: list[list[str]], *words: str) -> list[list[str]]:
    """Returns the records with these words in is_answer, from the top."""
    place = records[0].index("is_answer")
    rows = [[*row[:place], word, *row[place + 1 :]] for row, word in zip(records[1:], words, strict=False)]
    return [records[0], *rows, *records[1 + len(words) :]]


def test_spellings_orders_and_separators_of_spreadsheets_are_read(project: Planted) -> None:
    """YES, 1, n and TRUE; rows in reverse, further columns, semicolons and Windows' line ends."""
    judge(project.folder)
    words = ("YES", "1", " n ", "TRUE", "0", "?")
    sheet = project.folder / SHEET
    edited(sheet, lambda rows: [[*row, "note"] for row in answered(rows, *words)], ";")
    edited_text = sheet.read_text(encoding="utf-8")
    with sheet.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file, delimiter=";")
    with sheet.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=";").writerows([head, *reversed(rows)])
    assert ";" in edited_text
    done = judge(project.folder)
    assert done.returncode == 0, done.stderr
    figures = receipt(project.folder)["r1"]
    assert (figures["n_judged"], figures["n_answers"], figures["n_undecided"]) == (6, 3, 1)


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        (
            lambda rows: answered(rows, "yes", "maybe"),
            ": is_answer is 'maybe', expected yes, no, ? or nothing; mend it",
        ),
        (lambda rows: answered(rows, "yes", "", "no"), "not judged, while later rows are; judge from the top"),
        (lambda rows: [*rows, rows[1]], "r1.csv:2; remove one of the two"),
        (lambda rows: [row[:3] for row in rows], "r1.csv:1: no column is_answer, judged_by, query_id, document_id;"),
        (lambda rows: [*rows[:2], [*rows[2][:-1], "d-1"]], "1 of 2 rows are not in the sample of data/mined/r1, which"),
        (lambda rows: rows[:1], "no rows; write at least one"),
    ],
)
def test_a_sheet_that_cannot_be_used_is_one_line(
    project: Planted, edit: Callable[[list[list[str]]], list[list[str]]], complaint: str
) -> None:
    """File and row, got and expected, next step; no estimate is written."""
    judge(project.folder)
    edited(project.folder / SHEET, edit)
    done = judge(project.folder)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert complaint in done.stderr
    assert not (project.folder / "metrics/judged.json").exists()


def test_a_mining_that_drew_nothing_is_one_line(project: Planted) -> None:
    """mine.n_sample: 0, and no mining at all."""
    write(sample_of(project.folder).clear(), project.folder / "data/mined/r1/sample.parquet", NEGATIVE_SAMPLE)
    done = judge(project.folder)
    assert "no negatives; set mine.n_sample to 50 or more" in done.stderr
    (project.folder / "data/mined/r1/sample.parquet").unlink()
    assert "sample.parquet: not found; run `dvc repro`" in judge(project.folder).stderr


def test_a_sheet_that_is_no_csv_is_one_line(project: Planted) -> None:
    """A spreadsheet's own format."""
    (project.folder / "sheet.xlsx").write_bytes(b"PK")
    done = judge(project.folder, "sheet.xlsx")
    assert done.stderr.splitlines() == ["attune: sheet.xlsx: expected a sheet in csv; save it so, or name another"]


def mined_anew(project: Planted) -> None:
    """Draws another sample: five of the old one leave, one of the others has another document text."""
    sample = sample_of(project.folder)
    changed = pl.when(pl.int_range(pl.len()) == 0).then(pl.lit("another text")).otherwise("negative_text")
    fresh = sample.head(5).with_columns(negative_id=pl.lit("new-") + pl.col("negative_id"))
    mined = pl.concat([fresh, sample[5:].with_columns(negative_text=changed)])
    write(mined, project.folder / "data/mined/r1/sample.parquet", NEGATIVE_SAMPLE)


def test_judgements_of_what_is_mined_again_are_carried_over(project: Planted) -> None:
    """Of 20 judged rows 15 are drawn again, one of them with another text: 14 judgements hold."""
    judge(project.folder)
    fill(project.folder / SHEET, project.judge, rows_in(project.folder / SHEET), name="Ann")
    mined_anew(project)
    refused = judge(project.folder)
    assert "5 of 20 rows are not in the sample of data/mined/r1, which was mined anew since" in refused.stderr
    assert f"attune judge NEW.csv --earlier {SHEET}" in refused.stderr
    done = judge(project.folder, "data/judged/new.csv", "--earlier", SHEET)
    assert "not judged, while later rows are; judge from the top" in done.stderr
    rows = rows_in(project.folder / "data/judged/new.csv")
    assert [bool(row.is_answer) for row in rows] == [False] * 6 + [True] * 14
    assert {row.judged_by for row in rows} == {"", "Ann"}
    assert all(row.is_answer == project.judge(row) for row in rows[6:])


def test_the_report_says_whether_this_mining_was_judged(project: Planted) -> None:
    """An estimate of an earlier mining is shown as such; each sheet is an entry of its own."""
    assert judged_of(project.folder / "metrics", project.folder / "data/mined/r1") == {}
    judge(project.folder)
    judge(project.folder, "data/judged/other.csv")
    for name, n in (("r1", 20), ("other", 5)):
        sheet = project.folder / f"data/judged/{name}.csv"
        fill(sheet, project.judge, rows_in(sheet), n)
        assert judge(project.folder, f"data/judged/{name}.csv").returncode == 0
    entries = judged_of(project.folder / "metrics", project.folder / "data/mined/r1")
    assert [(name, entry["n_judged"], entry["is_current"]) for name, entry in entries.items()] == [
        ("other", 5, True),
        ("r1", 20, True),
    ]
    mined_anew(project)
    entries = judged_of(project.folder / "metrics", project.folder / "data/mined/r1")
    assert not any(entry["is_current"] for entry in entries.values())


@pytest.mark.parametrize("text", ["[]", "{", '{"r1": {"n_judged": 3}}', '{"r1": 3}'])
def test_a_damaged_receipt_is_one_line(project: Planted, text: str) -> None:
    """Neither the report nor the command guesses at it."""
    judge(project.folder)
    fill(project.folder / SHEET, project.judge, rows_in(project.folder / SHEET))
    (project.folder / "metrics").mkdir()
    (project.folder / "metrics/judged.json").write_text(text)
    done = judge(project.folder)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "metrics/judged.json: not what attune judge writes" in done.stderr


def test_a_cross_encoder_judges_by_its_score(project: Planted) -> None:
    """Scores are those of the loader that mining uses; the limit is judge.min_score; the sheet names who judged."""
    from attune.tuning.mining.candidates import Pairs
    from attune.tuning.mining.cross_encoder import load_reranker

    folder = build_tiny_reranker(project.folder / "models/rerankers/tiny")
    rows = rows_of(sample_of(project.folder))
    places = np.arange(len(rows))
    score = load_reranker(folder, [row.query for row in rows], [row.document for row in rows], 1)
    scores = score(Pairs(places, places))
    limit = round(float(np.sort(scores)[7:9].mean()), 5)
    change(project.folder, {"judge": {"min_score": limit}})
    done = judge(project.folder, "--reranker", "tiny")
    assert done.returncode == 0, done.stderr
    assert [row.is_answer == YES for row in rows_in(project.folder / SHEET)] == (scores >= limit).tolist()
    who = f"tiny (cross-encoder, score of at least {limit:g})"
    assert {row.judged_by for row in rows_in(project.folder / SHEET)} == {who}
    assert f"by {who}." in done.stdout and "a model's judgement is not calibrated" in done.stdout
    assert receipt(project.folder)["r1"]["n_answers"] == 12


def test_a_model_leaves_a_persons_judgements_alone(project: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    """It judges what is empty; the estimate names both, with their numbers of rows."""
    monkeypatch.setattr(
        "attune.cli.judge.models.load_reranker", lambda *_: lambda pairs: np.ones(len(pairs.rows), np.float32)
    )
    (project.folder / "models/rerankers/yes").mkdir(parents=True)
    judge(project.folder)
    fill(project.folder / SHEET, lambda _: NO, rows_in(project.folder / SHEET), n=4, name="Ann")
    done = judge(project.folder, "--reranker", "yes")
    assert receipt(project.folder)["r1"]["n_answers"] == 16
    assert "by Ann (4), yes (cross-encoder, score of at least 0.5) (16)." in done.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--reranker", "absent"], "models/rerankers/absent: not found, got broken; put the folder of a cross-encoder"),
        (["--reranker", "broken"], "models/rerankers/broken: no cross-encoder"),
        (["--reranker", "broken", "--endpoint"], "got --reranker and --endpoint, expected one judge"),
        (["--earlier", "absent.csv"], "absent.csv: not found; check the path"),
    ],
)
def test_a_judge_that_is_not_there_is_one_line(project: Planted, arguments: list[str], complaint: str) -> None:
    """No sheet and no estimate are left behind."""
    (project.folder / "models/rerankers/broken").mkdir(parents=True)
    done = judge(project.folder, *arguments)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert complaint in done.stderr
    assert not (project.folder / SHEET).exists() and not (project.folder / "metrics").exists()


@pytest.mark.parametrize("prompt", ["{query} only", "{query} {document} {other}", "{query} {document", ""])
def test_a_prompt_must_have_both_texts(prompt: str) -> None:
    """And no other placeholder."""
    machine = mine_params().machine
    with pytest.raises(ValueError, match="braces"):
        JudgeParams(min_score=0.5, prompt=prompt, confidence=0.95, n_pairs=1, machine=machine)


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        ("Yes", YES),
        ("no.", NO),
        ("**Yes**, it does", YES),
        ("<think>no, wait, yes</think>\n\nNo", NO),
        ("<think>yes, but I ran out of tok", UNDECIDED),
        ("The document answers it.", UNDECIDED),
        ("", UNDECIDED),
        ("nothing", UNDECIDED),
    ],
)
def test_an_answer_that_begins_with_neither_word_is_undecided(answer: str, word: str) -> None:
    """Thoughts that a model utters do not count."""
    assert word_in(answer) == word


@pytest.mark.usefixtures("loopback")
def test_a_chat_model_judges_row_by_row(project: Planted) -> None:
    """Query and document are in the request, cut at max_characters; a second sheet asks nothing twice."""
    rows = rows_of(sample_of(project.folder))
    expected = [UNDECIDED if place == 3 else project.judge(row) for place, row in enumerate(rows)]
    prompts = [f"Q {row.query} D {row.document[:100]}" for row in rows]
    words = {YES: "Yes", NO: "No", UNDECIDED: "Hm."}
    replies = {prompt: words[judgement] for prompt, judgement in zip(prompts, expected, strict=True)}

    def reply(_: int, body: dict[str, Any]) -> Reply:
        return says(replies[body["messages"][0]["content"]])

    assert all(len(row.document) > 100 for row in rows)
    with Model(reply).serving() as model:
        endpoint = {"url": model.url, "model": "small", "max_characters": 100, "retries": 0, "cache": "data/answers"}
        change(project.folder, {"judge": {"prompt": "Q {query} D {document}"}})
        with_endpoint(project.folder, endpoint)
        done = judge(project.folder, "--endpoint")
        assert done.returncode == 0, done.stderr
        assert judge(project.folder, "data/judged/second.csv", "--endpoint").returncode == 0
    assert len(model.requests) == len(rows)
    assert [row.is_answer for row in rows_in(project.folder / SHEET)] == expected
    assert receipt(project.folder)["second"] == receipt(project.folder)["r1"]
    assert receipt(project.folder)["r1"]["judged_by"] == "small (chat model)"
    assert receipt(project.folder)["r1"]["n_undecided"] == 1


@pytest.mark.usefixtures("loopback")
def test_a_chat_model_that_refuses_is_one_line_and_leaves_no_sheet(project: Planted) -> None:
    """The answers so far are kept by the client, so that the next run asks for the rest."""
    with Model(lambda n, _: says("no") if n < 5 else (400, b"no more", {})).serving() as model:
        with_endpoint(project.folder, {"url": model.url, "retries": 0, "n_parallel": 1, "cache": "data/answers"})
        done = judge(project.folder, "--endpoint")
        assert done.returncode == 1 and "HTTP 400 no more" in done.stderr
        assert not (project.folder / SHEET).exists()
        model.reply = lambda *_: says("no")
        assert judge(project.folder, "--endpoint").returncode == 0
    assert len(model.requests) == 6 + 15


def with_endpoint(folder: Path, changes: dict[str, Any]) -> None:
    """Changes collect.endpoint, a mapping within its section."""
    from attune.stage import all_params

    endpoint = all_params(folder / "params.yaml")["collect"]["endpoint"]
    change(folder, {"collect": {"endpoint": dict(endpoint) | changes}})


def test_the_round_that_ships_is_judged(project: Planted) -> None:
    """merge.round names the folder of data/mined/, and the sheet."""
    (project.folder / "data/mined/r1").rename(project.folder / "data/mined/r2")
    change(project.folder, {"merge": {"round": "r2"}})
    assert judge(project.folder).stdout.startswith("data/judged/r2.csv: 20 mined negatives")
