"""Evaluations during training: every share is scored, each evaluation leaves a folder, and dev ends a run."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import TrainerControl

from attune.encoding.encoders import load_torch
from attune.runtime.arrays import Float64
from attune.tuning.curve import DEV_MEASURE, Evaluation
from attune.tuning.interpolation import Interpolation, read_change
from attune.tuning.training.evaluations import (
    BELOW_BASE,
    DevScoring,
    ShareEvaluator,
    StopCallback,
    begins_below_base,
    change_at,
    read_evaluations,
    remove_changes,
)

NAME = "0.model.embeddings.LayerNorm.bias"  # starts at 0


def weight(model: SentenceTransformer) -> float:
    return float(model.state_dict()[NAME][0])


class Scorer:
    """Scores an encoder by one of its weights, best at .5; a second query, of a cluster of its own, is always 1."""

    clusters = np.array([0, 1])

    def __call__(self, model: SentenceTransformer) -> Float64:
        return np.array([1 - abs(weight(model) - 0.5), 1.0])


class OneWeight:
    """Scores both queries by the same weight, minus `spread` for the second one."""

    clusters = np.array([0, 1])

    def __init__(self, spread: float) -> None:
        self.spread = spread

    def __call__(self, model: SentenceTransformer) -> Float64:
        return 0.5 - weight(model) * np.array([1.0, 1.0 - self.spread])


def evaluator(base: Path, scratch: Path, scorer: Any = None, keeps_change: bool = True) -> ShareEvaluator:
    dev = DevScoring(Interpolation(base), scorer or Scorer(), [0.5, 1.0])
    return ShareEvaluator(dev, SentenceTransformer.state_dict, scratch, keeps_change)


def at_step(own: ShareEvaluator, step: int, model: SentenceTransformer) -> dict[str, float]:
    own.on_step_end(None, SimpleNamespace(global_step=step), None)
    return own(model)


def moved(base: Path, value: float) -> SentenceTransformer:
    """Returns an encoder that differs from the base in one weight."""
    model = load_torch(base)
    with torch.no_grad():
        model.get_parameter(NAME)[0] = value
    return model


def test_an_evaluation_scores_every_share_and_leaves_a_folder(tiny_encoder: Path, tmp_path: Path) -> None:
    """At step 0 the base alone, later each share between base and checkpoint; the best mean goes to the trainer."""
    own = evaluator(tiny_encoder, tmp_path)
    assert own(load_torch(tiny_encoder)) == {"dev_ndcg@10": 0.75, "dev_is_below_base": 0}
    model = moved(tiny_encoder, 1.0)
    assert at_step(own, 12, model) == {"dev_ndcg@10": 1.0, "dev_is_below_base": 0}
    assert weight(model) == 1.0  # the encoder in training keeps its weights
    assert read_evaluations(tmp_path) == [
        Evaluation(0, [0.0], [[0.5, 1.0]]),
        Evaluation(12, [0.5, 1.0], [[1.0, 1.0], [0.5, 1.0]]),
    ]
    assert read_change(change_at(tmp_path, 0)) == {}
    assert list(read_change(change_at(tmp_path, 12))) == [NAME]


def test_a_start_that_is_not_the_base_is_scored_beside_it(tiny_encoder: Path, tmp_path: Path) -> None:
    """A later round: base first, then the start at each share."""
    evaluator(tiny_encoder, tmp_path)(moved(tiny_encoder, 0.5))
    (own,) = read_evaluations(tmp_path)
    assert (own.step, own.shares) == (0, [0.0, 0.5, 1.0])
    assert own.means == {0.0: 0.75, 0.5: 0.875, 1.0: 1.0}


def test_an_encoder_that_is_the_base_still_scores_as_it_does(tiny_encoder: Path, tmp_path: Path) -> None:
    """After step 0 at every share; base itself is listed at step 0 alone."""
    own = evaluator(tiny_encoder, tmp_path)
    for step in (0, 12):
        assert at_step(own, step, load_torch(tiny_encoder)) == {"dev_ndcg@10": 0.75, "dev_is_below_base": 0}
    assert read_evaluations(tmp_path) == [
        Evaluation(0, [0.0], [[0.5, 1.0]]),
        Evaluation(12, [0.5, 1.0], [[0.5, 1.0], [0.5, 1.0]]),
    ]
    assert read_change(change_at(tmp_path, 12)) == {}


def test_a_diverged_run_scores_0_and_is_not_finite(tiny_encoder: Path, tmp_path: Path) -> None:
    """NaN weights are no error: a probe at too high a rate loses, and a run starts again at a lower one."""
    own = evaluator(tiny_encoder, tmp_path)
    own(load_torch(tiny_encoder))
    scores = at_step(own, 4, moved(tiny_encoder, float("nan")))
    assert scores == {"dev_ndcg@10": 0.0, "dev_is_below_base": 1}
    assert read_evaluations(tmp_path)[-1] == Evaluation(4, [0.5, 1.0], [[0.0, 0.0]] * 2, is_finite=False)


@pytest.mark.parametrize(
    ("moved_by", "spread", "expected"),
    [
        (0.1, 0.0, 1),  # lower by the same on both queries, at every share
        (-0.1, 0.0, 0),
        (0.1, 0.9, 1),  # at share .5 lower by .05 and .005: mean .0275, error .0225
        (0.1, 1.0, 0),  # lower by .05 and 0: mean .025, error .025
        (0.1, 1.5, 0),
    ],
)
def test_a_checkpoint_is_below_base_by_more_than_an_error(
    tiny_encoder: Path, tmp_path: Path, moved_by: float, spread: float, expected: int
) -> None:
    """By its best share; two queries of two clusters, by hand."""
    own = evaluator(tiny_encoder, tmp_path, OneWeight(spread))
    own(load_torch(tiny_encoder))
    assert at_step(own, 4, moved(tiny_encoder, moved_by))["dev_is_below_base"] == expected


def test_a_later_round_is_measured_against_the_base(tiny_encoder: Path, tmp_path: Path) -> None:
    """Not against its start: a run that loses half of what its start gained goes on."""
    own = evaluator(tiny_encoder, tmp_path, OneWeight(0.0))
    own(moved(tiny_encoder, -0.2))
    assert at_step(own, 4, moved(tiny_encoder, -0.1))["dev_is_below_base"] == 0
    assert at_step(own, 8, moved(tiny_encoder, 0.1))["dev_is_below_base"] == 1


def test_one_cluster_tells_nothing_about_the_base(tiny_encoder: Path, tmp_path: Path) -> None:
    """However much is lost, there is no standard error."""
    scorer = OneWeight(0.0)
    scorer.clusters = np.array([3, 3])
    own = evaluator(tiny_encoder, tmp_path, scorer)
    own(load_torch(tiny_encoder))
    assert at_step(own, 4, moved(tiny_encoder, 0.5))["dev_is_below_base"] == 0


def test_a_probe_keeps_its_scores_alone(tiny_encoder: Path, tmp_path: Path) -> None:
    """No difference is written; those of a run that was given up are removed, and its scores are read still."""
    at_step(evaluator(tiny_encoder, tmp_path / "probe", keeps_change=False), 8, moved(tiny_encoder, 0.2))
    own = evaluator(tiny_encoder, tmp_path / "run")
    for step in (4, 8):
        at_step(own, step, moved(tiny_encoder, 0.2))
    remove_changes(tmp_path / "run")
    remove_changes(tmp_path / "run")  # a stage that was killed after it does so again
    for name, steps in (("probe", [8]), ("run", [4, 8])):
        assert [one.step for one in read_evaluations(tmp_path / name)] == steps
        assert not list((tmp_path / name).rglob("*.safetensors"))


def test_a_killed_evaluation_leaves_nothing_that_is_read(tiny_encoder: Path, tmp_path: Path) -> None:
    """A folder that was not complete is overwritten, one of the same step replaced; steps are in order of number."""
    own = evaluator(tiny_encoder, tmp_path)
    (own.folder / "partial").mkdir(parents=True)
    (own.folder / "partial" / "scores.json").write_text("{half")
    assert read_evaluations(tmp_path) == []
    for step, value in ((9, 0.1), (12, 0.2), (9, 0.3)):
        own.on_train_begin(None, SimpleNamespace(global_step=step), None)
        own(moved(tiny_encoder, value))
    assert [one.step for one in read_evaluations(tmp_path)] == [9, 12]
    assert read_evaluations(tmp_path)[0].values[1][0] == pytest.approx(0.8, abs=1e-3)
    assert {path.name for path in own.folder.iterdir()} == {"9", "12"}


@pytest.mark.parametrize(
    ("scores", "patience", "is_stopped"),
    [
        ([0.5], 1, False),
        ([0.5, 0.4], 2, False),
        ([0.5, 0.6, 0.4], 2, False),
        ([0.5, 0.6, 0.4, 0.5], 2, True),  # two evaluations without a better one
        ([0.5, 0.6, 0.6], 1, True),  # an equal one is not better
        ([0.5, 0.6, 0.55, 0.7], 2, False),
    ],
)
def test_a_run_ends_by_its_scores_on_dev(scores: Sequence[float], patience: int, is_stopped: bool) -> None:
    """Case by case, from the trainer's log alone, as a resumed run has it; entries without a score do not count."""
    log = log_of(scores, [0] * len(scores))
    assert [stops(log, patience, needs_gain) for needs_gain in (False, True)] == [is_stopped] * 2


@pytest.mark.parametrize(
    ("below", "expected"),
    [
        ([0], False),
        ([0, 1], True),
        ([0, 0], False),
        ([0, 0, 1], False),  # the first evaluation decides
        ([0, 1, 1], False),  # a run that did not stop then goes on
    ],
)
def test_a_run_that_begins_below_base_ends_if_it_may_start_again(below: list[int], expected: bool) -> None:
    """As the evaluations say, whatever the scores; a run with a given rate goes on."""
    log = log_of([0.5, 0.6, 0.7][: len(below)], below)
    assert begins_below_base(log) is stops(log, 9, True) is expected
    assert not stops(log, 9, False)


def log_of(scores: Sequence[float], below: Sequence[int]) -> list[dict[str, float]]:
    """Returns a trainer's log: an entry per evaluation between entries with a loss."""
    log: list[dict[str, float]] = [{"loss": 1.0}]
    for own, is_below in zip(scores, below, strict=True):
        log += [{DEV_MEASURE: own, BELOW_BASE: float(is_below)}, {"loss": 0.5}]
    return log


def stops(log: list[dict[str, float]], patience: int, needs_gain: bool) -> bool:
    state: Any = SimpleNamespace(log_history=log)
    control = StopCallback(patience, needs_gain).on_evaluate(None, state, TrainerControl())
    return bool(control.should_training_stop)
