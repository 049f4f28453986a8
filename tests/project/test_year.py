"""A simulated year: twelve weeks of rows, three upgrades, two colleagues and a rollback, by stages and gate themselves.

Stages collect, prepare and split run each week on a table of the miniature's size. What training would add is planted:
scores of the champion and of tuned, query by query. test_year_in_dvc.py has the first weeks with DVC and training.
"""

import shutil
from collections import Counter
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
from growing import Repository, Row, Week, loaded, ordinary_rows
from shipped_params import PANEL

from attune.data.assignments import moves, read_assignments
from attune.data.text_hash import text_hash
from attune.data.trained_on import TrainedOn, seen_clusters
from attune.evaluation.checks.catalogue import Finding, catalogue, findings
from attune.evaluation.checks.facts import Facts
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.report.champion import champion_of
from attune.evaluation.report.summary import SCORES, Paired
from attune.evaluation.scoring.measures import MEASURES
from attune.stage import call, load_params
from attune.stages.split import split
from attune.tables import SPLIT_QUERIES, read, write

WEEKS = 12
AT_FIRST, A_WEEK = 320, 16  # rows; 5% a week
RELEASED, COLLEAGUES, TIED, ROLLED_BACK = 4, 5, 7, 10  # weeks
# by week, the package's parameter files of that release: texts there and what takes their place, and renamed keys
UPGRADES: dict[int, tuple[dict[str, str], dict[str, str]]] = {
    3: ({"  port: 8765": "  door: 8765"}, {"demo.port": "demo.door"}),
    6: ({"  port: 8765": "  door: 8765\n  # Opens a second one.\n  is_double: false"}, {"demo.port": "demo.door"}),
    # other defaults of the split itself
    9: ({"  port: 8765": "  door: 8765", "seed: 13": "seed: 14", "test_share: 0.2": "test_share: 0.25"}, {}),
}


def of_week(week: int) -> list[Row]:
    """The rows that come in a week: new questions, an old one with a new answer, an old answer, a near-duplicate."""
    rows = ordinary_rows(AT_FIRST + A_WEEK * week, A_WEEK)
    old = ordinary_rows(0, AT_FIRST)[11 * week : 11 * week + 3]
    rows[0] = rows[0] | {name: old[0][name] for name in ("question", "product")}
    rows[1] = rows[1] | {"answer": old[1]["answer"]}
    rows[2] = rows[2] | {"question": old[2]["question"] + " please"}
    return rows


def ties(week: Week) -> list[Row]:
    """Two rows that tie old clusters: a test query's to an earlier one of train, and a train query's to one of test."""
    split_of = {name: read(week.folder / f"splits/{name}/queries.parquet", SPLIT_QUERIES) for name in ("train", "test")}
    plain = ordinary_rows(0, AT_FIRST)
    sizes = Counter(c for table in split_of.values() for c in table["cluster_id"])
    alone = {
        text
        for table in split_of.values()
        for text, c in table.select("text", "cluster_id").iter_rows()
        if sizes[c] == 1
    }
    of = {
        name: [row for row in plain if row["question"] in alone & set(table["text"])]
        for name, table in split_of.items()
    }
    later_test, later_train = (of[name][-1] for name in ("test", "train"))
    earlier_train, earlier_test = (of[name][0] for name in ("train", "test"))
    return [later_test | {"answer": earlier_train["answer"]}, later_train | {"answer": earlier_test["answer"]}]


class Year(NamedTuple):
    """The runs of main, week by week; the colleagues' branches; the week that was rolled back; upgrades' words."""

    weeks: list[Week]
    branches: tuple[Week, Week, Week]
    rolled_back: Week
    said: dict[int, list[str]]
    repository: Repository


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Year:
    """Lives through the year."""
    repository = Repository(tmp_path_factory.mktemp("year"))
    weeks = [repository.run("week00", ordinary_rows(0, AT_FIRST))]
    said: dict[int, list[str]] = {}
    for week in range(1, WEEKS + 1):
        if week in UPGRADES:
            said[week] = repository.upgrade(*UPGRADES[week])
        old, new = weeks[-1].rows, of_week(week)
        if week == COLLEAGUES:  # each appends half of the week's rows on a branch; merged in either order
            ann, ben = new[::2], new[1::2]
            parts = {"ann": [*old, *ann], "ben": [*old, *ben], "other_order": [*old, *ben, *ann]}
            branches = tuple(repository.run(name, rows) for name, rows in parts.items())
            new = [*ann, *ben]
        if week == TIED:
            new = [*new, *ties(weeks[-1])]
        weeks.append(repository.run(f"week{week:02}", [*old, *new]))
        if week == ROLLED_BACK:  # the week's rows were wrong: back to the last one's, and on from there
            rolled_back = weeks.pop()
            weeks.append(repository.run("restored", old))
    return Year(weeks, branches, rolled_back, said, repository)  # type: ignore[arg-type]


class Revision:
    """A week as the revision that the next one is merged into."""

    name = "main"

    def __init__(self, week: Week) -> None:
        self.commit = week.commit
        self._files = {"dvc.lock": week.lock, "metrics/assignments.csv": week.text}

    def read(self, path: str) -> str | None:
        return self._files.get(path)

    def paths(self, folder: str, suffix: str) -> list[str]:
        return []


def gate(here: Week, there: Week, champion: dict[str, Any], **limits: object) -> dict[str, list[Finding]]:
    """The gate's findings on a week against an earlier one, by code: same test, champion and moves."""
    revision = Revision(there)
    params = load_params(GateParams, "gate", PANEL).model_copy(update=limits)
    files = {"dvc.lock": here.lock, "metrics/assignments.csv": here.text}
    facts = Facts({"report": {"champion": champion}, "dvc.lock": {}}, files.get, revision=revision)
    listed = [each for each in catalogue() if each.code in ("ATT021", "ATT046", "ATT047")]
    found = findings(facts, params, ["metrics", "dvc.lock", "revision"], listed)
    return {each.check.code: [one for one in found if one.check is each.check] for each in found}


def stopped(found: dict[str, list[Finding]]) -> set[str]:
    return {code for code, each in found.items() if any(one.is_blocking for one in each)}


def compared(here: Week, released: Week, tuned: float, folder: Path, champion: float = 0.65) -> dict[str, Any]:
    """Compares with the champion released in a week, as the report does: planted scores, equal for all measures."""
    trained = TrainedOn.of(released.folder / "splits", released.corpus)
    queries = here.queries
    seen = seen_clusters(here.folder / "splits/test", here.corpus, trained, "cluster")
    chance = np.random.default_rng(3)
    sides = [np.clip(mean + chance.normal(0, 0.1, queries.height), 0, 1) for mean in (champion, tuned)]
    champions, own = (dict.fromkeys(MEASURES, values) for values in sides)
    table = queries.select("query_id", "cluster_id", split=pl.lit("test")).with_columns(
        **{m: champions[m] for m in MEASURES}
    )
    table = table.filter(~pl.col("cluster_id").is_in(list(seen))).select(list(SCORES))
    write(table, folder / "scores.parquet", SCORES)
    clusters = queries["cluster_id"].rank("dense").to_numpy().astype(np.int64)
    test = Paired(queries["query_id"].to_list(), clusters, own, own)
    return champion_of(folder, {"name": "v1", "is_training_known": True}, test, set(), 0.95)


def test_no_query_moves_but_those_that_the_gate_names(year: Year) -> None:
    """In twelve weeks with strata only the planted ties move queries, one in each direction, and ATT047 says so."""
    sentences = {}
    for week, (before, after) in enumerate(pairwise(year.weeks), start=1):
        (finding,) = gate(after, before, {})["ATT047"]
        counted, n = moves(read_assignments(before.text), read_assignments(after.text))
        assert n == len(read_assignments(before.text)) and (finding.status == "failed") == bool(counted)
        assert not finding.is_blocking
        if counted:
            sentences[week] = finding.sentence.partition(" moved: ")[2]
    assert sentences == {TIED: "1 test to train, 1 train to test"}
    assert len(read_assignments(year.weeks[-1].text)) > AT_FIRST + (A_WEEK - 3) * (WEEKS - 1)


def test_a_move_would_be_seen(year: Year) -> None:
    """Planted: another seed of the split moves queries by the dozen, and the same check counts them."""
    last = year.weeks[-1]
    texts = year.repository.texts()
    other = year.repository.root / "other"
    other.mkdir()
    edited = texts["advanced.yaml"].replace("seed: 7  # drawn", "seed: 8")
    splitting = loaded((texts["params.yaml"], edited), other)[2]
    assert splitting.seed == 8
    shutil.copytree(last.folder / "prepared", other / "prepared")
    near = asdict(loaded((texts["params.yaml"], edited), other)[1].near_duplicates())
    outs = {"out": other / "splits", "assignments": other / "assignments.csv"}
    call(split, splitting, other / "split.json", prepared=other / "prepared", **near, **outs)
    (finding,) = gate(Week(last.rows, other), last, {})["ATT047"]
    assert finding.status == "failed" and int(finding.sentence.split(" moved: ")[0].rpartition(" ")[2]) > 100


def test_upgrades_keep_what_decides_the_split(year: Year) -> None:
    """Renamed, new and dropped keys and other defaults: the user's values and comments are there at the end."""
    assert year.said == {
        3: ["advanced.yaml: demo.port is now demo.door"],
        6: ["advanced.yaml: new, demo.is_double: False"],
        9: ["advanced.yaml: demo.is_double is no longer a parameter; it was False"],
    }
    texts = year.repository.texts()
    assert "  # ours\n  door: 9000  # of the proxy\n" in texts["advanced.yaml"]
    assert "seed: 7  # drawn" in texts["advanced.yaml"] and "test_share: 0.2\n" in texts["params.yaml"]


def test_two_colleagues_merge_into_one_split(year: Year) -> None:
    """No query of either branch moves by the merge, and the order in which it puts their rows moves none."""
    ann, ben, other_order = year.branches
    merged = read_assignments(year.weeks[COLLEAGUES].text)
    for side in (ann, ben, other_order):
        assert moves(read_assignments(side.text), merged)[0] == {}
    assert len(merged) > max(len(read_assignments(side.text)) for side in (ann, ben))
    assert read_assignments(other_order.text) == merged


def test_a_rollback_brings_back_the_same_bytes(year: Year) -> None:
    """The week before, to the byte: split, figures and test data; the weeks after go on from there."""
    before, restored, after = year.weeks[ROLLED_BACK - 1], year.weeks[ROLLED_BACK], year.weeks[ROLLED_BACK + 1]
    assert year.rolled_back.text != before.text == restored.text
    assert restored.lock == before.lock != year.rolled_back.lock
    for name in ("split.json", "prepare.json"):
        assert (restored.folder / name).read_bytes() == (before.folder / name).read_bytes()
    assert len(read_assignments(after.text)) > len(read_assignments(restored.text))


def test_what_the_champion_has_seen_is_what_moved(year: Year, tmp_path: Path) -> None:
    """Of the last test, the champion of week 4 can have seen the cluster that came over from train, and no other."""
    released, last = year.weeks[RELEASED], year.weeks[-1]
    trained = TrainedOn.of(released.folder / "splits", released.corpus)
    seen = seen_clusters(last.folder / "splits/test", last.corpus, trained, "cluster")
    old = read_assignments(released.text)
    moved = {
        c for c, text in last.queries.select("cluster_id", "text").iter_rows() if old.get(text_hash(text)) == "train"
    }
    assert seen == moved and len(moved) == 1
    left = compared(last, released, 0.65, tmp_path)["n_left_out"]
    assert left == last.queries.filter(pl.col("cluster_id").is_in(list(seen))).height


def test_the_gate_passes_and_fails_where_it_should(year: Year, tmp_path: Path) -> None:
    """Grown data alone stop the gate; with a champion a worse model does and a better one does not."""
    released, before, last = year.weeks[RELEASED], year.weeks[-2], year.weeks[-1]
    assert stopped(gate(last, before, {})) == {"ATT021"}
    worse, better = (compared(last, released, tuned, tmp_path) for tuned in (0.45, 0.75))
    assert stopped(gate(last, before, better)) == set()
    found = gate(last, before, worse)
    assert stopped(found) == {"ATT046"} and len(found["ATT046"]) == 3  # measures
    assert "a loss above 0.02 is certain" in found["ATT046"][0].sentence
    assert stopped(gate(year.weeks[ROLLED_BACK], year.weeks[ROLLED_BACK - 1], {})) == set()  # the same test again


def test_an_excuse_for_grown_data_ends_with_the_commit(year: Year, tmp_path: Path) -> None:
    """It lets one week's merge pass without a champion, not the next one; and excuses no loss against a champion."""
    before, last = year.weeks[-2:]
    excuse = {"allow_other_test": {before.commit[:7]: "a week of new rows"}}
    assert stopped(gate(last, before, {}, **excuse)) == set()
    assert stopped(gate(last, year.weeks[-4], {}, **excuse)) == {"ATT021"}
    worse = compared(last, year.weeks[RELEASED], 0.45, tmp_path)
    assert stopped(gate(last, before, worse, **excuse)) == {"ATT046"}
