"""Worker of bench/parts/large_encoder.py: trains an encoder with LoRA, pausing after each step, then encodes documents.

Arguments: FOLDER TEXTS BATCH_SIZE N_STEPS THREADS. The training is `fit` of stage train with the parameters of
params.yaml but for LoRA, a loss in parts and fewer rows and steps; its dev is a few documents, so that an evaluation
needs the memory that it needs in stage train, but no minutes.
"""

import json
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
import transformers.trainer
from datasets import Dataset

from attune.encoding.encoders import TorchEncoder, load_torch
from attune.stage import load_params
from attune.tuning.dev import RetrievalScorer, RetrievalTask
from attune.tuning.general_text import read_general_text
from attune.tuning.interpolation import Interpolation
from attune.tuning.training.conflicts import BatchingKeys
from attune.tuning.training.evaluations import DevScoring
from attune.tuning.training.fit import Schedule, TrainingData, fit
from attune.tuning.training.recipe import TrainParams
from bench.parts.train_worker import ROOT, Turns
from bench.workers import Line

RANK = 16
RATE = 5e-4
N_DEV, N_GENERAL = 16, 16  # documents of dev; pairs of general text, of which the teacher makes embeddings first
SHARES = (0.5, 1.0)
BATCH_TOKENS = 4096


def params_of(folder: Path, batch_size: int) -> TrainParams:
    """Returns the parameters of stage train with LoRA, a batch in parts, and as few general texts as rows."""
    params = load_params(TrainParams, "train", ROOT / "params.yaml")
    n_general = max(1, params.distill_batch_size * batch_size // params.batch_size)
    changes = {"epochs": 1, "lora_rank": RANK, "loss": "cached_mnrl", "mini_batch_size": batch_size}
    changes |= {"batch_size": batch_size, "distill_batch_size": n_general, "max_steps": 0}
    params = params.model_copy(update=changes)
    return params.runs(folder)[params.seed]


def train(folder: Path, columns: dict[str, list[str]], params: TrainParams, n_steps: int, scratch: Path) -> None:
    """Trains as stage train does, with one evaluation before the first step and one after the last."""
    documents = {f"d{row}": text for row, text in enumerate(columns["positive"][:N_DEV])}
    task = RetrievalTask({"q": columns["query"][0]}, documents, {"q": {"d0": 1}})
    dev = DevScoring(Interpolation(folder), RetrievalScorer(task, params.precision), SHARES)
    general = read_general_text(ROOT / params.general).train[:N_GENERAL]
    keys = BatchingKeys.independent([len(text) for text in columns["positive"]])
    data = TrainingData(Dataset.from_dict(columns), keys, general)
    schedule = Schedule(RATE, epochs=1, n_steps=n_steps, n_evaluations=1)
    fit(load_torch(folder), partial(load_torch, folder), data, dev, params, schedule, scratch)


def main() -> None:
    """Trains, then encodes documents for each request until the client closes the pipe."""
    folder, texts, batch_size, n_steps, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    line = Line()
    Turns.turn, Turns.line = 1, line
    transformers.trainer.DEFAULT_CALLBACKS.append(Turns)
    columns = json.loads(Path(texts).read_text(encoding="utf-8"))
    params = params_of(Path(folder), int(batch_size))
    with tempfile.TemporaryDirectory() as scratch:
        train(Path(folder), columns, params, int(n_steps), Path(scratch))
    line.tell(0.0)
    encoder = TorchEncoder(load_torch(Path(folder)), params.precision, BATCH_TOKENS)
    while (request := line.wait()) is not None:
        start = time.perf_counter()
        encoder.encode_document([*columns["positive"], *columns["negative_1"]][: request["n"]])
        line.tell(time.perf_counter() - start)


if __name__ == "__main__":
    main()
