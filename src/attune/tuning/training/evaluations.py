"""Evaluations during training: each checkpoint on dev at every share of its weights between base and checkpoint.

An evaluation leaves a folder in the run's scratch folder, with the checkpoint's difference to the base and the scores
by query. A killed run repeats at most the evaluation that it was killed in.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import SentenceEvaluator
from transformers import TrainerCallback, TrainerControl, TrainerState

from attune.encoding import processes
from attune.tuning.curve import DEV_MEASURE, Evaluation
from attune.tuning.dev import RetrievalScorer
from attune.tuning.estimates import gain
from attune.tuning.interpolation import Interpolation, Weights, difference

FOLDER = "evaluations"  # in a run's scratch folder; in it a folder per step
CHANGE, SCORES = "difference.safetensors", "scores.json"
BELOW_BASE = "eval_dev_is_below_base"  # the trainer's name of 1 where a checkpoint is below the base at every share


@dataclass(frozen=True)
class DevScoring:
    """Scoring of checkpoints on dev: encoders, queries and shares.

    Attributes:
        interpolation: of the base, on whose line to a checkpoint the candidates lie.
        scorer: of dev.
        shares: of a checkpoint's weights that are scored, ascending.
    """

    interpolation: Interpolation
    scorer: RetrievalScorer
    shares: Sequence[float]


class ShareEvaluator(SentenceEvaluator, TrainerCallback):
    """Evaluator of a training run, and the callback that tells it the step.

    Args:
        dev: how checkpoints are scored; the base itself is scored at step 0.
        weights: returns the weights of the encoder in training, under the names of the base's.
        scratch: folder of the run.
        keeps_change: whether a checkpoint's difference to the base is kept.
    """

    def __init__(
        self,
        dev: DevScoring,
        weights: Callable[[SentenceTransformer], Weights],
        scratch: Path,
        keeps_change: bool = True,
    ) -> None:
        super().__init__()
        self.keeps_change = keeps_change
        self.dev = dev
        self.weights = weights
        self.folder = scratch / FOLDER
        self.step = 0

    def on_train_begin(self, _args: object, state: TrainerState, _control: object, **_: object) -> None:
        """Notes the step that the run starts or resumes from."""
        self.step = state.global_step

    def on_step_end(self, _args: object, state: TrainerState, _control: object, **_: object) -> None:
        """Notes the step."""
        self.step = state.global_step

    def __call__(self, model: SentenceTransformer, *_: object, **__: object) -> dict[str, float]:
        """Scores the checkpoint at every share, and writes the evaluation's folder.

        Returns:
            The best mean over the shares, and 1 or 0: whether it is below the base by more than a standard error.
        """
        change = difference(self.dev.interpolation.base, self.weights(model))
        shares = [share for share in (0.0, *self.dev.shares) if share or self.step == 0]
        is_finite = all(bool(value.isfinite().all()) for value in change.values())
        if not is_finite:
            values = [[0.0] * len(self.dev.scorer.clusters)] * len(shares)
        elif not change:  # the encoder is the base still
            shares = shares if self.step else [0.0]
            values = [self.dev.scorer(self.dev.interpolation.at({}, 0.0)).tolist()] * len(shares)
        else:
            values = [self.dev.scorer(self.dev.interpolation.at(change, share)).tolist() for share in shares]
        evaluation = Evaluation(self.step, shares, values, is_finite)
        if processes.is_rank_0():
            self._write(evaluation, change)
        best = max(values, key=sum)
        names = (DEV_MEASURE.removeprefix("eval_"), BELOW_BASE.removeprefix("eval_"))
        return dict(zip(names, (max(evaluation.means.values()), float(self._is_below_base(best))), strict=True))

    def _is_below_base(self, scores: Sequence[float]) -> bool:
        """Tells whether scores by query are below the base's by more than a standard error; no where it has none."""
        file = self.folder / "0" / SCORES
        if not file.is_file():
            return False
        base = Evaluation(**json.loads(file.read_text())).values[0]
        change = gain(np.array(scores), np.array(base), self.dev.scorer.clusters)
        return change.value < -change.error

    def _write(self, evaluation: Evaluation, change: Weights) -> None:
        """Writes the folder under another name, and renames it when it is complete."""
        writing = self.folder / "partial"
        shutil.rmtree(writing, ignore_errors=True)
        writing.mkdir(parents=True)
        if self.keeps_change:
            save_file({name: value.contiguous() for name, value in change.items()}, writing / CHANGE)
        (writing / SCORES).write_text(json.dumps(asdict(evaluation)))
        target = self.folder / str(self.step)
        shutil.rmtree(target, ignore_errors=True)  # of a run that was killed before its checkpoint was complete
        writing.replace(target)


class StopCallback(TrainerCallback):
    """Ends a run that no longer gets better on dev; keeps no state but the trainer's log, so that a run can resume.

    Args:
        patience: evaluations without a better score until the run ends.
        needs_gain: whether a run ends, too, whose first evaluation is below the base at every share.
    """

    def __init__(self, patience: int, needs_gain: bool) -> None:
        self.patience = patience
        self.needs_gain = needs_gain

    def on_evaluate(self, _args: object, state: TrainerState, control: TrainerControl, **_: object) -> TrainerControl:
        """Decides after each evaluation."""
        log = [entry for entry in state.log_history if DEV_MEASURE in entry]
        scores = [entry[DEV_MEASURE] for entry in log]
        is_over = len(scores) - 1 - scores.index(max(scores)) >= self.patience
        if is_over or (self.needs_gain and begins_below_base(state.log_history)):
            control.should_training_stop = True
        return control


def begins_below_base(log: Sequence[Mapping[str, float]]) -> bool:
    """Tells from a trainer's log whether the first evaluation after the start was the last, and below the base."""
    below = [entry[BELOW_BASE] for entry in log if BELOW_BASE in entry]
    return len(below) == 2 and below[1] > 0


def read_evaluations(scratch: Path) -> list[Evaluation]:
    """Reads the evaluations of a run, by step."""
    files = (scratch / FOLDER).glob(f"*/{SCORES}")
    found = [Evaluation(**json.loads(file.read_text())) for file in files if file.parent.name.isdecimal()]
    return sorted(found, key=lambda one: one.step)


def change_at(scratch: Path, step: int) -> Path:
    """Returns the path of a checkpoint's difference to the base."""
    return scratch / FOLDER / str(step) / CHANGE


def remove_changes(scratch: Path) -> None:
    """Removes the differences of a run that no one will ship; a run that is read again needs its scores only."""
    for file in (scratch / FOLDER).glob(f"*/{CHANGE}"):
        file.unlink()
