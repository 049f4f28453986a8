"""One contrastive fine-tuning run through the sentence-transformers trainer, resumable and the same every time.

In-batch negatives plus mined ones (multiple negatives ranking, Henderson et al. 2017, arXiv 1705.00652), judged on dev
as it goes. The best checkpoint on dev comes out, step 0 included: a run that never beats the base returns the base.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from datasets import Dataset
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from transformers import EarlyStoppingCallback, PrinterCallback
from transformers.trainer_utils import get_last_checkpoint

from attune.batches import ClusterBatchSampler, Rows
from attune.dev import DEV_MEASURE, Bar, Dev, DevEvaluator
from attune.errors import BadInput

CHECKPOINT = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth")


@dataclass(frozen=True)
class Recipe:
    """The knobs of one run."""

    seed: int
    epochs: int
    batch_size: int
    learning_rate: float
    warmup_share: float
    weight_decay: float
    scale: float
    symmetric: bool
    dropout: float
    n_evaluations: int
    patience: int
    precision: str


@dataclass(frozen=True)
class Outcome:
    """What came of a run: the trainer's log, the step whose weights the model now has, and the steps taken."""

    log: list[dict[str, float]]
    best_step: int
    n_steps: int


def fit(
    model: SentenceTransformer,
    rows: Dataset,
    batching: Rows,
    dev: Dev,
    recipe: Recipe,
    scratch: Path,
) -> Outcome:
    """Fine-tunes the model in place.

    Args:
        model: the base encoder.
        rows: columns query, positive, negative_1..n, in this order.
        batching: the clusters and lengths of the rows, which decide what shares a batch.
        dev: what decides on the best checkpoint and on stopping.
        recipe: the knobs.
        scratch: where checkpoints go (the caller removes it); a run that finds its own there ends in the same bytes.

    Raises:
        BadInput: the best checkpoint cannot be restored.
    """
    _make_ready(model, recipe.dropout)
    model.model_card_data.widget = [{}]  # else the trainer computes examples for a model card that is never written
    sampler = partial(ClusterBatchSampler, rows=batching)
    checkpoint = last_whole_checkpoint(scratch)
    prompts = {name: model.prompts.get("query" if name == "query" else "document", "") for name in rows.column_names}
    n_batches = max(1, len(rows) // recipe.batch_size)
    trainer = SentenceTransformerTrainer(
        model=model,
        args=_arguments(
            recipe, prompts, sampler, max(1, recipe.epochs * n_batches // recipe.n_evaluations), scratch, checkpoint
        ),
        train_dataset=rows,
        loss=_loss(model, recipe),
        evaluator=DevEvaluator(dev, recipe.precision),
        callbacks=[EarlyStoppingCallback(early_stopping_patience=recipe.patience), Bar()],
    )
    base = {name: value.clone() for name, value in model.state_dict().items()}
    trainer.remove_callback(PrinterCallback)
    try:
        trainer.train(resume_from_checkpoint=checkpoint)
    except RuntimeError as error:
        if "inline_container" not in str(error):
            raise
        # torch's own words for a checkpoint that it could not write
        raise BadInput(
            f"{scratch}: a checkpoint cannot be written ({str(error).splitlines()[0]}); "
            "free some disk space and run again, it goes on from the checkpoint before"
        ) from None
    best_step = _restore_best(trainer, base)
    return Outcome(trainer.state.log_history, best_step, trainer.state.global_step)


def _make_ready(model: SentenceTransformer, dropout: float) -> None:
    """Sets the dropout of every layer, and the attention that trains fastest; neither is saved with the model."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    if model.device.type == "cpu":
        # torch's fused attention has a slow backward pass on CPUs: half of a training step (EXPERIMENTS.md)
        model.transformers_model.set_attn_implementation("eager")


def last_whole_checkpoint(scratch: Path) -> str | None:
    """The last checkpoint that was written to its end; what a kill or a full disk left half-written is removed."""
    for folder in scratch.glob("checkpoint-*"):
        try:
            json.loads((folder / "trainer_state.json").read_text())  # the trainer writes it last
            whole = all((folder / name).is_file() for name in CHECKPOINT)
        except (OSError, ValueError):
            whole = False
        if not whole:
            shutil.rmtree(folder)
    return get_last_checkpoint(str(scratch)) if scratch.is_dir() else None


def _loss(model: SentenceTransformer, recipe: Recipe) -> MultipleNegativesRankingLoss:
    if recipe.symmetric:
        directions = ("query_to_doc", "doc_to_query")
        return MultipleNegativesRankingLoss(
            model, scale=recipe.scale, directions=directions, partition_mode="per_direction"
        )
    return MultipleNegativesRankingLoss(model, scale=recipe.scale)


def _arguments(
    recipe: Recipe,
    prompts: dict[str, str],
    sampler: Callable[..., ClusterBatchSampler],
    every: int,
    scratch: Path,
    checkpoint: str | None,
) -> SentenceTransformerTrainingArguments:
    on_gpu = torch.cuda.is_available()
    return SentenceTransformerTrainingArguments(
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
        batch_sampler=sampler,
        prompts=prompts,
        eval_strategy="steps",
        eval_steps=every,
        eval_on_start=checkpoint is None,
        restore_callback_states_from_checkpoint=checkpoint is not None,  # the patience used up so far
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        logging_steps=every,  # the running loss is not in checkpoints, so it may not span one
        load_best_model_at_end=True,
        metric_for_best_model=DEV_MEASURE,
        greater_is_better=True,
        report_to="none",
        disable_tqdm=True,  # the trainer's bar prints every log entry over itself
    )


def _restore_best(trainer: SentenceTransformerTrainer, base: dict[str, torch.Tensor]) -> int:
    """Makes sure that the model has the weights that scored best on dev; returns their step (0 is the base)."""
    start = next((entry for entry in trainer.state.log_history if entry["step"] == 0 and DEV_MEASURE in entry), None)
    best = trainer.state.best_model_checkpoint
    if best is None or (start is not None and start[DEV_MEASURE] >= trainer.state.best_metric):
        trainer.model.load_state_dict(base)
        return 0
    saved = load_file(Path(best) / "model.safetensors")
    # the trainer logs a failure to load and goes on with the last weights
    weights = trainer.model.transformers_model.state_dict()
    if not all(torch.equal(weights[name].cpu(), value) for name, value in saved.items()):
        raise BadInput(
            f"train: the best checkpoint ({best}) could not be restored; delete the scratch folder and run again"
        )
    return int(best.rsplit("-", 1)[1])
