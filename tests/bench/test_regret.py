"""The bench of regret: pairs drawn by whole queries, rivals at their best, and goals, all checked by hand."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from attune.errors import BadInput
from attune.stage import write_json
from attune.tables import DOCUMENT_IDS, NEGATIVES, OWN_TEXTS, QRELS, SPLIT_QUERIES, read, write
from bench.regret import cells
from bench.regret import data as data_sets
from bench.regret.cells import STAGES, Cell, Place, Run, code_of, saved
from bench.regret.data import MEASURED, SETS, intents, missing, sentence_pairs, shared_folder
from bench.regret.subset import TABLES, TRAIN, VECTORS, drawn, link, pairs_by_query
from bench.regret.table import (
    NOT_MEASURED,
    Result,
    chosen,
    fill,
    goals,
    grouped,
    mean_regret,
    results,
    section_of,
    summary,
)
from bench.section import ROOT, Section


@pytest.mark.parametrize("seed", [13, 14])
def test_few_pairs_are_those_of_whole_queries_in_order_of_a_hash(seed: int) -> None:
    """Query 0 has one pair, 1 two, 2 three and so on; queries are added until they have the wanted number."""
    pairs_of = {f"q{i}": i + 1 for i in range(20)}
    order = sorted(pairs_of, key=lambda id_: hashlib.sha256(f"{seed}:{id_}".encode()).hexdigest())
    assert drawn(pairs_of, 1, seed) == {order[0]}
    for wanted in (10, 50, 209):
        stay = drawn(pairs_of, wanted, seed)
        assert stay == set(order[: len(stay)])
        last = pairs_of[order[len(stay) - 1]]
        assert sum(pairs_of[id_] for id_ in stay) - last < wanted <= sum(pairs_of[id_] for id_ in stay)
    assert drawn(pairs_of, 0, seed) == set(pairs_of)


def test_another_seed_draws_other_queries() -> None:
    """Three seeds are three draws of pairs."""
    pairs_of = {f"q{i}": 1 for i in range(100)}
    draws = [drawn(pairs_of, 20, seed) for seed in (13, 14, 15)]
    assert all(len(draw) == 20 for draw in draws) and draws[0] != draws[1] != draws[2]


def write_shared(folder: Path) -> Path:
    """Writes the outputs that cells share: train queries a, b and c, with one, two and no relevant documents."""
    for path in data_sets.SHARED:
        (folder / path).mkdir(parents=True)
        (folder / path / "more.txt").write_text("of all pairs")
    row = dict.fromkeys(SPLIT_QUERIES, "x")
    queries = [row | {"query_id": id_, "cluster_id": id_} for id_ in "abc"]
    judged = [("a", "d0", 1), ("b", "d1", 2), ("b", "d2", 1), ("c", "d3", 0)]
    rows: dict[str, list[Any]] = {"queries": queries, "qrels": judged, "negatives": [("b", "d3")], "own_texts": []}
    for name, columns in TABLES.items():
        table = pl.DataFrame(rows[name], schema=dict(columns), orient="row")
        write(table, folder / TRAIN / f"{name}.parquet", columns)
    write(pl.DataFrame({"document_id": ["d0", "d1"]}), folder / TRAIN / "documents.parquet", DOCUMENT_IDS)
    np.save(folder / VECTORS, np.arange(6, dtype=np.float32).reshape(3, 2))
    (folder / "metrics").mkdir()
    (folder / "metrics/audit.json").write_text("{}")
    return folder


def test_a_cell_has_fewer_queries_over_the_same_documents(tmp_path: Path) -> None:
    """Judgments, negatives and embeddings follow their queries; the shared folder keeps its bytes."""
    shared = write_shared(tmp_path / "shared")
    before = {file: file.read_bytes() for file in shared.rglob("*") if file.is_file()}
    assert pairs_by_query(shared / TRAIN) == {"a": 1, "b": 2}
    for _ in range(2):  # a second time over what is there
        link(shared, tmp_path / "cell", {"b"})
    train = tmp_path / "cell" / TRAIN
    assert read(train / "queries.parquet", SPLIT_QUERIES)["query_id"].to_list() == ["b"]
    assert read(train / "qrels.parquet", QRELS).rows() == [("b", "d1", 2), ("b", "d2", 1)]
    assert read(train / "negatives.parquet", NEGATIVES).rows() == [("b", "d3")]
    assert read(train / "own_texts.parquet", OWN_TEXTS).is_empty()
    assert read(train / "documents.parquet", DOCUMENT_IDS).height == 2
    assert np.load(tmp_path / "cell" / VECTORS).tolist() == [[2.0, 3.0]]
    assert {file: file.read_bytes() for file in shared.rglob("*") if file.is_file()} == before
    whole = Path("models/base/more.txt")
    assert (tmp_path / "cell" / whole).samefile(shared / whole)


def run_of(dev: float, test: list[float], **figures: float) -> Run:
    """Returns a run with one dev query and these scores of test queries t0, t1, ..."""
    rows = [("d0", "dev", dev), *((f"t{i}", "test", value) for i, value in enumerate(test))]
    schema = {"query_id": pl.String, "split": pl.String, "ndcg@10": pl.Float64}
    return Run(pl.DataFrame(rows, schema, orient="row"), dict(figures))


def test_a_saved_run_is_not_measured_again(tmp_path: Path) -> None:
    """Scores and figures are read back; a run that fails leaves nothing that looks finished."""
    file = tmp_path / "runs/one.json"
    with pytest.raises(BadInput):
        saved(file, fails)
    first = saved(file, lambda: run_of(0.5, [0.25, 0.75], seconds=3))
    again = saved(file, fails)
    assert again.scores.equals(first.scores) and again.figures == {"seconds": 3}
    assert again.summary() == {"dev_ndcg@10": 0.5, "test_ndcg@10": 0.5, "seconds": 3}


def test_two_processes_may_save_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process starts and ends while this one writes: both have the run, and no partial file is left."""
    file = tmp_path / "runs/one.json"
    others: list[Run] = []

    def write_late(path: Path, figures: dict[str, Any]) -> None:
        write_json(path, figures)
        if not others:
            others.append(run_of(0.5, [0.5]))
            monkeypatch.setattr("os.getpid", lambda: 0)
            saved(file, lambda: others[0])

    monkeypatch.setattr(cells, "write_json", write_late)
    assert saved(file, lambda: run_of(0.5, [0.5])).scores.equals(others[0].scores)
    assert sorted(path.suffix for path in file.parent.iterdir()) == [".json", ".parquet"]


def test_saved_runs_are_of_the_inputs_that_they_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Near-domain tasks, other forms and general text run attune again; documents and base encoder also its rivals."""
    shared = write_shared(tmp_path / "shared")
    monkeypatch.setattr(cells, "ROOT", shared)
    general = "data/general/practice.jsonl"
    tables = ("data/prepared/corpus.parquet", "data/prepared/passages.parquet")
    of_all = ("models/base/model.safetensors", "data/splits/dev/qrels.parquet", *tables)
    of_attune = ("data/near_domain/dev/tasks.parquet", "data/prepared/forms.parquet", general)
    for name in (*of_all, *of_attune):
        (shared / name).parent.mkdir(parents=True, exist_ok=True)
        (shared / name).write_text("before")
    (shared / "advanced.yaml").write_text(json.dumps({"train": {"general": general}}))
    (shared / "params.yaml").write_text(json.dumps({"machine": {"threads": 2}}))

    def hashes() -> tuple[str, str]:
        place = Place(SETS["nl2bash"], shared, tmp_path / "work")
        return place.inputs, place.inputs_of_attune

    before = hashes()
    assert hashes() == before
    assert [Place(SETS["nl2bash"], shared, tmp_path, n).params["machine"]["threads"] for n in (None, 1)] == [2, 1]
    for name in (*of_all, *of_attune):
        (shared / name).write_text("after")
        after = hashes()
        assert (after[0] != before[0], after[1] != before[1]) == (name in of_all, True), name
        before = after


def fails() -> Run:
    """Fails, as a training run may."""
    raise BadInput("no run")


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Returns the place of cells whose runs are given: four test queries in two clusters."""
    shared = write_shared(tmp_path / "shared")
    row = dict.fromkeys(SPLIT_QUERIES, "")
    test = [row | {"query_id": f"t{i}", "cluster_id": f"c{i // 2}"} for i in range(4)]
    table = pl.DataFrame(test, schema=dict(SPLIT_QUERIES))
    write(table, shared / "data/splits/test/queries.parquet", SPLIT_QUERIES)
    for name in ("params.yaml", "advanced.yaml"):
        (shared / name).write_bytes((ROOT / name).read_bytes())
    by_rate = {
        **dict.fromkeys((5e-5, 2e-4), run_of(0.6, [0.2, 0.2, 0.2, 0.2])),
        1e-4: run_of(0.9, [0.5, 0.5, 0.5, 0.5], learning_rate=1e-4),
        2e-5: run_of(0.8, [1.0, 1.0, 1.0, 1.0], learning_rate=2e-5),  # best on test; dev does not lead there
    }
    own = run_of(0.7, [0.6, 0.6, 0.5, 0.5], learning_rate=5e-5, epochs=3, step=40, share=0.5, seconds=9)
    monkeypatch.setattr(Cell, "base", lambda self: run_of(0.1, [0.4, 0.4, 0.4, 0.4]))
    monkeypatch.setattr(Cell, "plain", lambda self, rate, epochs: by_rate[rate])
    monkeypatch.setattr(Cell, "adapter", lambda self: run_of(0.2, [0.45, 0.45, 0.45, 0.45]))
    monkeypatch.setattr(Cell, "attune", lambda self: own)
    yield Place(SETS["nl2bash"], shared, tmp_path / "work")


def test_a_cell_by_hand(planted: Place) -> None:
    """The plain recipe's rate is that of dev .9; plain .5, base .4, attune .55: regret -.05, gain .15."""
    figures = Cell(planted, 2, 13).measure()
    assert figures["rivals"]["plain"] == {"dev_ndcg@10": 0.9, "test_ndcg@10": 0.5, "learning_rate": 1e-4}
    assert list(figures["plain_by_rate"]) == ["5e-05", "0.0001", "0.0002"]
    assert figures["plain_by_rate"]["5e-05"]["test_ndcg@10"] == 0.2
    assert figures["n_pairs"] in (2, 3) and figures["pairs"] == 2
    (result,) = results(planted.work / "cells")
    assert result.figures == json.loads((planted.work / "cells/nl2bash-2-13.json").read_text())
    assert result.best == "plain"
    assert result.regret == pytest.approx(-0.05) and result.gain == pytest.approx(0.15)
    assert result.low < 0.15 < result.high
    row = result.cells()
    assert row[:3] == ["nl2bash", f"2 ({figures['n_pairs']})", "13"]
    assert row[3:8] == ["0.400", "0.450", "0.500 at 0.0001", "0.550 at 5e-05", "step 40, share 0.5"]


def test_a_run_that_lacks_test_queries_is_refused(planted: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Systems are compared on the same queries, or not at all."""
    monkeypatch.setattr(Cell, "base", lambda self: run_of(0.1, [0.4, 0.4]))
    with pytest.raises(BadInput, match="nl2bash-all-13: a saved run lacks test queries"):
        Cell(planted, 0, 13).measure(1e-4)


def result_of(data: str, pairs: int | str, seed: int, scores: dict[str, list[float]]) -> Result:
    """Returns a result with these scores per test query, each in a cluster of its own."""
    n = len(scores["base"])
    means = {name: {"test_ndcg@10": sum(values) / n, "learning_rate": 1e-4} for name, values in scores.items()}
    own = means.pop("attune") | {"share": 0.0, "seconds": 1}
    figures = {"data": data, "pairs": pairs, "seed": seed, "n_pairs": 100, "code": "x", "rivals": means, "attune": own}
    figures |= {"date": f"2026-01-0{seed - 12}", "machine": "2 CPU threads."}
    return Result.of(figures, pl.DataFrame(scores | {"cluster_id": [str(i) for i in range(n)]}))


def planted_results() -> list[Result]:
    """Returns three results: .1 better than the best rival, equal to base, and certainly below base (.4)."""
    flat = [0.5] * 100
    return [
        result_of("nl2bash", 100, 13, {"base": [0.3] * 100, "plain": flat, "attune": [0.6] * 100}),
        result_of("nl2bash", 100, 14, {"base": flat, "plain": [0.2] * 100, "attune": flat}),
        result_of("cranfield", "all", 13, {"base": [0.8] * 100, "plain": flat, "attune": [0.4] * 100}),
    ]


def test_goals_by_hand() -> None:
    """Regrets -.1, 0 and .4: mean .1; one cell is below base by more than its interval, and .01 below the best."""
    measured = planted_results()
    assert [result.best for result in measured] == ["plain", "base", "base"]
    mean, below, behind = goals(measured)
    assert mean.found.startswith("+0.1000 [") and not mean.is_met
    assert below.found == "1 of 3: cranfield all seed 13" and not below.is_met
    assert behind.found == "1 of 3: cranfield all seed 13" and not behind.is_met
    good = goals(measured[:2])
    assert [goal.is_met for goal in good] == [True, True, True]
    assert good[0].found == "-0.0500" and good[1].found == "0 of 2"


def test_mean_regret_has_an_interval_over_data_sets() -> None:
    """Means of two data sets of one cell each, .1 and .3: .2, and Student's t with one degree of freedom, 12.7 x .1."""
    flat = {"base": [0.5, 0.5], "plain": [0.5, 0.5]}
    measured = [
        result_of(name, 100, 13, flat | {"attune": [own] * 2}) for name, own in (("stsb", 0.4), ("scifact", 0.2))
    ]
    mean, low, high = mean_regret(measured)
    assert (mean, high - mean, mean - low) == pytest.approx((0.2, 1.2706, 1.2706), abs=1e-4)


def test_the_table_has_a_row_for_each_number_of_pairs(tmp_path: Path) -> None:
    """Means over seeds, and the regret of each; what docs show is date, CPU, goals and this table."""
    shown = grouped(planted_results())
    assert "| nl2bash | 100 | 100 | 0.400 | – | 0.350 | 0.550 | +0.150 | -0.050 | -0.100, +0.000 |" in shown
    assert summary(tmp_path) == NOT_MEASURED
    Section("Regret", "x", "2026-01-02", ["goals", shown, "cells"], machine="2 CPU threads.").write(
        tmp_path / "regret.json"
    )
    assert summary(tmp_path) == f"Measured 2026-01-02; 2 CPU threads.\n\ngoals\n\n{shown}"


def test_a_section_names_the_days_and_machines_of_its_cells(capsys: pytest.CaptureFixture[str]) -> None:
    """Cells of two days on one machine, and of two versions of the code."""
    measured = planted_results()
    measured[0].figures["code"] = "older"
    fill(section := section_of(measured), measured)
    assert (section.date, section.machine) == ("2026-01-01 to 2026-01-02", "2 CPU threads.")
    assert section.body[0].endswith("Cells were measured with 2 versions of attune's code or settings.")
    assert section.body[1] == grouped(measured) and len(section.body[2].splitlines()) == 2 + 3
    assert section.body[1] in capsys.readouterr().out


def test_the_choice_of_merge_in_words() -> None:
    """Base, a share of a checkpoint, and an average."""
    assert chosen({"share": 0.0, "step": 0}) == "base"
    assert chosen({"share": 0.5, "step": 40, "n_averaged": 1}) == "step 40, share 0.5"
    assert chosen({"share": 1.0, "step": 40, "n_averaged": 3}) == "step 40, share 1, 3 averaged"


def test_a_damaged_cell_is_named(tmp_path: Path) -> None:
    """One line with the file, and what to do."""
    (tmp_path / "nl2bash-100-13.json").write_text("{}")
    with pytest.raises(BadInput, match=r"nl2bash-100-13.json: not a measured cell .* remove it"):
        results(tmp_path)


def test_only_settings_of_the_data_are_taken_from_recipes() -> None:
    """All others are the defaults, which are measured; each recipe names its source or takes the default's."""
    for name in MEASURED:
        assert set(SETS[name].recipe) <= {"collect", "split"}, name
    assert SETS["cranfield"].recipe == {"collect": {"source": "beir"}, "split": {"by": "query"}}
    assert SETS["default"].recipe == {}


def write_lines(file: Path, rows: list[dict[str, Any]]) -> None:
    """Writes JSON lines."""
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def test_sentence_pairs_as_retrieval(tmp_path: Path) -> None:
    """Grades 1 to 3 from a score of 3 on, all second sentences searched, no sentence of train in test."""
    names = ("sentence1", "sentence2", "score")
    train = [("a", "b", 5.0), ("a", "c", 3.4), ("x", "y", 2.9)]
    test = [("d", "e", 4.2), ("f", "b", 5.0), ("g", "h", 0.0)]
    for name, pairs in (("dev", train), ("test", test)):
        write_lines(tmp_path / f"{name}.jsonl", [dict(zip(names, pair, strict=True)) for pair in pairs])
    sentence_pairs(tmp_path, out := tmp_path / "out")
    texts = [json.loads(line)["text"] for line in (out / "corpus.jsonl").read_text().splitlines()]
    assert texts == ["b", "c", "y", "e", "h"]
    assert (out / "qrels/train.tsv").read_text().splitlines()[1:] == ["q0\td0\t3", "q0\td1\t1"]
    assert (out / "qrels/test.tsv").read_text().splitlines()[1:] == ["q1\td3\t2"]


def test_intents_as_retrieval(tmp_path: Path) -> None:
    """A message finds the name of its intent; a text of train is no query of test."""
    write_lines(tmp_path / "train.jsonl", [{"text": "where is it", "label": "card_arrival"}])
    rows = [{"text": "where is it", "label": "lost_card"}, {"text": "gone", "label": "lost_card"}]
    write_lines(tmp_path / "test.jsonl", rows)
    intents(tmp_path, out := tmp_path / "out")
    assert [json.loads(line)["text"] for line in (out / "corpus.jsonl").read_text().splitlines()] == [
        "card arrival",
        "lost card",
    ]
    assert (out / "qrels/test.tsv").read_text().splitlines()[1:] == ["q1\td1\t1"]


def test_a_missing_data_set_is_said_in_one_line(tmp_path: Path) -> None:
    """Data sets are no part of the project; the default needs none."""
    assert missing(SETS["nl2bash"], tmp_path) == f"nl2bash: {tmp_path} has no folder nl2bash"
    assert missing(SETS["default"], tmp_path) == ""


def test_the_code_of_a_run_is_what_its_stages_list() -> None:
    """As dvc.yaml lists it for mine, train and merge; what no stage of them reads does not run a cell again."""
    files = {file.relative_to(ROOT).as_posix() for file in code_of(STAGES)}
    assert {"src/attune/stages/train.py", "src/attune/stages/merge.py", "src/attune/tuning/mining/rules.py"} <= files
    assert not {file for file in files if file.startswith("src/attune/evaluation/report")}


def test_a_stage_that_fails_is_named_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the folder and the stage's own line."""

    def dvc(*_: object) -> None:
        raise AssertionError("dvc repro exited with 1\nRunning stage\nattune collect: no data\nERROR: failed")

    monkeypatch.setattr(data_sets.miniature, "dvc", dvc)
    with pytest.raises(BadInput, match="dvc repro near_domain audit embed@base failed: attune collect: no data"):
        shared_folder(SETS["miniature"], tmp_path, tmp_path)


def test_a_cell_of_the_miniature(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The base scores as in the pipeline, rivals and attune train on 40 pairs, and nothing runs a second time."""
    place = Place(SETS["miniature"], finished, tmp_path)
    figures = Cell(place, 40, 13).measure(1e-4)
    assert not capfd.readouterr().out  # that of the trainer would stand between the tables
    of_base = json.loads((finished / "metrics/base.json").read_text())
    assert figures["rivals"]["base"]["test_ndcg@10"] == pytest.approx(of_base["ndcg@10"], abs=1e-5)
    assert 40 <= figures["n_pairs"] < 50
    (result,) = results(tmp_path / "cells")
    assert abs(result.regret) < 0.5 and result.cells()[:3] == ["miniature", f"40 ({figures['n_pairs']})", "13"]
    assert not (tmp_path / "miniature-40-13").exists()
    monkeypatch.setattr(data_sets, "stages", fails)
    monkeypatch.setattr(data_sets, "copy_pipeline", fails)
    again = Cell(place, 40, 13).measure(1e-4)
    assert again == figures
