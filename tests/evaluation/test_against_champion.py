"""Tuned against the champion: the paired interval of the shared queries, and the gate's decision on it."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from shipped_params import PANEL

from attune.errors import BadInput
from attune.evaluation.checks.catalogue import catalogue, findings
from attune.evaluation.checks.facts import Facts
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.report.champion import COMPARED, champion_of, champion_sentence
from attune.evaluation.report.summary import SCORES, Paired
from attune.evaluation.scoring.measures import MEASURES
from attune.evaluation.statistics.significance import compare
from attune.stage import load_params
from attune.tables import write

LIMITS = load_params(GateParams, "gate", PANEL)
N = 60
RECEIPT = {"name": "v1", "is_training_known": True}


def paired(seed: int = 0) -> Paired:
    """Random scores of 60 queries in 30 clusters."""
    random = np.random.default_rng(seed)
    sides = [{measure: random.uniform(size=N) for measure in MEASURES} for _ in range(2)]
    return Paired([f"q{i:02}" for i in range(N)], np.arange(N) // 2, *sides)


def scored(folder: Path, rows: list[int], values: float | None = None) -> Path:
    """The champion's scores of some of the queries: a constant, or random ones."""
    random = np.random.default_rng(9)
    own = {measure: random.uniform(size=len(rows)) if values is None else [values] * len(rows) for measure in MEASURES}
    table = pl.DataFrame({"query_id": [f"q{i:02}" for i in rows], "split": ["test"] * len(rows)} | own)
    write(table, folder / "scores.parquet", SCORES)
    return folder


def test_tuned_is_compared_query_by_query_on_what_both_can_be_scored_on(tmp_path: Path) -> None:
    """The figures of `compare` on the shared rows; queries that leak into today's train are left out, too."""
    test, rows = paired(), [*range(10, N)]
    folder = scored(tmp_path, rows)
    found = champion_of(folder, RECEIPT, test, {"q10", "q11"}, 0.9)
    table = pl.read_parquet(folder / "scores.parquet").filter(~pl.col("query_id").is_in(["q10", "q11"]))
    kept = np.arange(12, N)
    expected = compare(
        {measure: table[measure].to_numpy() for measure in COMPARED},
        {measure: test.tuned[measure][kept] for measure in COMPARED},
        test.clusters[kept],
        0.9,
    )
    for measure in COMPARED:
        assert found["paired"][measure]["delta"] == pytest.approx(expected[measure].delta)
        assert found["paired"][measure]["ci_low"] == pytest.approx(expected[measure].ci_low)
        assert found["paired"][measure]["p_holm"] >= expected[measure].p_value
    assert (found["n_queries"], found["n_clusters"], found["n_left_out"]) == (48, 24, 12)


def test_without_a_champion_there_is_nothing_to_say(tmp_path: Path) -> None:
    """No file is read."""
    assert champion_of(tmp_path, {"name": ""}, paired(), set(), 0.95) == {} and champion_sentence({}, 0.95) == ""


def test_scores_of_other_queries_are_bad_input(tmp_path: Path) -> None:
    """A champion scored on another test is refused, not matched by place."""
    with pytest.raises(BadInput, match=r"tuned was not scored on 'q60' and 1 more; run `dvc repro`"):
        champion_of(scored(tmp_path, [0, 1, 60, 61]), RECEIPT, paired(), set(), 0.95)


def test_the_sentence_says_what_was_left_out_and_what_is_unknown(tmp_path: Path) -> None:
    """Both means, the interval, and a warning where the champion's folder has no hashes."""
    known = champion_of(scored(tmp_path, [*range(10, N)]), RECEIPT, paired(), set(), 0.95)
    words = champion_sentence(known, 0.95)
    assert words.startswith("Against the champion v1 on 50 of today's test queries, without 10 that either may have ")
    assert "95% interval" in words and "Nobody knows" not in words
    assert "Nobody knows which" in champion_sentence(known | {"is_training_known": False}, 0.95)


def judged(report: dict[str, Any]) -> set[str]:
    listed = [each for each in catalogue() if each.code == "ATT046"]
    return {str(each.status) for each in findings(Facts({"report": report}), LIMITS, ["metrics"], listed)}


@pytest.mark.parametrize(
    ("champion", "tuned", "expected"), [(0.2, 0.8, {"passed"}), (0.8, 0.2, {"failed"}), (0.5, 0.5, {"undecided"})]
)
def test_the_gate_fails_a_tuned_encoder_below_the_champion(
    tmp_path: Path, champion: float, tuned: float, expected: set[str]
) -> None:
    """Planted: a gain and a loss of .6 decide; none on 60 queries rules out a loss of .02 by chance alone."""
    random = np.random.default_rng(1)
    noise = random.uniform(-0.15, 0.15, size=N)
    own = {measure: np.full(N, tuned) + noise for measure in MEASURES}
    test = Paired([f"q{i:02}" for i in range(N)], np.arange(N), own, own)
    found = champion_of(scored(tmp_path, [*range(N)], champion), RECEIPT, test, set(), 0.95)
    assert judged({"champion": found}) == expected


def test_the_check_does_not_apply_without_a_champion() -> None:
    """Reports of earlier revisions have no such key."""
    assert judged({"champion": {}}) == judged({}) == {"not applicable"}
