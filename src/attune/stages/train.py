"""Fine-tunes the base encoder on the mined triplets; dev decides when to stop and which checkpoint is kept.

Never reads a test row: queries come from the mined triplets of the train split, the score from the dev split.
Checkpoints live in an ignored scratch folder whose name is a hash of everything the run depends on: a killed run goes
on where it stopped, and no run ever continues another's.
"""

import hashlib
import inspect
import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import polars as pl
import torch
from datasets import Dataset
from pydantic import Field

from attune import batches, dev, dev_split, encoders, fitting
from attune.batches import Rows
from attune.dev import DEV_MEASURE
from attune.dev_split import read_dev
from attune.fitting import Outcome, Recipe
from attune.stage import Out, Params, Receipt, run
from attune.tables import CORPUS, TRIPLETS, full_texts, read

SCRATCH = Path("scratch/train")
LIBRARIES = ("torch", "transformers", "sentence-transformers", "accelerate")


class TrainParams(Params):
    """The recipe of the run, and how it is judged as it goes."""

    seed: int = Field(ge=0, lt=2**32)
    epochs: int = Field(ge=0, le=100)
    batch_size: int = Field(ge=2, le=65536)
    learning_rate: float = Field(gt=0, le=1)
    warmup_share: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0, le=1)
    scale: float = Field(gt=0, le=1000)
    symmetric: bool
    dropout: float = Field(ge=0, lt=1)
    n_evaluations: int = Field(ge=1, le=1000)
    patience: int = Field(ge=1, le=1000)
    precision: Literal["auto", "fp32", "bf16"]
    threads: int = Field(ge=1, le=1024)


def training_rows(triplets: pl.DataFrame, texts: dict[str, str]) -> Dataset:
    """The trainer's columns: query, positive, negative_1..n (one text each)."""
    columns = {"query": triplets["text"].to_list(), "positive": [texts[id_] for id_ in triplets["document_id"]]}
    negatives = triplets["negative_ids"].to_list()
    for place in range(len(negatives[0])):
        columns[f"negative_{place + 1}"] = [texts[ids[place]] for ids in negatives]
    return Dataset.from_dict(columns)


def batching_of(triplets: pl.DataFrame, cluster_of: dict[str, str], positives: Sequence[str]) -> Rows:
    """What decides which training rows may share a batch."""
    return Rows(
        clusters=triplets["cluster_id"].to_list(),
        negative_clusters=[[cluster_of[id_] for id_ in ids] for ids in triplets["negative_ids"]],
        lengths=[len(text) for text in positives],
    )


def fingerprint(recipe: Recipe, threads: int, files: list[Path]) -> str:
    """What tells this run from every other: its recipe, the bytes it reads, its code, the libraries and the device."""
    code = [
        Path(inspect.getfile(module)) for module in (batches, dev, dev_split, encoders, fitting, sys.modules[__name__])
    ]
    versions = [f"{name}={version(name)}" for name in LIBRARIES]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    digest = hashlib.sha256(repr((recipe, threads, versions, device)).encode())
    for file in sorted(files) + code:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def curve(log: list[dict[str, float]]) -> pl.DataFrame:
    """The training curve: step, training loss since the last logged step, dev nDCG@10 where it was measured."""
    rows: dict[int, dict[str, float]] = {}
    for entry in log:
        row = rows.setdefault(int(entry["step"]), {})
        row |= {name: entry[key] for name, key in (("loss", "loss"), ("dev_ndcg@10", DEV_MEASURE)) if key in entry}
    columns = {name: [row.get(name) for row in rows.values()] for name in ("loss", "dev_ndcg@10")}
    return pl.DataFrame(
        {"step": list(rows)} | columns, schema_overrides={"loss": pl.Float64, "dev_ndcg@10": pl.Float64}
    )


def receipt(rows: Dataset, outcome: Outcome, points: pl.DataFrame, precision: str) -> Receipt:
    """The figures of the run."""
    dev = dict(points.drop_nulls("dev_ndcg@10").select("step", "dev_ndcg@10").iter_rows())
    return {
        "n_rows": len(rows),
        "n_steps": outcome.n_steps,
        "best_step": outcome.best_step,
        "base_dev_ndcg@10": dev.get(0, 0.0),
        "best_dev_ndcg@10": dev.get(outcome.best_step, 0.0),
        "precision": precision,
    }


def train(
    params: TrainParams, base: Path, prepared: Path, mined: Path, dev_split: Path, out: Out, curve_file: Out
) -> Receipt:
    """Fine-tunes the base encoder."""
    torch.set_num_threads(params.threads)
    corpus = read(prepared / "corpus.parquet", CORPUS)
    texts = dict(zip(corpus["document_id"], full_texts(corpus), strict=True))
    triplets = read(mined / "triplets.parquet", TRIPLETS)
    rows = training_rows(triplets, texts)
    batching = batching_of(triplets, dict(corpus.select("document_id", "cluster_id").iter_rows()), rows["positive"])
    precision = encoders.best_precision() if params.precision == "auto" else params.precision
    recipe = Recipe(**params.model_dump(include=set(Recipe.__dataclass_fields__)) | {"precision": precision})
    inputs = [mined / "triplets.parquet", prepared / "corpus.parquet", *dev_split.glob("*.parquet"), *base.rglob("*.*")]
    scratch = SCRATCH / fingerprint(recipe, params.threads, inputs)
    model = encoders.load_torch(base)
    outcome = fitting.fit(model, rows, batching, read_dev(dev_split, texts), recipe, scratch)
    model.save_pretrained(str(out), create_model_card=False)
    (out / "attune.json").write_bytes((base / "attune.json").read_bytes())
    points = curve(outcome.log)
    points.write_csv(curve_file)
    shutil.rmtree(scratch, ignore_errors=True)  # last of all: until here a killed run goes on from its checkpoints
    return receipt(rows, outcome, points, precision)


if __name__ == "__main__":
    run(train)
