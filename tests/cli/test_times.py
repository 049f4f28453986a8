"""`attune times`: medians by a clock, seconds of the stages that make a system, and a file that the report reads."""

import json
from itertools import count
from pathlib import Path

import pytest

from attune.cli import times
from attune.cli.repro import seconds_file
from attune.cli.times import medians, stage_seconds
from attune.errors import BadInput


def test_the_median_of_all_rounds_counts_and_the_first_query_of_each_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that each call moves: by 1 ms in `fast`, by 5 ms in `slow`, by a second in a first call of either."""
    monkeypatch.setattr(times, "PAUSE_SECONDS", 0)
    now, called = [0.0], {"fast": count(), "slow": count()}

    def ask(system: str, seconds: float, query: str) -> None:
        now[0] += 1.0 if next(called[system]) % 4 == 0 else seconds

    asks = {
        "fast": lambda query: ask("fast", 0.001, query),
        "slow": lambda query: ask("slow", 0.005, query),
    }
    assert medians(asks, ["a", "b", "c"], lambda: now[0]) == {"fast": 1.0, "slow": 5.0}
    assert next(called["fast"]) == 12  # three rounds of three queries, and one before each


def test_the_seconds_of_stages_that_make_a_system_are_kept(tmp_path: Path) -> None:
    """Rounds and encoders by their stage's name; stages of every system are left out; none of another project."""
    assert stage_seconds(tmp_path) == {}
    file = tmp_path / ".dvc/tmp/attune_seconds.json"
    file.parent.mkdir(parents=True)
    known = {"train@r1": 600.0, "embed@tuned": 70.5, "embed@base": 70.0, "adapter": 8.0, "report": 3.0, "mine@r1": 9.0}
    file.write_text(json.dumps(known))
    assert list(stage_seconds(tmp_path)) == ["adapter", "embed@tuned", "mine@r1", "train@r1"]
    shop = tmp_path / "shop"  # another project of the same DVC repository
    assert stage_seconds(shop) == {}
    seconds_file(shop).parent.mkdir()
    seconds_file(shop).write_text('{"adapter": 2.0}')
    assert stage_seconds(shop) == {"adapter": 2.0} and stage_seconds(tmp_path)["adapter"] == 8.0
    file.write_text("[1]")
    with pytest.raises(BadInput, match=r"attune_seconds\.json: not what make repro writes"):
        stage_seconds(tmp_path)
