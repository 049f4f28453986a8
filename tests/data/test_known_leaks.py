"""On public data whose leaks are known, the audit finds them; where the split is ours, there are none left to find."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from attune.stage import Params, call, load_params
from attune.stages.collect import CollectParams, collect
from attune.stages.prepare import PrepareParams, prepare
from attune.stages.split import SplitParams, split

DATASETS = Path(os.environ.get("ATTUNE_DATASETS", Path(__file__).parents[2] / "../shared/datasets"))
PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"


def audited(name: str, out: Path) -> dict[str, Any]:
    """The receipt of split for a data set in BEIR's layout, however much of it leaks."""
    folder = DATASETS / name
    if not folder.is_dir():
        pytest.skip(f"no {folder}: set ATTUNE_DATASETS to a folder that holds it")

    def params(record: type[Params], section: str, **changes: object) -> Params:
        return load_params(record, section, PARAMS).model_copy(update=changes)

    own = params(CollectParams, "collect", source="beir", path=str(folder))
    call(collect, own, None, out=out / "raw")
    call(prepare, params(PrepareParams, "prepare"), None, raw=out / "raw", out=out / "prepared")
    cut = params(SplitParams, "split", max_leak_share=1.0)
    call(split, cut, out / "split.json", prepared=out / "prepared", out=out / "splits")
    receipt: dict[str, Any] = json.loads((out / "split.json").read_text())
    return receipt


def test_the_known_leaks_of_the_official_split_of_scifact_are_found(tmp_path: Path) -> None:
    """About 23% of the test claims are near a train claim; 181 of the 283 relevant documents are so in train, too."""
    receipt = audited("scifact", tmp_path)
    assert receipt["n_test_queries"] == 300
    assert 0.21 <= receipt["test_leaks.near_queries"] / 300 <= 0.25
    # dev is cut from train by whole clusters and counts as seen, so no shared document gets lost
    assert receipt["test_leaks.shared_documents"] == 181


def test_our_own_split_of_nl2bash_leaves_no_near_duplicate_across_splits(tmp_path: Path) -> None:
    """A split by shared documents alone leaves 4.5% of the test queries with a near-duplicate in train."""
    receipt = audited("nl2bash", tmp_path)
    assert receipt["n_test_queries"] > 1000
    assert {key: n for key, n in receipt.items() if "_leaks." in key and n} == {}
