"""The splits that git keeps tell which queries moved, by direction, whatever was appended between two revisions."""

from collections.abc import Mapping
from itertools import pairwise

import polars as pl
import pytest
from shipped_params import PANEL

from attune.data import assignments
from attune.data.assignments import assignment_text, moves, read_assignments
from attune.data.splitting.assignment import SplitParams, assign
from attune.data.text_hash import text_hash
from attune.evaluation.checks.catalogue import Finding, catalogue, findings
from attune.evaluation.checks.facts import Facts
from attune.evaluation.checks.limits import GateParams
from attune.stage import load_params
from attune.tables import CLUSTERED_QUERIES

OLD = [("Where is it?", "train"), ("how", "test"), ("who", "dev"), ("why", "train")]


def queries(n: int, strata: int = 0) -> pl.DataFrame:
    """Queries that are clusters of their own, in as many strata."""
    ids = [f"q{i:05}" for i in range(n)]
    columns = {name: [""] * n for name in CLUSTERED_QUERIES}
    columns |= dict.fromkeys(("query_id", "cluster_id", "query_cluster_id", "near_group"), ids) | {"text": ids}
    columns["stratum"] = [f"s{i % strata}" if strata else "" for i in range(n)]
    return pl.DataFrame(columns, schema=dict(CLUSTERED_QUERIES))


def split_of(table: pl.DataFrame, **changes: str) -> dict[str, str]:
    params = load_params(SplitParams, "split", PANEL).model_copy(update=changes)
    return read_assignments(assignment_text(zip(table["text"], assign(table, params), strict=True)))


def test_moves_are_counted_by_direction_among_the_queries_of_both() -> None:
    """A new query and one that is gone are no moves; case and white space make no other query."""
    new = [("where  IS it?", "test"), ("how", "train"), ("who", "dev"), ("new", "train")]
    counted, n = moves(*(read_assignments(assignment_text(side)) for side in (OLD, new)))
    assert dict(counted) == {("train", "test"): 1, ("test", "train"): 1} and n == 3


def test_the_text_is_sorted_hashes_with_their_split() -> None:
    """The order of the queries changes no byte; no text stands in it."""
    text = assignment_text(OLD)
    assert text == assignment_text(OLD[::-1]) and "where" not in text.lower()
    assert text.splitlines()[0] == "query,split" and f"{text_hash('how')},test" in text.splitlines()
    with pytest.raises(ValueError, match="begins with 'a,b'"):
        read_assignments("a,b\n")


def test_beyond_the_limit_revisions_share_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lowest hashes of both: of 40 shared queries and ten new ones, most of the 20 kept are kept twice."""
    monkeypatch.setattr(assignments, "MOST_QUERIES", 20)
    sides = [read_assignments(assignment_text((f"q{i}", "train") for i in range(n))) for n in (40, 50)]
    counted, n = moves(*sides)
    assert not counted and len(sides[0]) == len(sides[1]) == 20 and n >= 12


@pytest.mark.parametrize("strata", [0, 3])
def test_twelve_weeks_of_appended_rows_move_nobody(strata: int) -> None:
    """50 rows a week on 1,000: every old query keeps its split, week by week, with strata and without."""
    weeks = [split_of(queries(1000 + 50 * week, strata)) for week in range(13)]
    for before, after in pairwise(weeks):
        assert moves(before, after) == ({}, len(before))


def test_exact_strata_are_cut_anew_and_the_moves_are_counted() -> None:
    """split.strata: exact keeps shares as strata grow, at the cost of moves near the cuts: few, and never hidden."""
    counted, n = moves(*(split_of(queries(n, strata=3), strata="exact") for n in (1000, 1050)))
    assert n == 1000 and 0 < sum(counted.values()) <= 30


class Snapshot:
    """A revision that holds some files."""

    name, commit = "main", "0" * 40

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = files

    def read(self, path: str) -> str | None:
        return self.files.get(path)

    def paths(self, folder: str, suffix: str) -> list[str]:
        return []


def judged(old: str | None, new: str | None) -> Finding:
    files = [{"metrics/assignments.csv": text} if text is not None else {} for text in (old, new)]
    listed = [each for each in catalogue() if each.code == "ATT047"]
    limits = load_params(GateParams, "gate", PANEL)
    (found,) = findings(Facts({}, files[1].get, revision=Snapshot(files[0])), limits, ["revision"], listed)
    return found


def test_the_gate_names_moves_and_stops_no_merge() -> None:
    """It counts them by direction; a revision without the file is not judged, a missing file here fails."""
    new = assignment_text([*OLD[:3], ("why", "test")])
    found = judged(assignment_text(OLD), new)
    assert (found.status, found.is_blocking) == ("failed", False)
    assert found.sentence == "of 4 queries that main has, too, 1 moved: 1 train to test"
    assert judged(new, new).sentence == "none of 4 queries that main has, too, moved"
    assert judged(None, new).status == "not applicable"
    assert "metrics/assignments.csv is missing" in judged(new, None).sentence
    assert "holds no assignments" in judged(new, "x\n").sentence
