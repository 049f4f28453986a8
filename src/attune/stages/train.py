"""Fine-tunes an encoder on the mined triplets, once per seed; dev decides when to stop and which checkpoint is kept.

Never reads a test row: queries come from the mined triplets of the train split, the score from the dev split.
Each seed has a scratch folder of its own, named by a hash of everything the run depends on: a killed stage resumes
where it stopped and keeps the seeds that are finished, and no run continues another one's checkpoints.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import polars as pl
import torch
from datasets import Dataset

from attune.encoding import encoders, launch, processes
from attune.encoding.scratch import code_files, fingerprint
from attune.stage import AfterCommit, Out, Receipt, run
from attune.tables import CORPUS, TRAINING_CURVE, TRIPLETS, full_texts, read, write_csv
from attune.tuning.curve import TrainingResult, training_figures
from attune.tuning.dev import read_dev
from attune.tuning.general_text import read_general_text
from attune.tuning.training import checkpoints
from attune.tuning.training.batches import BatchingKeys
from attune.tuning.training.fit import TrainingData, fit
from attune.tuning.training.forgetting import with_general_rows
from attune.tuning.training.recipe import TrainParams, check_combinations, check_dimensions

SCRATCH = Path("scratch/train")
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


def batching_keys(triplets: pl.DataFrame, cluster_of: Mapping[str, str], positives: Sequence[str]) -> BatchingKeys:
    """Returns the clusters and lengths of the training rows, by which they are put into batches."""
    return BatchingKeys(
        clusters=triplets["cluster_id"].to_list(),
        negative_clusters=[[cluster_of[id_] for id_ in ids] for ids in triplets["negative_ids"]],
        lengths=[len(text) for text in positives],
    )


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
    """Fine-tunes the encoder in `start`, or each seed's encoder there; `base` is the frozen guide and teacher."""
    torch.set_num_threads(params.machine.threads)
    corpus = read(prepared / "corpus.parquet", CORPUS)
    texts = dict(zip(corpus["document_id"], full_texts(corpus), strict=True))
    triplets = read(mined / "triplets.parquet", TRIPLETS)
    columns = training_rows(triplets, texts)
    keys = batching_keys(triplets, dict(corpus.select("document_id", "cluster_id").iter_rows()), columns["positive"])
    check_combinations(params, n_negatives=len(columns) - 2)
    starts = {seed: checkpoints.starting_encoder(start, seed) for seed in params.seeds}
    general = read_general_text(Path(params.general)).train if params.needs_general_text else []
    dev = read_dev(dev_split, texts)
    inputs = [mined / "triplets.parquet", prepared / "corpus.parquet", *dev_split.glob("*.parquet"), *base.rglob("*")]
    inputs += code_files()
    inputs += [Path(params.general)] if general else []
    results, scratches = {}, {}
    for seed, run_params in params.runs().items():
        rows, all_keys = with_general_rows(columns, keys, general, params.general_share, seed)
        data = TrainingData(Dataset.from_dict(rows), all_keys, dev, general)
        scratches[seed] = scratch_of(run_params, {*inputs, *starts[seed].rglob("*")})
        results[seed] = train_seed(run_params, base, starts[seed], data, scratches[seed])
    if not processes.is_rank_0():
        return {}
    write_models(scratches, base, out)
    write_curve(results, curve_file)
    for scratch in scratches.values():
        after.append(partial(checkpoints.remove_scratch, scratch))
    n_rows = len(data.rows)
    sizes = {"n_rows": n_rows, "n_general_rows": n_rows - len(triplets)}
    return sizes | training_figures(results) | {"precision": run_params.precision}


if __name__ == "__main__":
    run(train, launch.call)
