"""Trains with one system in its own process: train_worker.py SYSTEM FOLDER PAIRS BATCH_SIZE TURN THREADS.

A training run pauses after every TURN steps until the next request, so that systems alternate within one run. Seconds
include everything between two steps: sampling, tokenising, the optimiser.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers.trainer
from datasets import Dataset
from transformers import TrainerCallback

from bench.workers import Line

ROOT = Path(__file__).resolve().parents[2]
RATE = 5e-5  # time does not depend on it
Texts = dict[str, list[str]]  # columns query and positive


class Turns(TrainerCallback):  # type: ignore[misc]  # the library has no types
    """Waits for a request before the first step and after every `turn` steps."""

    turn: int = 0  # class attributes, because the trainers construct the callback
    line: Line | None = None

    def __init__(self) -> None:
        self.n_steps, self.start = 0, 0.0

    def on_step_begin(self, *_: object, **__: object) -> None:
        """Waits for the first request before the first step."""
        if not self.n_steps:
            self._wait(0.0)

    def on_step_end(self, *_: object, **__: object) -> None:
        """Counts steps, and waits after the last one of a turn."""
        self.n_steps += 1
        if self.n_steps % self.turn == 0:
            self._wait(time.perf_counter() - self.start)

    def _wait(self, seconds: float) -> None:
        assert self.line is not None
        self.line.tell(seconds)
        if self.line.wait() is None:
            raise SystemExit(0)  # the client has closed the pipe
        self.start = time.perf_counter()


def plain(folder: Path, texts: Texts, batch_size: int, scratch: str, bf16: bool, like_ours: bool = False) -> None:
    """Trains with sentence-transformers' trainer: in-batch negatives, batches in random order without duplicates.

    `like_ours` sets two of attune's choices by hand: no dropout, and attention without torch's fused kernel.
    """
    from sentence_transformers import (  # noqa: PLC0415
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.base.sampler import BatchSamplers  # noqa: PLC0415
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss  # noqa: PLC0415

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    if like_ours:
        model.transformers_model.set_attn_implementation("eager")
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    arguments = SentenceTransformerTrainingArguments(
        output_dir=scratch,
        num_train_epochs=1,
        per_device_train_batch_size=batch_size,
        warmup_steps=0.1,
        bf16=bf16,
        use_cpu=True,
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    loss = MultipleNegativesRankingLoss(model)
    SentenceTransformerTrainer(model=model, args=arguments, train_dataset=Dataset.from_dict(texts), loss=loss).train()


def attune(folder: Path, texts: Texts, batch_size: int, scratch: str, whole_recipe: bool) -> None:
    """Trains with the functions of stage train, restricted to features of the plain recipe unless `whole_recipe`."""
    from attune.encoding import encoders  # noqa: PLC0415
    from attune.stage import load_params  # noqa: PLC0415
    from attune.tuning.dev import RetrievalScorer, RetrievalTask  # noqa: PLC0415
    from attune.tuning.general_text import read_general_text  # noqa: PLC0415
    from attune.tuning.interpolation import Interpolation  # noqa: PLC0415
    from attune.tuning.training.conflicts import BatchingKeys  # noqa: PLC0415
    from attune.tuning.training.evaluations import DevScoring  # noqa: PLC0415
    from attune.tuning.training.fit import Schedule, TrainingData, fit  # noqa: PLC0415
    from attune.tuning.training.recipe import TrainParams  # noqa: PLC0415

    params = load_params(TrainParams, "train", ROOT / "params.yaml")
    changes: dict[str, Any] = {
        "epochs": 1,
        "batch_size": batch_size,
        "n_evaluations": 1,
        "general_share": 0.0,
        "max_steps": 0,
    }
    if not whole_recipe:
        changes |= {"loss": "mnrl", "mini_batch_size": 0, "distill_weight": 0.0, "matryoshka_dims": [], "lora_rank": 0}
    params = params.model_copy(update=changes).runs(folder)[params.seed]
    # a dev set of one query, scored once before the first step
    task = RetrievalTask({"q": texts["query"][0]}, {"d": texts["positive"][0]}, {"q": {"d": 1}})
    dev = DevScoring(Interpolation(folder), RetrievalScorer(task, params.precision), [1.0])
    keys = BatchingKeys.independent([len(text) for text in texts["positive"]])
    general = read_general_text(ROOT / params.general).train if params.needs_general_text else []
    load_base = partial(encoders.load_torch, folder) if params.needs_base else None
    data = TrainingData(Dataset.from_dict(texts), keys, general)
    schedule = Schedule(RATE, epochs=1, n_steps=keys.n_batches(batch_size), n_evaluations=1)
    fit(encoders.load_torch(folder), load_base, data, dev, params, schedule, Path(scratch))


COMPETITORS: dict[str, Callable[[Path, Texts, int, str], None]] = {
    "plain trainer": partial(plain, bf16=False),
    "plain trainer, bf16": partial(plain, bf16=True),
    "plain trainer, bf16, dropout 0, eager": partial(plain, bf16=True, like_ours=True),
    "attune: bf16, dropout 0, no padding": partial(attune, whole_recipe=False),
    "attune, its whole recipe": partial(attune, whole_recipe=True),
}


def main() -> None:
    """Trains, pausing after every turn, until the client closes the pipe."""
    name, folder, file, batch_size, turn, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    Turns.turn, Turns.line = int(turn), Line()
    # every trainer constructed from here on has the callback, attune's included
    transformers.trainer.DEFAULT_CALLBACKS.append(Turns)
    texts = json.loads(Path(file).read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as scratch:
        COMPETITORS[name](Path(folder), texts, int(batch_size), scratch)
    raise SystemExit("training ended before the client closed the pipe; pass more pairs")


if __name__ == "__main__":
    main()
