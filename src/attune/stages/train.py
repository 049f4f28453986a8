"""Fine-tunes an encoder on the mined triplets, once per seed; dev decides when to stop and which checkpoint is kept.

Never reads a test row: queries come from the mined triplets of the train split, the score from the dev split, searched
among documents of dev and train.
Each seed has a scratch folder of its own, named by a hash of everything the run depends on: a killed stage resumes
where it stopped and keeps the seeds that are finished, and no run continues another one's checkpoints.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import polars as pl
import torch
from datasets import Dataset

from attune.encoding import encoders, launch, processes
from attune.encoding.scratch import code_files, fingerprint
from attune.stage import AfterCommit, Out, Receipt, named, run
from attune.tables import (
    CORPUS,
    DOCUMENT_FORMS,
    QRELS,
    TRAINING_CURVE,
    TRIPLETS,
    form_texts,
    full_texts,
    read,
    write_csv,
)
from attune.tuning.curve import TrainingResult, training_figures
from attune.tuning.dev import read_dev
from attune.tuning.general_text import read_general_text
from attune.tuning.training import checkpoints
from attune.tuning.training.augment import augmented
from attune.tuning.training.batches import batch_fills
from attune.tuning.training.conflicts import BatchingKeys
from attune.tuning.training.fit import TrainingData, fit
from attune.tuning.training.forgetting import with_general_rows
from attune.tuning.training.recipe import TrainParams, check_combinations, check_dimensions

SCRATCH = Path("scratch/train")
LEAST_FILL = 0.9  # mean share of a batch's places that hold a row, below which a warning is printed
LIBRARIES = (
    *("torch", "transformers", "sentence-transformers", "accelerate", "peft", "tokenizers"),
    *("numpy", "datasets", "safetensors"),
)


def training_rows(triplets: pl.DataFrame, texts: dict[str, str]) -> dict[str, list[str]]:
    """Returns the trainer's columns: query, positive, negative_1..n (one text each)."""
    columns = {"query": triplets["text"].to_list(), "positive": [texts[id_] for id_ in triplets["document_id"]]}
    negatives = triplets["negative_ids"].to_list()
    for place in range(len(negatives[0])):
        columns[f"negative_{place + 1}"] = [texts[ids[place]] for ids in negatives]
    return columns


def row_document_ids(triplets: pl.DataFrame) -> dict[str, list[str]]:
    """Returns the id of each row's document by the trainer's columns: positive, negative_1..n."""
    negatives = triplets["negative_ids"].to_list()
    columns = {f"negative_{place + 1}": [ids[place] for ids in negatives] for place in range(len(negatives[0]))}
    return {"positive": triplets["document_id"].to_list()} | columns


def batching_keys(
    triplets: pl.DataFrame, qrels: pl.DataFrame, lengths: Sequence[int], max_pairs_per_query: int
) -> BatchingKeys:
    """Returns the judgments and lengths of the training rows, by which they are put into batches.

    Args:
        triplets: of stage mine, one row per training row.
        qrels: judgments of the train split; those of queries that read the same count for all of them.
        lengths: characters of each row's positive.
        max_pairs_per_query: rows of a query that an epoch draws at most, 0 for all.
    """
    number_of: dict[str, int] = {}  # of documents

    def number(id_: str) -> int:
        return number_of.setdefault(id_, len(number_of))

    queries, near_groups = (_numbers(triplets[name]) for name in ("query_id", "near_group"))
    near_group_of = dict(zip(triplets["query_id"], near_groups, strict=True))
    rows = zip(triplets["document_id"], triplets["negative_ids"].to_list(), strict=True)
    documents = [tuple(number(id_) for id_ in (positive, *negatives)) for positive, negatives in rows]
    relevant: list[set[int]] = [set() for _ in range(1 + max(near_groups))]
    for near_group, (positive, *_) in zip(near_groups, documents, strict=True):
        relevant[near_group].add(positive)
    for query_id, document_id in qrels.filter(pl.col("relevance") > 0).select("query_id", "document_id").iter_rows():
        if query_id in near_group_of:
            relevant[near_group_of[query_id]].add(number(document_id))
    return BatchingKeys(
        queries=queries,
        near_groups=near_groups,
        documents=documents,
        relevance=triplets["relevance"].to_list(),
        lengths=lengths,
        relevant=[frozenset(ids) for ids in relevant],
        max_pairs_per_query=max_pairs_per_query,
    )


def _numbers(ids: pl.Series) -> list[int]:
    """Returns a number from 0 for each id, the same for equal ids, in the order in which they first occur."""
    number_of = {id_: number for number, id_ in enumerate(ids.unique(maintain_order=True))}
    return [number_of[id_] for id_ in ids]


def scratch_of(run_params: TrainParams, inputs: Iterable[Path]) -> Path:
    """Returns the scratch folder of a run, named by a hash of its parameters, device, libraries and input files.

    Raises:
        BadInput: this process would do another run than rank 0.
    """
    files = sorted(path for path in inputs if path.is_file())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return processes.same_on_all_ranks(SCRATCH / fingerprint((run_params, device), LIBRARIES, files))


def train_seed(run_params: TrainParams, base: Path, start: Path, data: TrainingData, scratch: Path) -> TrainingResult:
    """Fine-tunes one encoder into its scratch folder, unless an earlier process finished it there."""
    if (result := processes.broadcast(partial(checkpoints.read_result, scratch))) is None:
        model = encoders.load_torch(start)
        check_dimensions(run_params, model.get_embedding_dimension())
        frozen = encoders.load_torch(base) if run_params.needs_base else None
        result = fit(model, frozen, data, run_params, scratch)
        processes.barrier()  # rank 0 now removes the checkpoints, which others may still read
        if processes.is_rank_0():
            checkpoints.save_finished(scratch, model, result)
    return result


def write_models(scratches: Mapping[int, Path], base: Path, out: Path) -> None:
    """Writes one encoder per seed, with the description that the base's folder holds (attune.json)."""
    for seed, scratch in scratches.items():
        checkpoints.copy_model(scratch, out / str(seed))
        (out / str(seed) / "attune.json").write_bytes((base / "attune.json").read_bytes())


def write_curve(results: Mapping[int, TrainingResult], file: Path) -> None:
    """Writes the training curves of all seeds, one after another."""
    points = [(seed, *point) for seed, result in results.items() for point in result.curve()]
    write_csv(pl.DataFrame(points, schema=dict(TRAINING_CURVE), orient="row"), file, TRAINING_CURVE)


def fill_figures(fills: Sequence[float]) -> dict[str, int | float]:
    """Returns the mean share of a batch's places that hold a row (1 without steps), and the number of unfilled ones."""
    mean = sum(fills) / len(fills) if fills else 1.0
    return {"mean_batch_fill": round(mean, 6), "n_unfilled_batches": sum(fill < 1 for fill in fills)}


def warn_of_unfilled(fills: Sequence[float], batch_size: int) -> None:
    """Prints one line to stderr if batches are far from full."""
    mean = float(fill_figures(fills)["mean_batch_fill"])
    knobs = f"{named('train.batch_size')}, or a smaller {named('mine.n_negatives')}"
    if mean < LEAST_FILL and processes.is_rank_0():
        sys.stderr.write(
            f"attune train: batches hold {mean * batch_size:.1f} of {batch_size} rows on average, as no more are "
            f"negatives of each other; set a smaller {knobs}\n"
        )


def train(
    params: TrainParams,
    base: Path,
    start: Path,
    prepared: Path,
    forms: Path,
    mined: Path,
    train: Path,
    dev_split: Path,
    out: Out,
    curve_file: Out,
    after: AfterCommit,
) -> Receipt:
    """Fine-tunes the encoder in `start`, or each seed's encoder there; `base` is the frozen guide and teacher."""
    torch.set_num_threads(params.machine.threads)
    corpus = read(prepared / "corpus.parquet", CORPUS)
    texts = dict(zip(corpus["document_id"], full_texts(corpus), strict=True))
    triplets = read(mined / "triplets.parquet", TRIPLETS)
    columns, document_ids = training_rows(triplets, texts), row_document_ids(triplets)
    lengths = [len(text) for text in columns["positive"]]
    keys = batching_keys(triplets, read(train / "qrels.parquet", QRELS), lengths, params.max_pairs_per_query)
    other_forms = form_texts(read(forms, DOCUMENT_FORMS), corpus)
    check_combinations(params, n_negatives=len(columns) - 2)
    starts = {seed: checkpoints.starting_encoder(start, seed) for seed in params.seeds}
    general = read_general_text(Path(params.general)).train if params.needs_general_text else []
    dev = read_dev(dev_split, texts, train / "documents.parquet", params.n_dev_documents)
    inputs = [mined / "triplets.parquet", prepared / "corpus.parquet", forms, *base.rglob("*")]
    inputs += [train / "qrels.parquet", train / "documents.parquet", *dev_split.glob("*.parquet"), *code_files()]
    inputs += [Path(params.general)] if general else []
    results, scratches = {}, {}
    fills: list[float] = []
    for seed, run_params in params.runs().items():
        rows = augmented(columns, document_ids, other_forms, params.typed_query_share, params.other_form_share, seed)
        own_keys = replace(keys, lengths=[len(text) for text in rows["positive"]])
        rows, own_keys = with_general_rows(rows, own_keys, general, params.general_share, seed)
        data = TrainingData(Dataset.from_dict(rows), own_keys, dev, general)
        scratches[seed] = scratch_of(run_params, {*inputs, *starts[seed].rglob("*")})
        fills_of = partial(batch_fills, own_keys, params.batch_size, seed)
        if seed == params.seed:
            warn_of_unfilled(fills_of(min(1, params.epochs) * own_keys.n_batches(params.batch_size)), params.batch_size)
        results[seed] = train_seed(run_params, base, starts[seed], data, scratches[seed])
        fills += fills_of(results[seed].n_steps)
    if not processes.is_rank_0():
        return {}
    write_models(scratches, base, out)
    write_curve(results, curve_file)
    for scratch in scratches.values():
        after.append(partial(checkpoints.remove_scratch, scratch))
    sizes = {
        "n_rows": len(data.rows),
        "n_general_rows": len(data.rows) - len(triplets),
        "n_rows_per_epoch": own_keys.n_rows_per_epoch,
    }
    return sizes | fill_figures(fills) | training_figures(results) | {"precision": run_params.precision}


if __name__ == "__main__":
    run(train, launch.call)
