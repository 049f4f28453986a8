"""The leak audit on public data: known leaks of an official split are found, attune's own split has none."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from shipped_params import PANEL

from attune.data.splitting.assignment import SplitParams
from attune.stage import Params, call, load_params
from attune.stages.collect import CollectParams, collect
from attune.stages.prepare import PrepareParams, prepare
from attune.stages.split import split

DATASETS = Path(os.environ.get("ATTUNE_DATASETS", Path(__file__).parents[2] / "../shared/datasets"))
PARAMS = PANEL


def audited(name: str, out: Path) -> dict[str, Any]:
    """Splits a data set in BEIR's layout, however much of it leaks, and returns the receipt."""
    folder = DATASETS / name
    if not folder.is_dir():
        pytest.skip(f"no {folder}: set ATTUNE_DATASETS to a folder that holds it")

    def params(record: type[Params], section: str, **changes: object) -> Params:
        return load_params(record, section, PARAMS).model_copy(update=changes)

    own = params(CollectParams, "collect", source="beir", path=str(folder))
    call(collect, own, None, out=out / "raw")
    clustering = load_params(PrepareParams, "prepare", PARAMS)
    call(prepare, clustering, None, raw=out / "raw", out=out / "prepared")
    near = asdict(clustering.near_duplicates())
    tolerant = params(SplitParams, "split", max_leak_share=1.0)
    call(
        split,
        tolerant,
        out / "split.json",
        prepared=out / "prepared",
        **near,
        out=out / "splits",
        assignments=out / "assignments.csv",
    )
    receipt: dict[str, Any] = json.loads((out / "split.json").read_text())
    return receipt


def test_known_leaks_of_scifact_s_official_split_are_found(tmp_path: Path) -> None:
    """About 23% of the test claims are near a train claim; 181 of the 283 relevant documents are relevant in train."""
    receipt = audited("scifact", tmp_path)
    assert receipt["n_test_queries"] == 300
    assert 0.21 <= receipt["test_leaks.near_queries"] / 300 <= 0.25
    # dev is cut from train by whole clusters and counts as seen, so no shared document gets lost
    assert receipt["test_leaks.shared_documents"] == 181


def test_a_split_of_nl2bash_by_clusters_leaves_no_near_duplicates(tmp_path: Path) -> None:
    """A split by shared documents alone leaves 4.5% of the test queries with a near-duplicate in train."""
    receipt = audited("nl2bash", tmp_path)
    assert receipt["n_test_queries"] > 1000
    assert {key: n for key, n in receipt.items() if "_leaks." in key and n} == {}
