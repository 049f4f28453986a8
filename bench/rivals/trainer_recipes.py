"""Recipes of the sentence-transformers trainer, attune's rivals: in-batch negatives, mined negatives, and a guide.

Each gets the pairs, the batch size, the number of steps, the dropout, the number format and dev of attune's stage
train, and keeps its best checkpoint on dev. Evaluations and early stopping are its own, whatever attune's are. Its
learning rate is chosen on dev by the caller. Where documents are read in passages, it reads of a relevant one the same
passage as stage train, and dev scores a document by its best passage.

- in-batch: MultipleNegativesRankingLoss over the documents of the batch.
- mined-N: the same with N hard negatives by `mine_hard_negatives`, positive-aware (relative margin .05, as in
  NV-Retriever, Moreira et al. 2024), among the documents that train may use. Refused with passages: the function knows
  no documents, and would take another passage of the answer for a negative.
- gist: GISTEmbedLoss with the base encoder as guide, which masks documents that it ranks like the positive.
"""

from pathlib import Path

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.sampler import BatchSamplers
from sentence_transformers.sentence_transformer.evaluation import SentenceEvaluator
from sentence_transformers.sentence_transformer.losses import GISTEmbedLoss, MultipleNegativesRankingLoss
from sentence_transformers.util import mine_hard_negatives
from transformers import EarlyStoppingCallback, PrinterCallback

from attune.encoding.encoders import best_precision, load_torch
from attune.errors import BadInput
from attune.retrieval.passages import read_as, read_passages
from attune.tables import CORPUS, DOCUMENT_IDS, TRIPLETS, full_texts, read
from attune.tuning.curve import DEV_MEASURE
from attune.tuning.dev import ProgressBar, RetrievalScorer, RetrievalTask, read_dev
from attune.tuning.training.recipe import TrainParams

RIVALS = ("in-batch", "mined-1", "mined-2", "mined-4", "gist")
RELATIVE_MARGIN = 0.05
# evaluations on dev, about, beside the one before the first step; evaluations without a better score until a run stops
N_EVALUATIONS = 6
PATIENCE = 3


class DevEvaluator(SentenceEvaluator):  # type: ignore[misc]  # the library has no types
    """Evaluator of a trainer: mean nDCG@10 on a task, under the name of `DEV_MEASURE`."""

    def __init__(self, task: RetrievalTask, precision: str) -> None:
        super().__init__()
        self.scorer = RetrievalScorer(task, precision)

    def __call__(self, model: SentenceTransformer, *_: object, **__: object) -> dict[str, float]:
        """Scores the encoder."""
        return {DEV_MEASURE.removeprefix("eval_"): float(self.scorer(model).mean())}


def train_rival(
    rival: str, folder: Path, params: TrainParams, seed: int, rate: float, scratch: Path
) -> SentenceTransformer:
    """Trains the base encoder by a recipe of the library; returns the encoder that is best on dev.

    Args:
        rival: one of RIVALS.
        folder: holds data/ and models/base; stage mine has run.
        params: of stage train; gives steps, batch size, dropout and the size of dev's corpus.
        seed: of batch order and dropout.
        rate: peak learning rate.
        scratch: folder for checkpoints.

    Raises:
        BadInput: the recipe mines negatives, and documents are read in passages.
    """
    corpus = read(folder / "data/prepared/corpus.parquet", CORPUS)
    texts = dict(zip(corpus["document_id"], full_texts(corpus), strict=True))
    train_documents = folder / "data/splits/train/documents.parquet"
    passages = read_passages(folder / "data/prepared", corpus).of_documents()
    if passages and rival.startswith("mined"):
        raise BadInput(
            f"{folder}: {rival} cannot mine among passages; leave it out, or set prepare.passages.tokens to 0"
        )
    rows = pairs(folder, texts, passages)
    n_batches = max(1, len(rows) // params.batch_size)
    n_sampled = params.n_sampled_documents(n_batches)
    dev = read_dev(folder / "data/splits/dev", texts, train_documents, n_sampled, passages)
    model = load_torch(folder / "models/base")
    if model.device.type == "cpu":
        model.transformers_model.set_attn_implementation("eager")  # faster; computes the same function
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = params.dropout
    model.model_card_data.widget = [{}]
    steps = params.n_steps(n_batches)
    if rival.startswith("mined"):
        allowed = [texts[id_] for id_ in read(train_documents, DOCUMENT_IDS)["document_id"]]
        rows = with_mined_negatives(rows, model, allowed, int(rival.rpartition("-")[2]))
    every = max(1, steps // N_EVALUATIONS)
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(scratch),
        max_steps=steps,
        per_device_train_batch_size=params.batch_size,
        learning_rate=rate,
        warmup_steps=0.1,
        seed=seed,
        data_seed=seed,
        bf16=best_precision() == "bf16",
        use_cpu=not torch.cuda.is_available(),
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        eval_strategy="steps",
        eval_steps=every,
        eval_on_start=True,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model=DEV_MEASURE,
        greater_is_better=True,
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        loss=loss_of(rival, model, folder / "models/base"),
        evaluator=DevEvaluator(dev, best_precision()),
        callbacks=[EarlyStoppingCallback(early_stopping_patience=PATIENCE), ProgressBar()],
    )
    trainer.remove_callback(PrinterCallback)  # it prints each evaluation to stdout
    trainer.train()
    return model


def pairs(folder: Path, texts: dict[str, str], passages: dict[str, list[str]]) -> Dataset:
    """Returns one row per train query and relevant document: columns query, positive."""
    mined = folder / "data/mined/r1"
    triplets = read(mined / "triplets.parquet", TRIPLETS)
    passage_of = read_as(mined, passages)
    ids = triplets.select("query_id", "document_id").iter_rows()
    positives = [passage_of.get(pair, texts[pair[1]]) for pair in ids]
    return Dataset.from_dict({"query": triplets["text"].to_list(), "positive": positives})


def with_mined_negatives(rows: Dataset, model: SentenceTransformer, documents: list[str], n: int) -> Dataset:
    """Returns the rows with columns negative_1..n; the library drops rows for which it finds fewer."""
    return mine_hard_negatives(
        rows,
        model,
        anchor_column_name="query",
        positive_column_name="positive",
        corpus=documents,
        range_max=100,
        relative_margin=RELATIVE_MARGIN,
        num_negatives=n,
        sampling_strategy="top",
        output_format="n-tuple",
        batch_size=32,
        use_faiss=True,
        verbose=False,
    )


def loss_of(rival: str, model: SentenceTransformer, base: Path) -> torch.nn.Module:
    """Returns the loss of a recipe."""
    if rival != "gist":
        in_batch: torch.nn.Module = MultipleNegativesRankingLoss(model)
        return in_batch
    guide = load_torch(base).requires_grad_(requires_grad=False).eval()
    guided: torch.nn.Module = GISTEmbedLoss(model, guide, margin_strategy="relative", margin=RELATIVE_MARGIN)
    return guided
