"""One contrastive fine-tuning run through the sentence-transformers trainer, resumable and the same every time.

The recipe's loss over in-batch negatives and mined ones, judged on dev as it goes. The best checkpoint on dev comes
out, step 0 included: a run that never beats the encoder it started from returns that encoder.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback, TrainerState

from attune.encoding import processes
from attune.errors import BadInput
from attune.tuning.curve import DEV_MEASURE, TrainingResult
from attune.tuning.dev import DevEvaluator, ProgressBar, RetrievalTask
from attune.tuning.general_text import Pair
from attune.tuning.training import lora as adapters
from attune.tuning.training import losses, packing
from attune.tuning.training.batches import Epochs, Rows
from attune.tuning.training.checkpoints import is_last, last_whole_checkpoint, restore_best
from attune.tuning.training.forgetting import Clock, Distilled, lesson
from attune.tuning.training.losses import Whole
from attune.tuning.training.recipe import Recipe

SAMPLE = 4  # rows whose texts show whether an encoder can do without padding


@dataclass(frozen=True)
class Material:
    """What a run learns from and is judged on.

    Attributes:
        rows: columns query, positive, negative_1..n, in this order.
        batching: the clusters and lengths of the rows, which decide what shares a batch.
        dev: what decides on the best checkpoint and on stopping.
        general: general text, for distillation.
    """

    rows: Dataset
    batching: Rows
    dev: RetrievalTask
    general: Sequence[Pair]


def fit(
    model: SentenceTransformer, base: SentenceTransformer | None, material: Material, recipe: Recipe, scratch: Path
) -> TrainingResult:
    """Fine-tunes the model in place.

    Args:
        model: the encoder to start from.
        base: the frozen base encoder, guide and teacher; None where the recipe asks for neither.
        material: what the run learns from and is judged on.
        recipe: the knobs, checked.
        scratch: where checkpoints go (the caller removes it); a run that finds its own there ends in the same bytes.

    Raises:
        BadInput: a checkpoint cannot be written, or the best one cannot be restored.
    """
    is_packed = _make_ready(model, recipe, material.rows)
    adapted = adapters.add(model, recipe) if recipe.lora_rank else None
    loss, callbacks = _objective(model, base, material.general, recipe, is_packed)
    checkpoint, epochs = processes.broadcast(partial(last_whole_checkpoint, scratch)), Epochs()
    trainer = (adapters.AdapterTrainer if adapted else SentenceTransformerTrainer)(
        model=model,
        args=_arguments(recipe, _prompts(model, material.rows), material, scratch, checkpoint, epochs),
        train_dataset=material.rows,
        loss=loss,
        evaluator=DevEvaluator(material.dev, recipe.precision),
        callbacks=[*_stopping(recipe), ProgressBar(), epochs, *callbacks],
    )
    start = {name: value.clone() for name, value in model.state_dict().items()}
    trainer.remove_callback(PrinterCallback)
    if processes.world_size() > 1:
        torch.manual_seed(recipe.seed + processes.rank())  # else all would drop the same places out
    _run(trainer, checkpoint, recipe.keep)
    kept_step = restore_best(trainer, start) if recipe.keep == "best" else trainer.state.global_step
    if adapted:
        adapters.remove(adapted, merge=kept_step > 0)
    return TrainingResult(trainer.state.log_history, kept_step, trainer.state.global_step)


def _stopping(recipe: Recipe) -> list[TrainerCallback]:
    if recipe.keep == "last":
        return []
    return [EarlyStoppingCallback(early_stopping_patience=recipe.patience)]


def _make_ready(model: SentenceTransformer, recipe: Recipe, rows: Dataset) -> bool:
    """Sets the dropout of every layer, and the attention that trains fastest; neither is saved with the model.

    Returns:
        Whether texts are laid end to end.
    """
    is_packed = False
    if model.device.type == "cpu":
        # torch's fused attention has a slow backward pass on CPUs: half of a training step (docs/experiments.md)
        model.transformers_model.set_attn_implementation("eager")
        if recipe.loss in losses.PACKED and not recipe.matryoshka_dims:
            texts = [text for column in rows[:SAMPLE].values() for text in column]
            is_packed = packing.pack(model, [*texts, *(max(rows[name], key=len) for name in rows.column_names)])
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = recipe.dropout
        elif isinstance(getattr(module, "attention_dropout", None), float):  # ModernBERT's attention has no such layer
            module.attention_dropout = recipe.dropout
    model.model_card_data.widget = [{}]  # else the trainer computes examples for a model card that is never written
    return is_packed


def _objective(
    model: SentenceTransformer,
    base: SentenceTransformer | None,
    general: Sequence[Pair],
    recipe: Recipe,
    is_packed: bool,
) -> tuple[torch.nn.Module, list[TrainerCallback]]:
    """The loss, distillation included, and the callback that this needs."""
    if base is not None:
        base.requires_grad_(False).eval()
    loss = losses.build(model, recipe, base)
    if is_packed:
        loss = packing.Together(model, loss)
    callbacks: list[TrainerCallback] = []
    if base is not None and recipe.distill_weight:
        loss = Distilled(model, loss, recipe, lesson(base, general))
        callbacks = [Clock(loss)]
    return (Whole(model, loss) if processes.world_size() > 1 else loss), callbacks


def _prompts(model: SentenceTransformer, rows: Dataset) -> dict[str, str]:
    return {name: model.prompts.get("query" if name == "query" else "document", "") for name in rows.column_names}


def _run(trainer: SentenceTransformerTrainer, checkpoint: str | None, keep: str) -> None:
    if checkpoint and is_last(Path(checkpoint)):
        # the trainer would go on: it does not ask a checkpoint whether patience or steps ran out there
        trainer.state = TrainerState.load_from_json(f"{checkpoint}/trainer_state.json")
        if kept := checkpoint if keep == "last" else trainer.state.best_model_checkpoint:
            trainer._load_from_checkpoint(kept)
        return
    try:
        trainer.train(resume_from_checkpoint=checkpoint)
    except RuntimeError as error:
        if "inline_container" not in str(error):
            raise
        # torch's own words for a checkpoint that it could not write
        raise BadInput(
            f"{trainer.args.output_dir}: a checkpoint cannot be written ({str(error).splitlines()[0]}); "
            "free some disk space and run again, it goes on from the checkpoint before"
        ) from None


def _arguments(
    recipe: Recipe, prompts: dict[str, str], material: Material, scratch: Path, checkpoint: str | None, epochs: Epochs
) -> SentenceTransformerTrainingArguments:
    on_gpu = torch.cuda.is_available()
    n_batches = max(1, len(material.rows) // recipe.batch_size)
    every = max(1, recipe.epochs * n_batches // recipe.n_evaluations)
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(scratch),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        warmup_steps=recipe.warmup_share,
        weight_decay=recipe.weight_decay,
        lr_scheduler_type="linear",
        seed=recipe.seed,
        data_seed=recipe.seed,
        full_determinism=True,
        use_cpu=not on_gpu,
        bf16=recipe.precision == "bf16",
        dataloader_drop_last=processes.world_size() > 1,  # no batch is ever dropped; the library insists on it
        batch_sampler=partial(epochs.batches, rows=material.batching),
        prompts=prompts,
        eval_strategy="steps",
        eval_steps=every,
        eval_on_start=checkpoint is None,
        restore_callback_states_from_checkpoint=checkpoint is not None,  # the patience used up so far
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        logging_steps=every,  # the running loss is not in checkpoints, so it may not span one
        load_best_model_at_end=recipe.keep == "best",
        metric_for_best_model=DEV_MEASURE,
        greater_is_better=True,
        report_to="none",
        disable_tqdm=True,  # the trainer's bar prints every log entry over itself
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # one per process; the trainer would share a batch out by itself
    return arguments
