"""Two processes train what one does, repeat themselves to the byte, share every loss, and end together."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from shared_jobs import embed_arguments, embed_params, losses_of
from training import MACHINE, inputs_of, params, sha256, task, trained
from warm_python import workers

from attune.encoding import processes, shards
from attune.errors import BadInput
from attune.stage import call
from attune.stages.embed import embed
from attune.tuning.training import rates
from attune.tuning.training.batches import EpochCallback
from attune.tuning.training.conflicts import BatchingKeys

TESTS = Path(__file__).resolve().parents[1]
# 5 rows of 2 processes: parts of 3 and 2
QUERIES = ["find sum and mean", "sort the tree", "spline of an edge", "filter the column", "a vector"]
DOCUMENTS = ["mean sum", "tree sort of the data", "edge spline of the data", "column filter", "vector of the data"]
NEGATIVES = ["mean array of the data", "tree of the data", "edge of a graph", "row filter of the data", "mean sum"]
VARIANTS: dict[str, dict[str, Any]] = {
    "mnrl": {},
    "symmetric": {"symmetric": True},
    "cached": {"loss": "cached_mnrl", "mini_batch_size": 2},
    "gist": {"loss": "gist"},
    "gist in parts": {"loss": "gist", "mini_batch_size": 2},
    "triplet": {"loss": "triplet"},
    "contrastive": {"loss": "contrastive"},
    "matryoshka": {"matryoshka_dims": [8]},
    "cached matryoshka": {"loss": "cached_mnrl", "mini_batch_size": 2, "matryoshka_dims": [8]},
    "distilled": {"distill_weight": 1.0, "distill_batch_size": 5},
}
# 72 and 18 rows in batches of 9: 5 and 4 rows for each process; nothing is drawn but what the seed decides
TOGETHER: dict[str, Any] = {
    "epochs": 1, "batch_size": 9, "dropout": 0.0, "general_share": 0.2, "distill_weight": 1.0, "distill_batch_size": 5,
    "n_evaluations": 2, "learning_rate": "auto",
}  # fmt: skip
RATES = (5e-4, 1e-3, 2e-3, 4e-3)  # that suit a random encoder
WITH_DROPOUT = {"epochs": 1, "lora_rank": 2, "learning_rate": 2e-2}
# 9 steps in each epoch, a checkpoint at every fourth
TWO_EPOCHS = {"epochs": 2, "n_evaluations": 4, "patience": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path, warm_stages: Path) -> Path:
    """A task, trained on by two processes that torchrun started once, by a stage's own command; all three are forks."""
    folder = tmp_path_factory.mktemp("processes")
    task(folder, tiny_encoder)
    shutil.copytree(folder / "dev_split", folder / "splits" / "train")
    (folder / "job.json").write_text(
        json.dumps(
            {
                "trainings": {"two": TOGETHER, "dropout": WITH_DROPOUT, "again": WITH_DROPOUT, "whole": TWO_EPOCHS},
                "stopped": {"steps": 14, "changes": TWO_EPOCHS},
                "rates": RATES,
                "columns": [QUERIES, DOCUMENTS, NEGATIVES],
                "variants": VARIANTS,
            }
        )
    )
    YAML().dump({"machine": MACHINE, "work": {"processes": 2}}, folder / "params.yaml")
    environment = os.environ | {"PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent / 'src'}", "PYTHONHASHSEED": "0"}
    environment |= workers(warm_stages.parent)
    command = [warm_stages, "-m", "shared_stage", "--folder", str(folder), "--job", "job.json", "--out", "losses"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", VARIANTS)
def test_each_loss_and_gradient_is_that_of_one_process(folder: Path, name: str) -> None:
    """For every kind of loss, with parts of unequal size."""
    value, gradient = torch.load(folder / "losses")[name]
    columns = [QUERIES, DOCUMENTS, NEGATIVES]
    alone, gradient_alone = losses_of(folder / "base", columns, {name: VARIANTS[name]})[name]
    assert value == pytest.approx(alone, abs=1e-5)
    assert torch.allclose(gradient, gradient_alone, atol=1e-5)


def test_two_processes_train_as_one_does(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rate of three, batches, losses, dev scores and receipt; weights differ by rounding alone."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(rates, "RATES", RATES)
    _, receipt = trained(folder, inputs_of(folder), params(**TOGETHER), "one")
    assert receipt["kept_dev_ndcg@10"] > receipt["start_dev_ndcg@10"]
    assert json.loads((folder / "two.json").read_text()) == pytest.approx(receipt, abs=1e-3)
    one, two = (pl.read_csv(folder / f"{name}-rates.csv") for name in ("one", "two"))
    assert len(one) == 6 and two.drop("dev_ndcg@10").equals(one.drop("dev_ndcg@10"))
    assert two["dev_ndcg@10"].to_list() == pytest.approx(one["dev_ndcg@10"].to_list(), abs=1e-3)
    one, two = (pl.read_csv(folder / f"{name}.csv") for name in ("one", "two"))
    assert one["step"].equals(two["step"])
    for column in ("loss", "dev_ndcg@10"):
        assert two[column].to_list() == pytest.approx(one[column].to_list(), abs=1e-3)


def test_two_processes_repeat_themselves_to_the_byte(folder: Path) -> None:
    """Dropout and adapters included; nothing is left in scratch."""
    assert sha256(folder / "dropout") == sha256(folder / "again")
    assert (folder / "dropout.csv").read_text() == (folder / "again.csv").read_text()
    assert not list((folder / "scratch" / "train").iterdir())


def test_two_processes_stopped_in_epoch_two_resume_to_the_same_bytes(folder: Path) -> None:
    """From the checkpoint of step 12, with the second epoch's batches and not the first's."""
    assert json.loads((folder / "stopped_at.json").read_text()) == [14, 14]
    assert sha256(folder / "resumed") == sha256(folder / "whole")
    assert (folder / "resumed.csv").read_text() == (folder / "whole.csv").read_text()


def test_embeddings_of_two_processes_are_those_of_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the byte, corpus and queries; nothing is left in scratch."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(shards, "SIZE", 16)
    call(embed, embed_params(1), None, **embed_arguments(folder, "embedded_by_one"))
    assert sha256(folder / "embedded_by_one") == sha256(folder / "embedded_by_two")
    assert {path.name for path in (folder / "embedded_by_two").iterdir()} == {"corpus.npy", "train.npy"}
    assert not list((folder / "scratch" / "embed").iterdir())


@given(st.lists(st.integers(), max_size=50), st.integers(1, 9))
def test_parts_are_consecutive_and_of_nearly_the_same_size(rows: list[int], n: int) -> None:
    """Together they are the rows in their order; no part is longer than another by more than one."""
    parts = processes.parts(rows, n)
    assert [row for part in parts for row in part] == rows
    assert len(parts) == n and max(map(len, parts)) - min(map(len, parts)) <= 1


def test_the_parts_of_a_step_are_the_batch_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """In both epochs; a batch too small to share is one line."""
    keys = BatchingKeys.independent(range(23))
    settings = {"keys": keys, "batch_size": 7, "drop_last": False, "seed": 3}
    whole = EpochCallback().build_sampler(range(23), **settings)
    monkeypatch.setattr(processes, "world_size", lambda: 3)
    shared = EpochCallback().build_sampler(range(23), **settings)
    assert len(shared) == 3 * len(whole)
    for epoch in (0, 1):
        whole.set_epoch(epoch)
        shared.sampler.set_epoch(epoch)
        parts = list(shared)
        assert [[*one, *two, *three] for one, two, three in zip(*[iter(parts)] * 3, strict=True)] == list(whole)
    monkeypatch.setattr(processes, "world_size", lambda: 8)
    with pytest.raises(BadInput, match="got 8, but a batch has 7 rows"):
        list(shared)


def test_a_process_alone_has_rank_0_and_imports_no_torch() -> None:
    """World size 1, its part is everything, a decision is its own, and nothing waits."""
    program = """
import sys
from attune.encoding import processes
assert (processes.rank(), processes.world_size(), processes.is_rank_0()) == (0, 1, True)
assert list(processes.own_part([1, 2])) == [1, 2] and processes.broadcast(lambda: 3) == 3
assert processes.same_on_all_ranks("run") == "run"
processes.barrier()
assert "torch" not in sys.modules
"""
    environment = os.environ | {"PYTHONPATH": str(TESTS.parent / "src")}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


def test_processes_with_different_runs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line names this process, and says what all hosts must share."""
    monkeypatch.setattr(processes, "broadcast", lambda _: "the run of rank 0")
    with pytest.raises(BadInput, match="process 1 has other data, code, libraries or hardware than process 1; give"):
        processes.same_on_all_ranks("another run")
