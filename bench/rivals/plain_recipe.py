"""The plain sentence-transformers recipe, described in bench/parts/recipe.py."""

import sys
from pathlib import Path

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.sampler import BatchSamplers
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from attune.encoding.encoders import best_precision, load_torch
from attune.stages.train import training_rows
from attune.tables import CORPUS, TRIPLETS, full_texts, read
from attune.tuning.training.recipe import TrainParams


def plain(folder: Path, params: TrainParams, seed: int, rate: float, scratch: Path) -> SentenceTransformer:
    """Trains with the plain recipe for as many steps as attune may take; returns the encoder."""
    corpus = read(folder / "data/prepared/corpus.parquet", CORPUS)
    triplets = read(folder / "data/mined/r1/triplets.parquet", TRIPLETS)
    texts = training_rows(triplets, dict(zip(corpus["document_id"], full_texts(corpus), strict=True)))
    rows = Dataset.from_dict({name: texts[name] for name in ("query", "positive")})
    model = load_torch(folder / "models/base")
    if model.device.type == "cpu":
        model.transformers_model.set_attn_implementation("eager")  # faster; computes the same function
    model.model_card_data.widget = [{}]
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(scratch),
        max_steps=params.epochs * max(1, len(rows) // params.batch_size),
        per_device_train_batch_size=params.batch_size,
        learning_rate=rate,
        warmup_steps=0.1,
        seed=seed,
        data_seed=seed,
        bf16=best_precision() == "bf16",
        use_cpu=not torch.cuda.is_available(),
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=not sys.stderr.isatty(),
    )
    loss = MultipleNegativesRankingLoss(model)
    SentenceTransformerTrainer(model=model, args=arguments, train_dataset=rows, loss=loss).train()
    return model
