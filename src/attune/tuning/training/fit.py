"""One contrastive fine-tuning run through the sentence-transformers trainer, resumable and the same every time.

The run is scored on dev as it goes (`evaluations`). Dev decides when it stops; which of its checkpoints ships is chosen
later, by stage merge.
"""

import gc
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from transformers import PrinterCallback, TrainerCallback, TrainerState

from attune.encoding import processes
from attune.files import writing
from attune.tuning.curve import TrainingResult
from attune.tuning.dev import ProgressBar
from attune.tuning.general_text import Pair
from attune.tuning.training import losses, packing
from attune.tuning.training.batches import EpochCallback
from attune.tuning.training.checkpoints import had_stopped, last_complete_checkpoint
from attune.tuning.training.conflicts import BatchingKeys
from attune.tuning.training.evaluations import (
    DevScoring,
    ShareEvaluator,
    StopCallback,
    begins_below_base,
    read_evaluations,
)
from attune.tuning.training.forgetting import StepCallback, WithDistillation, teacher_embeddings
from attune.tuning.training.lora import LoraTrainer, add_adapters, plain_weights
from attune.tuning.training.recipe import TrainParams

DROPOUT = re.compile(r"dropout|pdrop")  # in names of attributes that hold a share; layerdrop is another technique
N_SAMPLES = 4  # rows whose texts show if an encoder can be trained without padding


@dataclass(frozen=True)
class TrainingData:
    """Rows to train on.

    Attributes:
        rows: columns query, positive, negative_1..n, in this order.
        keys: judgments and lengths of the rows, by which they are put into batches.
        general: general text, for distillation.
    """

    rows: Dataset
    keys: BatchingKeys
    general: Sequence[Pair]

    @property
    def n_negatives(self) -> int:
        """Number of hard negatives that each row brings to its batch."""
        return len(self.rows.column_names) - 2

    @property
    def hard_negatives(self) -> str:
        """Where the hard negatives come from: `rows`, `batch` or `none`."""
        return "rows" if self.n_negatives else "batch" if self.keys.neighbours else "none"

    def with_negatives_in_batch(self) -> "TrainingData":
        """Returns the rows with their queries and positives alone, in batches with those that are hard negatives."""
        return TrainingData(self.rows.select_columns(self.rows.column_names[:2]), self.keys.grouped(), self.general)

    def without_negatives(self) -> "TrainingData":
        """Returns the rows with their queries and positives alone."""
        keys = replace(self.keys, documents=[own[:1] for own in self.keys.documents], neighbours=())
        return TrainingData(self.rows.select_columns(self.rows.column_names[:2]), keys, self.general)


@dataclass(frozen=True)
class Schedule:
    """Length and evaluations of a run.

    Attributes:
        learning_rate: peak rate.
        epochs: passes over the rows.
        n_steps: steps, if nothing stops it early; at most those of the epochs.
        n_evaluations: at most, beside the one before the first step; the last one is after the last step.
        is_probe: a short run that is scored once, at its end, and leaves no checkpoint.
        needs_gain: whether it ends at its first evaluation if that is below the base at every share.
    """

    learning_rate: float
    epochs: int
    n_steps: int
    n_evaluations: int
    is_probe: bool = False
    needs_gain: bool = False

    @property
    def steps_between(self) -> int:
        """Steps from one evaluation to the next."""
        return max(1, -(-self.n_steps // self.n_evaluations))


def fit(
    model: SentenceTransformer,
    load_base: Callable[[], SentenceTransformer] | None,
    data: TrainingData,
    dev: DevScoring,
    params: TrainParams,
    schedule: Schedule,
    scratch: Path,
) -> TrainingResult:
    """Fine-tunes an encoder; leaves each evaluation's difference of weights and scores in the scratch folder.

    Args:
        model: the encoder to start from, which is changed.
        load_base: loads the frozen base encoder, guide and teacher, which stays in memory only as guide; None where the
            parameters need neither.
        data: rows to train on.
        dev: how checkpoints are scored.
        params: of one seed, checked.
        schedule: rate and length of the run.
        scratch: folder for checkpoints (the caller removes it); a run that finds its own there ends in the same bytes.

    Raises:
        BadInput: a checkpoint cannot be written.
    """
    is_packed = _prepare_model(model, params, data.rows)
    adapters = add_adapters(model, params) if params.lora_rank else None
    base = load_base() if load_base else None
    loss, callbacks = build_objective(model, base, data.general, params, is_packed)
    del base
    gc.collect()  # an encoder refers to itself, so it would stay in memory
    checkpoint, epochs = processes.broadcast(partial(last_complete_checkpoint, scratch)), EpochCallback()
    weights = plain_weights if adapters else SentenceTransformer.state_dict
    evaluator = ShareEvaluator(dev, weights, scratch, keeps_change=not schedule.is_probe)
    stop = StopCallback(params.patience, schedule.needs_gain)
    trainer = (LoraTrainer if adapters else SentenceTransformerTrainer)(
        model=model,
        args=_arguments(params, _prompts(model, data.rows), data, scratch, schedule, checkpoint, epochs),
        train_dataset=data.rows,
        loss=loss,
        evaluator=evaluator,
        callbacks=[evaluator, stop, ProgressBar(), epochs, *callbacks],
    )
    trainer.remove_callback(PrinterCallback)
    if processes.world_size() > 1:
        torch.manual_seed(params.seed + processes.rank())  # else dropout would be the same on every rank
    _train(trainer, checkpoint)
    log = trainer.state.log_history
    return TrainingResult(
        losses={int(entry["step"]): entry["loss"] for entry in log if "loss" in entry},
        evaluations=processes.broadcast(partial(read_evaluations, scratch)),
        n_steps=trainer.state.global_step,
        learning_rate=schedule.learning_rate,
        epochs=schedule.epochs,
        is_below_base=schedule.needs_gain and begins_below_base(log),
    )


def _prepare_model(model: SentenceTransformer, params: TrainParams, rows: Dataset) -> bool:
    """Sets the dropout of every layer and the attention that trains fastest; neither is saved with the model.

    Returns:
        True if the model takes texts laid end to end instead of padded.
    """
    is_packed = False
    if model.device.type == "cpu":
        # torch's fused attention has a slow backward pass on CPUs: up to two fifths of a step (docs/experiments.md)
        model.transformers_model.set_attn_implementation("eager")
        if params.loss in losses.PACKABLE and not params.matryoshka_dims:
            texts = [text for column in rows[:N_SAMPLES].values() for text in column]
            is_packed = packing.pack(model, [*texts, *(max(rows[name], key=len) for name in rows.column_names)])
    set_dropout(model, params.dropout)
    model.model_card_data.widget = [{}]  # else the trainer computes examples for a model card that is never written
    return is_packed


def set_dropout(model: torch.nn.Module, share: float) -> None:
    """Sets the dropout of every layer, whatever holds it.

    Most layers have a module; ModernBERT's attention has a number `attention_dropout`, that of T5 `dropout`, and GPT-J
    reads `attn_pdrop` of its settings at each step. A number may be whole: 0 in config.json.
    """
    modules = list(model.modules())
    settings = {id(own): own for module in modules if (own := getattr(module, "config", None)) is not None}
    for module in modules:
        if isinstance(module, torch.nn.Dropout):
            module.p = share
    for owner in (*modules, *settings.values()):
        for name in [
            name for name, value in vars(owner).items() if DROPOUT.search(name) and type(value) in (int, float)
        ]:
            setattr(owner, name, share)


def build_objective(
    model: SentenceTransformer,
    base: SentenceTransformer | None,
    general: Sequence[Pair],
    params: TrainParams,
    is_packed: bool,
) -> tuple[torch.nn.Module, list[TrainerCallback]]:
    """Builds the training objective, and the callback that sets its step. Wrappers nest, from the inside:

    1. The library's loss over the rows' embeddings; in several processes it gathers them from all.
    2. One of two optional wrappers, never both, as MatryoshkaLoss accepts no ready embeddings:
       a. MatryoshkaLoss, directly around the library's loss, whose embeddings it truncates;
       b. PackedLoss, which embeds all columns of the batch in one pass for the library's loss.
    3. WithDistillation adds its term to the loss of the rows; PackedLoss embeds its texts in the pass of the rows. It
       is outside of MatryoshkaLoss, as the teacher's embeddings are not truncated.
    4. AllProcessesLoss is outermost, where several processes train: it scales the gradient of all terms once.
    """
    if base is not None:
        base.requires_grad_(False).eval()
    loss = losses.build_loss(model, params, base)
    if is_packed:
        loss = packing.PackedLoss(model, loss)
    callbacks: list[TrainerCallback] = []
    if base is not None and params.distill_weight:
        loss = WithDistillation(model, loss, params, teacher_embeddings(base, general))
        callbacks = [StepCallback(loss)]
    return (losses.AllProcessesLoss(model, loss) if processes.world_size() > 1 else loss), callbacks


def _prompts(model: SentenceTransformer, rows: Dataset) -> dict[str, str]:
    return {name: model.prompts.get("query" if name == "query" else "document", "") for name in rows.column_names}


def _train(trainer: SentenceTransformerTrainer, checkpoint: str | None) -> None:
    if checkpoint and had_stopped(Path(checkpoint)):
        # the trainer would train further: it does not see that patience or steps were used up at this checkpoint
        trainer.state = TrainerState.load_from_json(f"{checkpoint}/trainer_state.json")
        return
    with writing(Path(str(trainer.args.output_dir))):  # a run goes on from the last checkpoint that had room
        trainer.train(resume_from_checkpoint=checkpoint)


class _OneGpuArguments(SentenceTransformerTrainingArguments):
    """Arguments of a process that uses one GPU at most; the trainer would share its batch out to all of the host."""

    @property
    def n_gpu(self) -> int:
        """Number of GPUs of this process: 0 or 1."""
        return min(int(super().n_gpu), 1)


def _arguments(
    params: TrainParams,
    prompts: dict[str, str],
    data: TrainingData,
    scratch: Path,
    schedule: Schedule,
    checkpoint: str | None,
    epochs: EpochCallback,
) -> SentenceTransformerTrainingArguments:
    on_gpu = torch.cuda.is_available()
    every = schedule.n_steps if schedule.is_probe else schedule.steps_between
    return _OneGpuArguments(
        output_dir=str(scratch),
        num_train_epochs=schedule.epochs,
        max_steps=schedule.n_steps or -1,  # -1: as many as epochs, of which there are none
        per_device_train_batch_size=params.batch_size,
        learning_rate=schedule.learning_rate,
        warmup_steps=params.warmup_share,
        weight_decay=params.weight_decay,
        lr_scheduler_type="linear",
        seed=params.seed,
        data_seed=params.seed,
        full_determinism=True,
        use_cpu=not on_gpu,
        bf16=params.precision == "bf16",
        dataloader_drop_last=processes.world_size() > 1,  # no batch is ever dropped; the library insists on it
        batch_sampler=partial(epochs.build_sampler, keys=data.keys),
        prompts=prompts,
        eval_strategy="steps",
        eval_steps=every,
        eval_on_start=checkpoint is None and not schedule.is_probe,
        save_strategy="no" if schedule.is_probe else "steps",
        save_steps=every,
        save_total_limit=1,
        logging_steps=every,  # the running loss is not in checkpoints, so it may not span one
        report_to="none",
        disable_tqdm=True,  # the trainer's bar prints every log entry over itself
    )
