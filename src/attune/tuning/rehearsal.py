"""Rehearses the pipeline with an encoder on a handful of texts, before anything is trained.

The code is that of the stages: load, encode, train, resume from a checkpoint, merge, export, int8, runtime. All but
loading and encoding is done with the encoder's first layers, and its token vectors are not trained, so that it takes
seconds; what fails there is tried again with all layers, and only a failure there refuses the encoder.
"""

import gc
import hashlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer

from attune.encoding.encoders import best_precision, load_torch
from attune.encoding.first_layers import first_layers
from attune.encoding.fitness import OTHER, check_size, check_tokenizer, is_wrong_in_bf16
from attune.encoding.torch_threads import set_torch_threads
from attune.errors import BadInput, one_line
from attune.export.folder import FP16, FP32, INT8
from attune.export.modules import describe
from attune.export.parity import SENTENCES, by_batch_size, compare_fp16, int8_parity
from attune.export.shipped import ExportParams, require_fp16_parity, require_parity, write_folder
from attune.runtime import Embedder
from attune.runtime.arrays import Float32, Float64
from attune.tuning.dev import RetrievalScorer, RetrievalTask
from attune.tuning.general_text import Pair
from attune.tuning.interpolation import Interpolation, read_change
from attune.tuning.training.conflicts import BatchingKeys
from attune.tuning.training.evaluations import DevScoring, change_at
from attune.tuning.training.fit import Schedule, TrainingData, fit
from attune.tuning.training.recipe import TrainParams, check_combinations, check_dimensions

SCRATCH = Path("scratch")
N_STEPS = 2
LEARNING_RATE = 1e-4
MOST_WORDS = 8192  # of a text, where the encoder names no limit or a huge one
SHOWN = 300  # characters of a library's message
COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # of a terminal, in messages of torch.onnx
STEPS = ("encoding", "training", "resuming", "merging", "export", "int8", "runtime")


@dataclass(frozen=True)
class Rehearsal:
    """Result of a rehearsal in which nothing failed.

    Attributes:
        precision: of matrix products on this hardware: as machine.precision says, or what was right under auto.
        is_bf16_wrong: whether auto may not take bf16, by vectors on any hardware, by training where it has bf16.
        steps: what was done.
    """

    precision: str
    is_bf16_wrong: bool
    steps: tuple[str, ...]


class _Stopped(Exception):
    """Ends a run in the evaluation after its last step, as a kill would."""


class _Scorer(RetrievalScorer):
    """Scores the encoder as dev does after the last step, notes its weights, and ends the run there once."""

    def __init__(self, task: RetrievalTask, precision: str) -> None:
        super().__init__(task, precision)
        self.n_calls = 0
        self.seen: list[str] = []

    def __call__(self, model: SentenceTransformer, documents: Float32 | None = None) -> Float64:
        self.n_calls += 1  # the start of training, then a call per step, in which the last one is repeated
        if self.n_calls <= N_STEPS:
            return np.zeros(len(self.query_ids))  # which nothing depends on
        values = super().__call__(model, documents)
        self.seen.append(_digest(model))
        if len(self.seen) == 1:
            raise _Stopped
        return values


def rehearse(name: str, folder: Path, train: TrainParams, export: ExportParams) -> Rehearsal:
    """Does with an encoder what the pipeline will do, and finds the precision in which it is right.

    Args:
        name: of the encoder, for messages.
        folder: of the encoder, as stage base leaves it.
        train: kind of training (loss, LoRA, distillation); length and rate of a run do not matter.
        export: settings of the graphs.

    Raises:
        BadInput: a step fails; one line with encoder, step and remedy.
    """
    set_torch_threads(train.machine.threads)
    check_combinations(train, n_negatives=1)
    SCRATCH.mkdir(exist_ok=True)
    with settled_heap(), tempfile.TemporaryDirectory(prefix="rehearsal-", dir=SCRATCH) as scratch:
        with _step(name, "size"):
            check_size(name, folder)
        with _step(name, "loading"):
            model = load_torch(folder, remedy="save it again with sentence-transformers' save_pretrained")
        with _step(name, "export"):
            describe(model, Path(name))
        with _step(name, "tokenizer"):
            check_tokenizer(name, model)
            texts = sample_texts(model)
        with _step(name, "encoding"):
            is_bf16_wrong = is_wrong_in_bf16(name, model, texts, train.machine.precision)
        wanted = "fp32" if is_bf16_wrong else train.machine.precision
        precision = best_precision() if wanted == "auto" else wanted
        with _step(name, "training"):
            check_dimensions(train, model.get_embedding_dimension())
        with _step(name, "loading"):
            short = first_layers(model, folder, Path(scratch) / "short")
        del model
        gc.collect()
        rest = _Rest(name, texts, train, export)
        try:
            right = rest.follow(short or folder, precision, Path(scratch) / "first")
        except BadInput:
            if short is None:
                raise
            right = rest.follow(folder, precision, Path(scratch) / "whole")
    return Rehearsal(right, is_bf16_wrong or right != precision, STEPS)


@contextmanager
def settled_heap() -> Iterator[None]:
    """Excludes what is loaded from garbage collection, which trainer and export run often: a quarter of their time."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def _step(name: str, step: str) -> Iterator[None]:
    """Turns what fails in a step into one line that names encoder and step."""
    try:
        yield
    except BadInput as error:
        raise BadInput(
            *(f"{name}: {step} fails in the rehearsal: {str(each).removeprefix(f'{name}: ')}" for each in error.args)
        ) from None
    except (OSError, _Stopped):  # a full disk is no fault of the encoder
        raise
    except Exception as error:  # libraries fail in ways of their own on an encoder that they do not fit
        what = f"{type(error).__name__}: {one_line(COLOURS.sub('', str(error)))[:SHOWN]}"
        raise BadInput(f"{name}: {step} fails in the rehearsal ({what}); {OTHER}") from None


def sample_texts(model: SentenceTransformer) -> list[str]:
    """Returns an empty text, a word, a sentence, one longer than the encoder reads, special tokens, other scripts."""
    words = " ".join(SENTENCES).split()
    n_words = min(model.max_seq_length or MOST_WORDS, MOST_WORDS) + 8
    longest = " ".join((words * (1 + n_words // len(words)))[:n_words])
    return [
        "",
        "graph",
        SENTENCES[1],
        longest,
        " ".join(model.tokenizer.all_special_tokens),
        "Größe 日本語 Привет 👩‍👩‍👧",
    ]


def _trained(folder: Path) -> SentenceTransformer:
    """Loads an encoder to train without its token vectors.

    They are the same module in all encoders, and most of the weights of a short one: training and checkpoints of a
    multilingual table would take several times as long as all the rest.
    """
    model = load_torch(folder)
    model.transformers_model.get_input_embeddings().requires_grad_(False)
    return model


def _digest(model: SentenceTransformer) -> str:
    """Returns a hash of all weights and their names."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class _Rest:
    """The rehearsal's steps after encoding, with the first layers of an encoder or with all."""

    name: str
    texts: Sequence[str]
    train: TrainParams
    export: ExportParams

    def follow(self, encoder: Path, precision: str, scratch: Path) -> str:
        """Trains, resumes, merges and exports; returns the precision in which training is right."""
        with _step(self.name, "training"):
            interpolation = Interpolation(encoder)
        is_finite = self._trains(interpolation, precision, scratch / precision)
        if not is_finite and precision != "fp32" and self.train.machine.precision == "auto":
            precision = "fp32"
            is_finite = self._trains(interpolation, precision, scratch / precision)
        if not is_finite:
            raise BadInput(
                f"{self.name}: training fails in the rehearsal: loss or weights are not finite in {precision}; "
                + ("set machine.precision to fp32" if precision != "fp32" else OTHER)
            )
        with _step(self.name, "merging"):
            merged = interpolation.at(read_change(change_at(scratch / precision, N_STEPS)), 1.0)
            merged.save_pretrained(str(scratch / "merged"), create_model_card=False)
            saved = load_torch(scratch / "merged")
            if _digest(saved) != _digest(merged):
                raise BadInput(f"{self.name}: saved weights are read back with other values or names; {OTHER}")
        with _step(self.name, "export"):
            self._exports(saved.to("cpu").eval(), scratch / "merged", scratch / "onnx")
        return precision

    def _trains(self, interpolation: Interpolation, precision: str, scratch: Path) -> bool:
        """Trains two steps, is stopped, resumes from the first; returns whether loss and weights are finite."""
        encoder = interpolation.folder
        machine = self.train.machine.model_copy(update={"precision": precision})
        changes = {
            "seeds": [0],
            "shares": [1.0],
            "patience": 100,
            "warmup_share": 0.0,
            "processes": 1,
            "machine": machine,
        }
        params = self.train.model_copy(update=changes | {"batch_size": len(self.texts), "distill_batch_size": 2})
        rows = {"query": self.texts[::-1], "positive": [*self.texts[1:], self.texts[0]], "negative_1": self.texts}
        general = [Pair(*SENTENCES[place : place + 2]) for place in range(3)]
        keys = BatchingKeys.independent([*map(len, rows["positive"])])
        corpus = {str(place): text for place, text in enumerate(self.texts)}
        with _step(self.name, "training"):
            data = TrainingData(Dataset.from_dict(rows), keys, general)
            scorer = _Scorer(RetrievalTask(corpus, corpus, {id_: {id_: 1} for id_ in corpus}), precision)
            dev = DevScoring(interpolation, scorer, [1.0])
        rate = LEARNING_RATE * (10 if params.lora_rank else 1)
        schedule = Schedule(rate, epochs=N_STEPS, n_steps=N_STEPS, n_evaluations=N_STEPS)
        result = None
        for step in ("training", "resuming"):
            with _step(self.name, step):
                try:
                    load_base = partial(load_torch, encoder) if params.needs_base else None
                    result = fit(_trained(encoder), load_base, data, dev, params, schedule, scratch)
                except _Stopped:
                    continue
                finally:
                    torch.use_deterministic_algorithms(False)  # set by the trainer; not in the export's process
                    gc.collect()
        assert result is not None
        is_finite = all(map(np.isfinite, result.losses.values())) and all(one.is_finite for one in result.evaluations)
        if is_finite and len(set(scorer.seen)) != 1:
            raise BadInput(f"{self.name}: resuming from a checkpoint ends in other weights than training on; {OTHER}")
        with _step(self.name, "training"):
            is_changed = not is_finite or bool(read_change(change_at(scratch, N_STEPS)))
        if not is_changed:
            raise BadInput(f"{self.name}: training changes no weight in the rehearsal; {OTHER}")
        return is_finite

    def _exports(self, model: SentenceTransformer, folder: Path, out: Path) -> None:
        """Exports all graphs of an encoder as loaded from a folder, and compares them with torch in the runtime."""
        about = describe(model, Path(self.name))
        expected = model.encode(list(self.texts), batch_size=1, normalize_embeddings=True, show_progress_bar=False)
        graphs = write_folder(self.export, model, about, folder, self.texts, out)
        threads = self.train.machine.threads
        vectors = {file: by_batch_size(Embedder(out, file, threads), self.texts, kind) for kind, file in graphs.items()}
        parity = int8_parity(vectors[FP32], vectors[INT8], expected)
        require_parity(parity.fp32_min_cosine, parity.fp32_max_abs_diff, self.export, Path(self.name))
        if not np.isfinite(vectors[INT8]).all():
            raise BadInput(f"{self.name}: vectors of the int8 graph are not finite; set export.int8_keep_fp32 to ['*']")
        if FP16 in vectors:
            require_fp16_parity(compare_fp16(vectors[FP16], expected), Path(self.name))
