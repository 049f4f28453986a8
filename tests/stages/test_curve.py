"""Stage curve: nested draws of clusters, hidden labels and not documents, and a forecast from equal bytes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from frozen_inputs import write_turned
from numpy.typing import NDArray

from attune.evaluation.label_points import LABELS
from attune.export.query_map import QueryMap
from attune.plots import read_csv
from attune.stage import Machine, call, load_params
from attune.stages.curve import CurveParams, Scorer, curve, in_order, labelled, points, read_input
from attune.tuning.adapter.fit import AdapterParams, Pairs, fit

MACHINE = Machine(threads=1, precision="fp32", batch_tokens=4096)
FOLDERS = ("embeddings", "prepared", "splits")
PARAMS = CurveParams(shares=[0.125, 0.25, 0.5, 1.0], draws=2, machine=MACHINE)
ADVANCED = """adapter: {steps: 60, batch_size: 32, learning_rate: 0.01, scale: 20.0, rank: 0, hidden: 0,
  n_documents: 1000, evaluate_every: 10, patience: 4}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """160 documents; a query is its document in a turned basis, which labels teach the adapter to turn back."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "advanced.yaml").write_text(ADVANCED)
    (tmp_path / "params.yaml").write_text("machine: {threads: 1, precision: fp32, batch_tokens: 4096}\n")
    write_turned(*(tmp_path / name for name in FOLDERS))
    return tmp_path


def made(project: Path, params: CurveParams = PARAMS, name: str = "one") -> tuple[dict[str, Any], pl.DataFrame]:
    """Runs the stage; returns its receipt and its points."""
    paths = {key: project / key for key in FOLDERS}
    outs = project / f"{name}.json", project / f"{name}.csv"
    call(curve, params, outs[0], **paths, seed=13, confidence=0.95, points_file=outs[1])
    return dict(json.loads(outs[0].read_text())), read_csv(outs[1], LABELS)


def test_more_labels_teach_more_and_are_counted(project: Path) -> None:
    """Shares of 40 clusters of two queries each; all labels do better than an eighth; the receipt forecasts."""
    receipt, points = made(project)
    assert points["n_queries"].to_list() == [10, 20, 40, 80] * 2 and points["draw"].to_list() == [0] * 4 + [1] * 4
    by_share = points.group_by("share").agg(pl.col("test_ndcg@10").mean()).sort("share")["test_ndcg@10"].to_list()
    assert by_share[-1] > by_share[0]
    assert receipt["n_queries"] == 80 and receipt["test_ndcg@10"] == pytest.approx(by_share[-1], abs=1e-5)
    assert (
        receipt["test_ndcg@10.twice.low"] <= receipt["test_ndcg@10.twice.value"] <= receipt["test_ndcg@10.twice.high"]
    )
    assert "test_ndcg@10.check.low" not in receipt  # half of the labels leave three shares


def test_a_second_run_gives_the_same_bytes(project: Path) -> None:
    """Draws come from hashes, trainings from seeds."""
    made(project)
    made(project, name="two")
    for ending in ("json", "csv"):
        assert (project / f"one.{ending}").read_bytes() == (project / f"two.{ending}").read_bytes()


def test_a_point_is_the_adapter_trained_on_its_labels_alone(project: Path) -> None:
    """All labels, second draw: trained again by itself, the map scores as the point says, on dev and on test."""
    data, adapter = read_input(*(project / name for name in FOLDERS)), load_params(AdapterParams, "adapter")
    one = points(PARAMS, adapter, 13, data)[-1]
    fitted = fit(data.pairs, adapter, 14, lambda query_map: data.dev(query_map)["ndcg@10"])
    assert fitted.step > 0 and (one.draw, one.share, one.n_pairs) == (1, 1.0, len(data.pairs.pairs))
    for name in ("recall@10", "ndcg@10"):
        for split, scorer in (("dev", data.dev), ("test", data.test)):
            assert one.scores[f"{split}_{name}"] == scorer(fitted.query_map)[name].mean()


def test_points_do_not_depend_on_the_number_of_threads(project: Path) -> None:
    """Trainings side by side give the bytes, in the order, of one after the other."""
    made(project)
    made(project, PARAMS.model_copy(update={"machine": MACHINE.model_copy(update={"threads": 3})}), "three")
    for ending in ("json", "csv"):
        assert (project / f"one.{ending}").read_bytes() == (project / f"three.{ending}").read_bytes()


def test_the_base_is_scored_once(project: Path) -> None:
    """Not by each training again; and a map that dev has scored is not scored again for its point."""
    data, adapter = read_input(*(project / name for name in FOLDERS)), load_params(AdapterParams, "adapter")
    scored: list[QueryMap] = []

    class Counting(Scorer):
        def __init__(self) -> None: ...

        def __call__(self, query_map: QueryMap) -> dict[str, NDArray[np.float64]]:
            scored.append(query_map)
            return data.dev(query_map)

    points(PARAMS, adapter, 13, data._replace(dev=Counting()))
    assert sum(query_map.is_identity for query_map in scored) == 1
    matrices = [query_map.matrix.tobytes() for query_map in scored if query_map.matrix is not None]
    assert len(matrices) == len(set(matrices)) == len(scored) - 1


def test_without_draws_the_stage_leaves_an_empty_table(project: Path) -> None:
    """Nothing is trained, and the receipt is empty; likewise where the adapter is off."""
    off = PARAMS.model_copy(update={"draws": 0})
    assert made(project, off)[0] == {} and made(project, off)[1].height == 0
    file = project / "advanced.yaml"
    file.write_text(file.read_text().replace("steps: 60", "steps: 0"))
    assert made(project)[0] == {}


def test_draws_are_orders_of_clusters_of_which_a_share_is_the_beginning() -> None:
    """Another draw is another order of the same clusters; the order of the queries does not matter."""
    ids = pl.Series([f"c{i // 2}" for i in range(100)])
    first = in_order(ids, 13, 0)
    assert sorted(first) == sorted(set(ids)) and first == in_order(ids.reverse(), 13, 0)
    assert first != in_order(ids, 13, 1) and first != in_order(ids, 14, 0)


def test_hidden_labels_leave_documents_and_masks() -> None:
    """Pairs of query 1 alone are left; all documents stay candidates of the softmax."""
    pairs = np.array([[0, 0], [1, 1], [1, 2], [2, 0]])
    vectors = np.eye(3, dtype=np.float32)
    left = labelled(Pairs(vectors, vectors, pairs, pairs), np.array([False, True, False]))
    assert left.pairs.tolist() == [[1, 1], [1, 2]] and left.documents is vectors and len(left.masked) == 4


@pytest.mark.parametrize("shares", [[0.5, 0.25, 1.0], [0.25, 0.5], [0.5, 0.5, 1.0]])
def test_shares_that_do_not_rise_to_all_are_refused(shares: list[float]) -> None:
    """The message shows them."""
    with pytest.raises(ValueError, match=r"expected rising numbers, the last of them 1"):
        CurveParams(shares=shares, draws=1, machine=MACHINE)
