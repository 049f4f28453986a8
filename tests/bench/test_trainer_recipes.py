"""Recipes of the sentence-transformers trainer: their score on dev, and early stopping that attune's settings leave."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import EarlyStoppingCallback

from attune.runtime.arrays import Float64
from attune.stage import load_params
from attune.tuning.curve import DEV_MEASURE
from attune.tuning.dev import RetrievalScorer, RetrievalTask
from attune.tuning.training.recipe import TrainParams
from bench.rivals import trainer_recipes
from bench.rivals.trainer_recipes import DevEvaluator, train_rival


def test_the_evaluator_of_a_trainer_gives_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of scores 1 and .5, under the name by which the trainer's log has it."""

    def scores(_: RetrievalScorer, model: str) -> Float64:
        assert model == "the encoder"
        return np.array([1.0, 0.5])

    monkeypatch.setattr(RetrievalScorer, "__call__", scores)
    model: Any = "the encoder"
    task = RetrievalTask({"q": "one"}, {"a": ""}, {"q": {"a": 1}})
    assert DevEvaluator(task, "fp32")(model, epoch=1.0) == {DEV_MEASURE.removeprefix("eval_"): 0.75}


class Recorder:
    """Stands for the trainer: keeps the arguments of the last run, and trains nothing."""

    given: dict[str, Any]

    def __init__(self, **given: object) -> None:
        type(self).given = given

    def remove_callback(self, _: object) -> None:
        """Removes nothing."""

    def train(self) -> None:
        """Trains nothing."""


@pytest.mark.parametrize(("n_evaluations", "patience"), [(1, 1), (60, 50)])
def test_evaluations_and_patience_are_the_rivals_own(
    n_evaluations: int, patience: int, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six on dev and a patience of three, with whatever settings attune trains."""
    monkeypatch.setattr(trainer_recipes, "SentenceTransformerTrainer", Recorder)
    changes = {"n_evaluations": n_evaluations, "patience": patience, "epochs": 12}
    params = load_params(TrainParams, "train", finished / "params.yaml").model_copy(update=changes)
    train_rival("in-batch", finished, params, 13, 1e-4, tmp_path)
    arguments = Recorder.given["args"]
    assert arguments.max_steps >= 12
    assert arguments.eval_steps == arguments.save_steps == arguments.max_steps // 6
    (stop,) = [one for one in Recorder.given["callbacks"] if isinstance(one, EarlyStoppingCallback)]
    assert stop.early_stopping_patience == 3
