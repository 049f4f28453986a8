"""One contrastive fine-tuning run through the sentence-transformers trainer, resumable and the same every time.

In-batch negatives plus mined ones (multiple negatives ranking, Henderson et al. 2017, arXiv 1705.00652), judged on dev
as it goes. The best checkpoint on dev comes out, step 0 included: a run that never beats the base returns the base.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from datasets import Dataset
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.util import cos_sim
from transformers import EarlyStoppingCallback
from transformers.trainer_utils import get_last_checkpoint

from attune.batches import ClusterBatchSampler
from attune.encoders import TorchEncoder
from attune.errors import BadInput

DEV_MEASURE = "eval_dev_cosine_ndcg@10"  # as the trainer logs it
BATCH_TOKENS = 4096


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
class Dev:
    """What the run is judged on: queries and documents by id, and the ids of each query's relevant documents."""

    queries: dict[str, str]
    corpus: dict[str, str]
    relevant: dict[str, set[str]]


@dataclass(frozen=True)
class Outcome:
    """What came of a run: the trainer's log, the step whose weights the model now has, and the steps taken."""

    log: list[dict[str, float]]
    best_step: int
    n_steps: int


class DevEvaluator(InformationRetrievalEvaluator):
    """The library's retrieval evaluator, over embeddings made by `TorchEncoder` in the run's precision.

    Deliberately not `attune.measures`: a new measure in the report must not cost a new training run.
    """

    def __init__(self, dev: Dev, precision: str) -> None:
        super().__init__(
            dev.queries,
            dev.corpus,
            dev.relevant,
            name="dev",
            score_functions={"cosine": cos_sim},
            main_score_function="cosine",
            ndcg_at_k=[10],
            precision_recall_at_k=[10],
            accuracy_at_k=[10],
            mrr_at_k=[10],
            map_at_k=[10],
            write_csv=False,
        )
        self.precision = precision

    def embed_inputs(
        self, model: SentenceTransformer, sentences: Sequence[str], encode_fn_name: str = "query", **_: object
    ) -> torch.Tensor:
        """Embeds queries or documents: (n texts) -> (n, dim)."""
        encoder = TorchEncoder(model, self.precision, BATCH_TOKENS)
        encode = encoder.encode_query if encode_fn_name == "query" else encoder.encode_document
        return torch.from_numpy(encode(sentences))


def fit(
    model: SentenceTransformer,
    rows: Dataset,
    clusters: Sequence[str],
    lengths: Sequence[int],
    dev: Dev,
    recipe: Recipe,
    scratch: Path,
) -> Outcome:
    """Fine-tunes the model in place.

    Args:
        model: the base encoder.
        rows: columns query, positive, negative_1..n, in this order.
        clusters: the cluster of each row; no batch holds two rows of one.
        lengths: how long each row's texts are, to batch like with like.
        dev: what decides on the best checkpoint and on stopping.
        recipe: the knobs.
        scratch: where checkpoints go. A run that finds its own there continues to the same bytes.

    Raises:
        BadInput: the best checkpoint cannot be restored.
    """
    _make_ready(model, recipe.dropout)
    sampler = partial(ClusterBatchSampler, clusters=clusters, lengths=lengths)
    prompts = {name: model.prompts.get("query" if name == "query" else "document", "") for name in rows.column_names}
    n_batches = max(1, len(rows) // recipe.batch_size)
    trainer = SentenceTransformerTrainer(
        model=model,
        args=_arguments(recipe, prompts, sampler, max(1, recipe.epochs * n_batches // recipe.n_evaluations), scratch),
        train_dataset=rows,
        loss=_loss(model, recipe),
        evaluator=DevEvaluator(dev, recipe.precision),
        callbacks=[EarlyStoppingCallback(early_stopping_patience=recipe.patience)],
    )
    base = {name: value.clone() for name, value in model.state_dict().items()}
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(scratch)) if scratch.is_dir() else None)
    best_step = _restore_best(trainer, base)
    shutil.rmtree(scratch, ignore_errors=True)
    return Outcome(trainer.state.log_history, best_step, trainer.state.global_step)


def _make_ready(model: SentenceTransformer, dropout: float) -> None:
    """Sets the dropout of every layer, and the attention that trains fastest; neither is saved with the model."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    if model.device.type == "cpu":
        # torch's fused attention has a slow backward pass on CPUs: half of a training step (EXPERIMENTS.md)
        model.transformers_model.set_attn_implementation("eager")


def _loss(model: SentenceTransformer, recipe: Recipe) -> MultipleNegativesRankingLoss:
    if recipe.symmetric:
        directions = ("query_to_doc", "doc_to_query")
        return MultipleNegativesRankingLoss(
            model, scale=recipe.scale, directions=directions, partition_mode="per_direction"
        )
    return MultipleNegativesRankingLoss(model, scale=recipe.scale)


def _arguments(
    recipe: Recipe, prompts: dict[str, str], sampler: Callable[..., ClusterBatchSampler], every: int, scratch: Path
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
        eval_on_start=True,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        logging_steps=max(1, every // 4),
        load_best_model_at_end=True,
        metric_for_best_model=DEV_MEASURE,
        greater_is_better=True,
        report_to="none",
        disable_tqdm=None,
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
