"""`attune times`: medians by a clock, seconds of the stages that make a system, and a file that the report reads."""

import json
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from attune.cli import times
from attune.cli.repro import seconds_file
from attune.cli.times import INT8, asks_of, dense_systems, medians, stage_seconds
from attune.errors import BadInput
from attune.evaluation.report.ways import WAYS
from attune.runtime.manifest import TOKENIZER


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


def test_every_way_of_a_pipeline_is_measured(finished: Path) -> None:
    """Each system that embeds queries answers a query, embeds it alone, and knows the bytes of its files."""
    systems = dense_systems(finished, 1)
    asks = asks_of(finished, systems)
    assert set(systems) == {"base", "adapter", "tuned", "tuned_int8", "static_base", "static_tuned"}
    assert set(asks) == {*systems, "bm25", "hybrid_base", "hybrid_adapter", "hybrid_tuned"} == {w.system for w in WAYS}
    tokens, graph = finished / "models/static/tuned", finished / "models/onnx"
    n_bytes = {name: system.n_bytes for name, system in systems.items()}
    assert n_bytes["static_tuned"] == sum((tokens / name).stat().st_size for name in ("model.safetensors", TOKENIZER))
    assert n_bytes["tuned_int8"] == sum((graph / name).stat().st_size for name in (INT8, TOKENIZER))
    assert n_bytes["static_tuned"] < n_bytes["tuned_int8"] < n_bytes["tuned"] < n_bytes["adapter"]
    for ask in asks.values():
        assert ask("a query")
    assert np.shape(systems["static_tuned"].embed("a query")) == np.shape(systems["tuned"].embed("a query"))
