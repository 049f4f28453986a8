"""Fine-tunes an encoder on the mined triplets, once per seed; dev decides when to stop and which checkpoint is kept.

Never reads a test row: queries come from the mined triplets of the train split, the score from the dev split.
Each seed has an ignored scratch folder of its own, whose name is a hash of everything the run depends on: a killed
stage goes on where it stopped, keeps the seeds that are finished, and no run ever continues another's.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
import torch
from datasets import Dataset
from pydantic import Field, field_validator

from attune.encoding import encoders, launch, processes
from attune.encoding.launch import SharedParams
from attune.encoding.scratch import code_files, fingerprint
from attune.stage import AfterCommit, Out, Receipt, run
from attune.tables import CORPUS, TRAINING_CURVE, TRIPLETS, full_texts, read, write_csv
from attune.tuning.curve import TrainingResult, training_figures
from attune.tuning.dev import read_dev
from attune.tuning.general_text import read_general_text
from attune.tuning.training import checkpoints
from attune.tuning.training import fit as fitting
from attune.tuning.training.batches import Rows
from attune.tuning.training.fit import Material
from attune.tuning.training.forgetting import mixed
from attune.tuning.training.recipe import Recipe, check, check_dimensions

SCRATCH = Path("scratch/train")
LIBRARIES = (
    *("torch", "transformers", "sentence-transformers", "accelerate", "peft", "tokenizers"),
    *("numpy", "datasets", "safetensors"),
)

Seed = Annotated[int, Field(ge=0, lt=2**32)]
Dimension = Annotated[int, Field(ge=1)]


class TrainParams(SharedParams):
    """The recipe of the run, how it is judged as it goes, and how many processes share it."""

    seeds: list[Seed] = Field(min_length=1)
    loss: Literal["mnrl", "cached_mnrl", "gist", "triplet", "contrastive"]
    epochs: int = Field(ge=0, le=100)
    batch_size: int = Field(ge=2, le=65536)
    mini_batch_size: int = Field(ge=0, le=65536)
    learning_rate: float = Field(gt=0, le=1)
    warmup_share: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0, le=1)
    scale: float = Field(gt=0, le=1000)
    symmetric: bool
    guide_margin: float = Field(ge=0, lt=1)
    guide_same_side: bool
    triplet_margin: float = Field(gt=0, le=2)
    contrastive_margin: float = Field(gt=0, le=2)
    matryoshka_dims: list[Dimension]
    lora_rank: int = Field(ge=0, le=1024)
    lora_alpha: float = Field(gt=0, le=4096)
    dropout: float = Field(ge=0, lt=1)
    general: str = Field(min_length=1)
    general_share: float = Field(ge=0, le=0.9)
    distill_weight: float = Field(ge=0, le=1000)
    distill_batch_size: int = Field(ge=1, le=65536)
    n_evaluations: int = Field(ge=1, le=1000)
    patience: int = Field(ge=1, le=1000)
    keep: Literal["best", "last"]

    @field_validator("seeds", "matryoshka_dims")
    @classmethod
    def _none_twice(cls, values: list[int]) -> list[int]:
        if len(set(values)) < len(values):
            raise ValueError("expected none of them twice; remove the second one")
        return values

    def recipes(self) -> dict[int, Recipe]:
        """The recipe of each seed's run."""
        knobs = self.model_dump(include=set(Recipe.__dataclass_fields__))
        knobs["precision"] = encoders.best_precision() if self.machine.precision == "auto" else self.machine.precision
        knobs["matryoshka_dims"] = tuple(self.matryoshka_dims)
        return {seed: Recipe(seed=seed, **knobs) for seed in self.seeds}


def training_rows(triplets: pl.DataFrame, texts: dict[str, str]) -> dict[str, list[str]]:
    """The trainer's columns: query, positive, negative_1..n (one text each)."""
    columns = {"query": triplets["text"].to_list(), "positive": [texts[id_] for id_ in triplets["document_id"]]}
    negatives = triplets["negative_ids"].to_list()
    for place in range(len(negatives[0])):
        columns[f"negative_{place + 1}"] = [texts[ids[place]] for ids in negatives]
    return columns


def batching_of(triplets: pl.DataFrame, cluster_of: dict[str, str], positives: Sequence[str]) -> Rows:
    """What decides which training rows may share a batch."""
    return Rows(
        clusters=triplets["cluster_id"].to_list(),
        negative_clusters=[[cluster_of[id_] for id_ in ids] for ids in triplets["negative_ids"]],
        lengths=[len(text) for text in positives],
    )


def scratch_of(knobs: Recipe, params: SharedParams, inputs: Iterable[Path]) -> Path:
    """Returns the scratch folder of a run, named by a hash of its parameters, libraries and input files.

    Raises:
        BadInput: the first of several processes would do another run than this one.
    """
    files = sorted(path for path in inputs if path.is_file())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    work = (knobs, params.machine.threads, params.processes, device)
    return processes.same_on_all_ranks(SCRATCH / fingerprint(work, LIBRARIES, files))


def run_seed(knobs: Recipe, base: Path, start: Path, material: Material, scratch: Path) -> TrainingResult:
    """Fine-tunes one encoder into its scratch folder, unless an earlier process finished it there."""
    if (done := processes.broadcast(partial(checkpoints.finished, scratch))) is None:
        model = encoders.load_torch(start)
        check_dimensions(knobs, model.get_embedding_dimension())
        frozen = encoders.load_torch(base) if knobs.is_guided else None
        done = fitting.fit(model, frozen, material, knobs, scratch)
        processes.barrier()  # for those that still read a checkpoint, as they are removed now
        if processes.is_rank_0():
            checkpoints.finish(scratch, model, done)
    return done


def write_models(scratches: Mapping[int, Path], base: Path, out: Path) -> None:
    """One encoder per seed, with what the base's folder says of it."""
    for seed, scratch in scratches.items():
        checkpoints.copy_model(scratch, out / str(seed))
        (out / str(seed) / "attune.json").write_bytes((base / "attune.json").read_bytes())


def write_curve(outcomes: Mapping[int, TrainingResult], file: Path) -> None:
    """The training curves, one after another."""
    points = [(seed, *point) for seed, done in outcomes.items() for point in done.curve()]
    write_csv(pl.DataFrame(points, schema=dict(TRAINING_CURVE), orient="row"), file, TRAINING_CURVE)


def train(
    params: TrainParams,
    base: Path,
    start: Path,
    prepared: Path,
    mined: Path,
    dev_split: Path,
    out: Out,
    curve_file: Out,
    after: AfterCommit,
) -> Receipt:
    """Fine-tunes the encoder in `start`, or what each seed left there; `base` is the frozen one, guide and teacher."""
    torch.set_num_threads(params.machine.threads)
    corpus = read(prepared / "corpus.parquet", CORPUS)
    texts = dict(zip(corpus["document_id"], full_texts(corpus), strict=True))
    triplets = read(mined / "triplets.parquet", TRIPLETS)
    columns = training_rows(triplets, texts)
    batching = batching_of(triplets, dict(corpus.select("document_id", "cluster_id").iter_rows()), columns["positive"])
    recipes = params.recipes()
    first = recipes[params.seeds[0]]
    check(first, len(columns) - 2, params.processes)
    starts = {seed: checkpoints.start_of(start, seed) for seed in recipes}
    general = read_general_text(Path(params.general)).train if first.reads_general_text else []
    judge = read_dev(dev_split, texts)
    inputs = [mined / "triplets.parquet", prepared / "corpus.parquet", *dev_split.glob("*.parquet"), *base.rglob("*")]
    inputs += code_files()
    inputs += [Path(params.general)] if general else []
    outcomes, scratches = {}, {}
    for seed, knobs in recipes.items():
        rows, mixed_batching = mixed(columns, batching, general, knobs.general_share, seed)
        material = Material(Dataset.from_dict(rows), mixed_batching, judge, general)
        scratches[seed] = scratch_of(knobs, params, {*inputs, *starts[seed].rglob("*")})
        outcomes[seed] = run_seed(knobs, base, starts[seed], material, scratches[seed])
    if not processes.is_rank_0():
        return {}
    write_models(scratches, base, out)
    write_curve(outcomes, curve_file)
    for scratch in scratches.values():
        after.append(partial(checkpoints.remove, scratch))
    n_rows = len(material.rows)
    sizes = {"n_rows": n_rows, "n_general_rows": n_rows - len(triplets)}
    return sizes | training_figures(outcomes) | {"precision": first.precision}


if __name__ == "__main__":
    run(train, launch.call)
