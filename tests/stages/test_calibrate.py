"""Stage calibrate: figures of both systems, the same bytes again, off by one key."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from prepared_tables import filled

from attune.evaluation.calibration.settings import CalibrateParams
from attune.stage import call
from attune.stages.calibrate import calibrate
from attune.tables import QRELS, RUN, SPLIT_QUERIES, write

N, DEPTH = 120, 5
PARAMS = CalibrateParams(depth=DEPTH, precision=0.8)


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    """Five hits a query, of which at most one answers; tuned's scores of answers are .2 higher than base's."""
    random = np.random.default_rng(0)
    rows: dict[str, list[tuple[str, int, str, float]]] = {"base": [], "tuned": []}
    for split in ("dev", "test"):
        ids = [f"{split}{i:03}" for i in range(N)]
        columns = {"query_id": ids, "text": ids, "cluster_id": ids}
        write(filled(columns, SPLIT_QUERIES), tmp_path / f"splits/{split}/queries.parquet", SPLIT_QUERIES)
        judged = pl.DataFrame([(id_, f"answer of {id_}", 1) for id_ in ids], schema=QRELS, orient="row")
        write(judged, tmp_path / f"splits/{split}/qrels.parquet", QRELS)
        for id_ in ids:
            wrong = np.sort(random.uniform(0.1, 0.5, DEPTH))[::-1]
            for system, gain in (("base", 0.0), ("tuned", 0.2)):
                found = [(float(score), f"wrong {place}") for place, score in enumerate(wrong)]
                found.append((float(random.uniform(0.3, 0.7) + gain), f"answer of {id_}"))
                ranked = sorted(found, reverse=True)[:DEPTH]
                rows[system] += [(id_, rank, name, score) for rank, (score, name) in enumerate(ranked, start=1)]
    for system, own in rows.items():
        run = pl.DataFrame(own, schema=RUN, orient="row").sort("query_id", "rank")
        write(run, tmp_path / f"runs/{system}/run.parquet", RUN)
    return {"runs": tmp_path / "runs", "splits": tmp_path / "splits"}


def made(inputs: dict[str, Path], out: Path, params: CalibrateParams = PARAMS) -> dict[str, Any]:
    """Runs the stage; returns its receipt."""
    call(calibrate, params, out.with_suffix(".json"), **inputs, confidence=0.95, out=out)
    return dict(json.loads(out.with_suffix(".json").read_text()))


def test_it_says_what_scores_mean_and_what_an_old_cutoff_does(inputs: dict[str, Path], tmp_path: Path) -> None:
    """A map is better than the score itself; the promise holds; tuned's scores are higher, so its cutoff is, too."""
    receipt = made(inputs, tmp_path / "calibration")
    for system in ("base", "tuned"):
        content = json.loads((tmp_path / f"calibration/{system}.json").read_text())
        assert content["method"] == receipt[f"{system}.method"] and content["n_relevant"] == N
        assert (np.diff(content["probabilities"]) >= 0).all() and content["relevant_scores"] == sorted(
            content["relevant_scores"]
        )
        promise = {"precision": 0.8, "confidence": 0.95}
        if receipt[f"{system}.promised.is_kept"]:
            promise["dev_coverage"] = receipt[f"{system}.promised.dev_coverage"]
        assert content["promise"] == promise and (content["cutoff"] is None) == (len(promise) == 2)
        ends = [content["expected_calibration_error"][name] for name in ("value", "low", "high")]
        assert ends == [receipt[f"{system}.{name}"] for name in ("ece", "ece_low", "ece_high")]
        assert receipt[f"{system}.ece"] < receipt[f"{system}.score_as_probability_ece"]
        assert receipt[f"{system}.ece_low"] < receipt[f"{system}.ece_high"]
    assert receipt["tuned.promised.is_kept"] and receipt["tuned.promised.test_precision"] > 0.8
    assert receipt["tuned.removed_answer_auroc"] > receipt["base.removed_answer_auroc"] > 0.5
    assert receipt["cutoff.tuned_share_kept"] > receipt["cutoff.base_share_kept"] >= 0.9
    assert receipt["cutoff.new"] > receipt["cutoff.old"]
    assert receipt["cutoff.new_wrong_hits"] < receipt["cutoff.tuned_wrong_hits"]


def test_a_second_run_gives_the_same_bytes(inputs: dict[str, Path], tmp_path: Path) -> None:
    """Maps and receipt."""
    assert made(inputs, tmp_path / "one") == made(inputs, tmp_path / "two")
    for name in ("base.json", "tuned.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_depth_0_turns_it_off(inputs: dict[str, Path], tmp_path: Path) -> None:
    """No map, and nothing is read."""
    off = PARAMS.model_copy(update={"depth": 0})
    assert made(inputs | {"runs": tmp_path / "none"}, tmp_path / "off", off) == {"is_off": True}
    assert [path.name for path in (tmp_path / "off").iterdir()] == ["off.json"]
