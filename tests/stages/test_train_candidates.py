"""Stage train: what it leaves for merge to choose from, the learning rate that it finds, and runs that start again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from training import params, sha256, task, trained

from attune.encoding.encoders import load_torch
from attune.plots import RATES
from attune.stages.train import SeedResult, write_encoder
from attune.tables import CORPUS, DEV_SCORES, full_texts, read
from attune.tuning.candidates import CANDIDATES
from attune.tuning.curve import Evaluation, TrainingResult
from attune.tuning.dev import RetrievalScorer, read_dev
from attune.tuning.interpolation import Interpolation, difference, read_change
from attune.tuning.training import checkpoints, evaluations, fit, rates
from attune.tuning.training.conflicts import BatchingKeys
from attune.tuning.training.fit import TrainingData
from attune.tuning.training.runs import SeedRuns


@pytest.fixture
def inputs(tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    monkeypatch.chdir(tmp_path)
    return task(tmp_path, tiny_encoder)


def means(folder: Path) -> dict[tuple[int, float], float]:
    """Returns the mean score on dev by step and share."""
    scores = read(folder / "scores.parquet", DEV_SCORES)
    table = scores.group_by("step", "share").agg(pl.col("ndcg@10").mean())
    return {(step, share): mean for step, share, mean in table.iter_rows()}


def test_every_evaluation_leaves_a_candidate_at_each_share(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """Base at step 0, four checkpoints at shares .5 and 1, each with all 24 dev queries once and its difference."""
    _, receipt = trained(tmp_path, inputs, params(n_evaluations=4), "out")
    folder = tmp_path / "out" / CANDIDATES / "5"
    steps = [7, 14, 21, 27]
    assert {path.name for path in folder.iterdir()} == {f"{n}.safetensors" for n in [0, *steps]} | {"scores.parquet"}
    scores = read(folder / "scores.parquet", DEV_SCORES)
    places = [(0, 0.0), *((step, share) for step in steps for share in (0.5, 1.0))]
    assert scores.group_by("step", "share", maintain_order=True).len().rows() == [(*place, 24) for place in places]
    dev_ids = pl.read_parquet(inputs["dev_split"] / "queries.parquet")["query_id"].to_list()
    assert all(own["query_id"].to_list() == dev_ids for own in scores.partition_by("step", "share"))
    points = pl.read_csv(tmp_path / "out.csv").drop_nulls("dev_ndcg@10")
    own = means(folder)
    assert points["dev_ndcg@10"].to_list() == pytest.approx([own[0, 0.0], *(own[n, 1.0] for n in steps)], abs=1e-6)
    kept = own[receipt["kept_step"], receipt["kept_share"]]
    assert receipt["kept_dev_ndcg@10"] == pytest.approx(kept, abs=1e-6) == max(own.values())


def test_what_dev_scored_is_base_plus_share_of_the_difference(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """Scored again from the files, as merge does, every candidate gives the same numbers; the best one is saved."""
    _, receipt = trained(tmp_path, inputs, params(n_evaluations=2), "out")
    folder = tmp_path / "out" / CANDIDATES / "5"
    corpus = read(inputs["prepared"] / "corpus.parquet", CORPUS)
    texts = dict(zip(corpus["document_id"], full_texts(corpus), strict=True))
    dev = read_dev(inputs["dev_split"], texts, inputs["train"] / "documents.parquet", 0)
    scorer, between = RetrievalScorer(dev, "fp32"), Interpolation(inputs["base"])
    scores = read(folder / "scores.parquet", DEV_SCORES)
    for (step, share), own in scores.group_by("step", "share"):
        again = scorer(between.at(read_change(folder / f"{step}.safetensors"), float(share)))
        np.testing.assert_array_equal(again, own["ndcg@10"].to_numpy())
    best = read_change(folder / f"{receipt['kept_step']}.safetensors")
    expected = between.at(best, receipt["kept_share"]).transformers_model.state_dict()
    saved = load_file(tmp_path / "out" / "5" / "model.safetensors")
    assert all(saved[name].equal(expected[name]) for name in saved)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_start_that_stays_best_is_saved_at_its_share(tmp_path: Path, inputs: dict[str, Path], share: float) -> None:
    """A later round that gains nothing: base's files, the start's, or the mean of both, as dev scored them."""
    trained(tmp_path, inputs, params(epochs=1, shares=[1.0]), "r1")
    base, start = inputs["base"], tmp_path / "r1" / "5"
    weights = [load_torch(folder).state_dict() for folder in (base, start)]
    place = evaluations.change_at(tmp_path / "run", 0)
    place.parent.mkdir(parents=True)
    save_file(difference(*weights), place)
    scores = {one: [0.9 if one == share else 0.5] for one in (0.0, 0.5, 1.0)}
    result = TrainingResult({}, [Evaluation(0, [*scores], [*scores.values()])], 0, 1e-4, 0)
    data = TrainingData(Dataset.from_dict({"query": [], "positive": []}), BatchingKeys.independent([]), [])
    write_encoder(start, base, tmp_path / "out", SeedResult(tmp_path / "run", result, 0, data))
    saved = load_torch(tmp_path / "out").state_dict()
    for name, value in saved.items():
        mean = torch.lerp(weights[0][name], weights[1][name], share) if value.is_floating_point() else weights[0][name]
        torch.testing.assert_close(value, mean, atol=1e-5, rtol=1e-3)
    if share in (0, 1):
        unchanged = (start if share else base) / "model.safetensors"
        assert (tmp_path / "out" / "model.safetensors").read_bytes() == unchanged.read_bytes()


def test_a_given_rate_is_the_one_that_trains(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """No probe is made and none is listed; a wrecking rate is not lowered."""
    _, receipt = trained(tmp_path, inputs, params(learning_rate=0.5, epochs=1, shares=[]), "out")
    assert (receipt["learning_rate"], receipt["n_restarts"], receipt["epochs"]) == (0.5, 0, 1)
    assert receipt["kept_step"] == 0
    assert (tmp_path / "out-rates.csv").read_text() == ",".join(RATES) + "\n"


def test_auto_tries_rates_and_trains_all_seeds_at_the_chosen_one(
    tmp_path: Path, inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three of four rates, the lowest of which is far too small; the second seed makes no probe."""
    monkeypatch.setattr(rates, "RATES", (1e-8, 1e-7, 1e-3, 2e-3))
    _, receipt = trained(tmp_path, inputs, params(seeds=[5, 6], epochs=1, learning_rate="auto"), "auto")
    assert receipt["seed_5.learning_rate"] == receipt["seed_6.learning_rate"] == receipt["learning_rate"]
    table = pl.read_csv(tmp_path / "auto-rates.csv")
    assert table.columns == list(RATES)
    assert table.select("learning_rate", "n_steps", "share").rows() == [
        (rate, 8, share) for rate in (1e-7, 1e-3, 2e-3) for share in (0.5, 1.0)
    ]
    chosen = table.filter("is_chosen")
    assert chosen["learning_rate"].to_list() == [receipt["learning_rate"]] * 2
    assert chosen["dev_ndcg@10"].max() > table["dev_ndcg@10"][0]
    fixed, _ = trained(
        tmp_path, inputs, params(seeds=[5, 6], epochs=1, learning_rate=receipt["learning_rate"]), "fixed"
    )
    assert sha256(tmp_path / "auto") == fixed
    assert not list((tmp_path / "scratch" / "train").iterdir())


@pytest.mark.parametrize("is_better_without", [True, False])
def test_all_seeds_train_on_the_rows_of_the_first(
    tmp_path: Path, inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, is_better_without: bool
) -> None:
    """Where the first seed is better without hard negatives, later ones have none; else all of them have some."""
    seen: list[str] = []

    def train(self: SeedRuns, rate: float) -> SeedResult:
        seen.append(self.data.hard_negatives)
        is_first = len(seen) == 1
        return (replace(self, data=self.data.without_negatives()) if is_first and is_better_without else self)._train(
            rate
        )

    monkeypatch.setattr(SeedRuns, "train", train)
    changes = {"seeds": [5, 6, 7], "epochs": 1, "hard_negatives": "rows"}
    _, receipt = trained(tmp_path, inputs, params(**changes), "out")
    later = "none" if is_better_without else "rows"
    assert seen == ["rows", later, later] and receipt["hard_negatives"] == later


def test_auto_without_epochs_tries_no_rate(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """The baseline run: the table of rates has a header alone, and base is the only candidate."""
    _, receipt = trained(tmp_path, inputs, params(learning_rate="auto", epochs=0), "out")
    assert receipt["n_steps"] == receipt["n_restarts"] == receipt["epochs"] == 0
    assert (tmp_path / "out-rates.csv").read_text() == ",".join(RATES) + "\n"
    assert list(means(tmp_path / "out" / CANDIDATES / "5")) == [(0, 0.0)]


def test_a_run_that_begins_below_base_starts_again_lower(
    tmp_path: Path, inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrecking rate ends at its first evaluation; at 1/250 of it the run is that of this rate, to the byte.

    Scratch has differences to the base of the run that counts alone, which are as large as the encoder.
    """
    monkeypatch.setattr(checkpoints, "remove_scratch", lambda _: None)
    monkeypatch.setattr(rates, "RATES", (0.5,) * 4)
    monkeypatch.setattr(rates, "RESTART_FACTOR", 0.004)
    auto, receipt = trained(tmp_path, inputs, params(learning_rate="auto", shares=[]), "auto")
    assert (receipt["n_restarts"], receipt["learning_rate"]) == (1, 0.002)
    assert receipt["kept_dev_ndcg@10"] > receipt["start_dev_ndcg@10"]
    (scratch,) = (tmp_path / "scratch" / "train").iterdir()
    for name, steps in (
        ("probe-0.5-rows", {"8"}),
        ("run-0.5-rows", {"0", "9"}),
        ("run-0.002-rows", {"0", "9", "18", "27"}),
    ):
        folder = scratch / name / evaluations.FOLDER
        assert {path.name for path in folder.iterdir()} == steps
        kept = {path.parent.name for path in folder.rglob("*.safetensors")}
        assert kept == (steps if name == "run-0.002-rows" else set())
    assert trained(tmp_path, inputs, params(learning_rate=0.002, shares=[]), "fixed")[0] == auto


def test_a_run_starts_again_at_most_twice(
    tmp_path: Path, inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three runs begin below base, each at a little lower a rate than the one before: the last one goes on."""
    monkeypatch.setattr(fit, "begins_below_base", lambda _: True)
    monkeypatch.setattr(rates, "RATES", (0.5,) * 4)
    monkeypatch.setattr(rates, "RESTART_FACTOR", 0.9)
    _, receipt = trained(tmp_path, inputs, params(learning_rate="auto", shares=[]), "out")
    assert (receipt["n_restarts"], receipt["n_steps"]) == (2, 27)
    assert receipt["learning_rate"] == pytest.approx(0.5 * 0.9**2)
