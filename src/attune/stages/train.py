"""Fine-tunes an encoder on the mined triplets, once per seed; keeps every evaluated checkpoint for merge's choice.

The first seed finds the learning rate (train.learning_rate: auto) by short runs; all seeds train at it. Dev decides
when a run stops. Never reads a test row: queries come from the mined triplets of the train split, the score from the
dev split, searched among documents of dev and train.
Each seed has a scratch folder of its own, named by a hash of everything the run depends on: a killed stage resumes
where it stopped and keeps the seeds that are finished, and no run continues another one's checkpoints.
"""

import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import torch
from datasets import Dataset

from attune.encoding import launch, processes
from attune.encoding.scratch import code_files, fingerprint
from attune.encoding.torch_threads import set_torch_threads
from attune.plots import RATES, TRAINING_CURVE, write_csv
from attune.retrieval.passages import read_as, read_passages
from attune.stage import AfterCommit, Out, Receipt, named, run
from attune.tables import CORPUS, DOCUMENT_FORMS, OWN_TEXTS, QRELS, TRIPLETS, form_texts, full_texts, read
from attune.tuning.candidates import CANDIDATES, write_candidates, write_sample
from attune.tuning.curve import TrainingResult, rate_rows, training_figures
from attune.tuning.dev import RetrievalScorer, RetrievalTask, read_dev
from attune.tuning.general_text import Pair, read_general_text
from attune.tuning.interpolation import Interpolation, read_change
from attune.tuning.training import checkpoints
from attune.tuning.training.augment import augmented
from attune.tuning.training.batches import batch_fills
from attune.tuning.training.conflicts import BatchingKeys
from attune.tuning.training.evaluations import DevScoring, change_at
from attune.tuning.training.fit import TrainingData
from attune.tuning.training.forgetting import with_general_rows
from attune.tuning.training.grouping import reachable_share
from attune.tuning.training.rates import DOCUMENTS_SHARE, SHARES
from attune.tuning.training.recipe import TrainParams, check_combinations
from attune.tuning.training.rows import batching_keys, row_document_ids, training_rows
from attune.tuning.training.runs import SeedResult, SeedRuns

SCRATCH = Path("scratch/train")
LEAST_FILL = 0.9  # mean share of a batch's places that hold a row, below which a warning is printed
LIBRARIES = (
    *("torch", "transformers", "sentence-transformers", "accelerate", "peft", "tokenizers"),
    *("numpy", "datasets", "safetensors"),
)


def scratch_of(run_params: TrainParams, inputs: Iterable[Path]) -> Path:
    """Returns the scratch folder of a run, named by a hash of its parameters, device, libraries and input files.

    Raises:
        BadInput: this process would do another run than rank 0.
    """
    files = sorted(path for path in inputs if path.is_file())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return processes.same_on_all_ranks(SCRATCH / fingerprint((run_params, device), LIBRARIES, files))


def write_encoder(start: Path, base: Path, folder: Path, own: SeedResult) -> None:
    """Writes the encoder that is best on dev, with the description that the base's folder holds (attune.json).

    It is loaded anew: the tokenizer of one that has scored would be saved with what it was last called with, which a
    resumed run may not have called.
    """
    step, share = own.result.kept
    if step == 0 and share in (0, 1):
        shutil.copytree(start if share else base, folder, copy_function=shutil.copyfile)
    else:
        change = read_change(change_at(own.folder, step))
        Interpolation(base).at(change, share).save_pretrained(str(folder), create_model_card=False)
    (folder / "attune.json").write_bytes((base / "attune.json").read_bytes())


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


@dataclass(frozen=True)
class Inputs:
    """Inputs of stage train that all seeds share.

    Attributes:
        columns: of the training rows, from `training_rows`.
        document_ids: of the rows' documents, by column.
        keys: of the rows.
        other_forms: text in its other form by document id; of documents that are not cut into passages.
        general: general text to train on.
        dev: tasks on dev: of a run, and of a probe.
        n_sampled: documents that a run's task holds beside dev's own.
        interpolation: of the base.
        files: of all of these, which name the scratch folder.
    """

    columns: dict[str, list[str]]
    document_ids: dict[str, list[str]]
    keys: BatchingKeys
    other_forms: dict[str, str]
    general: list[Pair]
    dev: tuple[RetrievalTask, RetrievalTask]
    n_sampled: int
    interpolation: Interpolation
    files: frozenset[Path]

    def runs(self, params: TrainParams, base: Path, start: Path) -> SeedRuns:
        """Returns the runs of one seed.

        Args:
            params: of this seed alone.
            base: folder of the base encoder.
            start: folder of the encoder that this seed starts from.
        """
        shares = (params.typed_query_share, params.other_form_share)
        rows = augmented(self.columns, self.document_ids, self.other_forms, *shares, params.seed)
        keys = replace(self.keys, lengths=[len(text) for text in rows["positive"]])
        rows, keys = with_general_rows(rows, keys, self.general, params.general_share, params.seed)
        data = TrainingData(Dataset.from_dict(rows), keys, self.general)
        if data.n_negatives and params.takes_negatives_from_batch(reachable_share(self.keys.documents)):
            data = data.with_negatives_in_batch()
        dev, probe_dev = (RetrievalScorer(task, params.precision) for task in self.dev)
        return SeedRuns(
            params=params,
            base=base,
            start=start,
            data=data,
            dev=DevScoring(self.interpolation, dev, params.scored_shares),
            probe_dev=DevScoring(self.interpolation, probe_dev, SHARES),
            scratch=scratch_of(params, {*self.files, *start.rglob("*")}),
        )


def read_inputs(
    params: TrainParams, base: Path, prepared: Path, forms: Path, mined: Path, train: Path, dev_split: Path
) -> Inputs:
    """Reads the inputs that all seeds share, and refuses parameters that cannot work with them."""
    corpus = read(prepared / "corpus.parquet", CORPUS)
    texts = dict(zip(corpus["document_id"], full_texts(corpus), strict=True))
    triplets = read(mined / "triplets.parquet", TRIPLETS)
    passages = read_passages(prepared, corpus).of_documents()
    columns = training_rows(triplets, texts, read_as(mined, passages))
    lengths = [len(text) for text in columns["positive"]]
    check_combinations(params, n_negatives=len(columns) - 2)
    general = read_general_text(Path(params.general)).train if params.needs_general_text else []
    files = [mined / "triplets.parquet", mined / "passages.parquet", forms, *base.rglob("*")]
    files += [prepared / "corpus.parquet", prepared / "passages.parquet"]
    of_train = [train / f"{name}.parquet" for name in ("qrels", "own_texts", "documents")]
    files += [*of_train, *dev_split.glob("*.parquet"), *code_files()]
    forms_of = form_texts(read(forms, DOCUMENT_FORMS), corpus)
    judged, own_texts = read(train / "qrels.parquet", QRELS), read(train / "own_texts.parquet", OWN_TEXTS)
    keys = batching_keys(triplets, judged, own_texts, lengths, params.max_pairs_per_query)
    n_sampled = params.n_sampled_documents(keys.n_batches(params.batch_size))
    dev, probe_dev = (
        read_dev(dev_split, texts, train / "documents.parquet", n, passages)
        for n in (n_sampled, round(n_sampled * DOCUMENTS_SHARE))
    )
    return Inputs(
        columns=columns,
        document_ids=row_document_ids(triplets),
        keys=keys,
        other_forms={id_: text for id_, text in forms_of.items() if len(passages.get(id_, [])) <= 1},
        general=general,
        dev=(dev, probe_dev),
        n_sampled=n_sampled,
        interpolation=Interpolation(base),
        files=frozenset([*files, Path(params.general)] if general else files),
    )


def train_seeds(
    params: TrainParams, inputs: Inputs, base: Path, starts: Mapping[int, Path]
) -> tuple[dict[int, SeedRuns], dict[int, SeedResult], list[dict[str, Any]]]:
    """Trains all seeds, the first one after probes of the learning rate, where it is to be found.

    Returns:
        Runs and results by seed, and the rows of metrics/plots/rates.csv.
    """
    runs: dict[int, SeedRuns] = {}
    results: dict[int, SeedResult] = {}
    rows: list[dict[str, Any]] = []
    for seed, own in params.runs(base).items():
        if results:  # the first seed has found the rate
            own = own.model_copy(update={"learning_rate": results[params.seed].result.learning_rate})  # noqa: PLW2901
        runs[seed] = inputs.runs(own, base, starts[seed])
        if results and results[params.seed].data.hard_negatives == "none":  # the first seed was better without them
            runs[seed] = replace(runs[seed], data=runs[seed].data.without_negatives())
        if seed == params.seed:
            n_in_pass = min(runs[seed].n_steps, runs[seed].data.keys.n_batches(params.batch_size))
            keys = runs[seed].data.keys
            warn_of_unfilled(batch_fills(keys, params.batch_size, seed, n_in_pass), params.batch_size)
        probes = runs[seed].probes()
        rate = runs[seed].settled_rate(probes)
        rows += rate_rows(probes, rate)
        results[seed] = runs[seed].train(rate)
    return runs, results, rows


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
    rates_file: Out,
    after: AfterCommit,
) -> Receipt:
    """Fine-tunes the encoder in `start`, or each seed's encoder there; `base` is the frozen guide and teacher."""
    set_torch_threads(params.machine.threads)
    inputs = read_inputs(params, base, prepared, forms, mined, train, dev_split)
    starts = {seed: checkpoints.starting_encoder(start, seed) for seed in params.seeds}
    runs, results, rates = train_seeds(params, inputs, base, starts)
    if not processes.is_rank_0():
        return {}
    for seed, own in results.items():
        write_encoder(starts[seed], base, out / str(seed), own)
        changes = {one.step: change_at(own.folder, one.step) for one in own.result.evaluations}
        query_ids = runs[seed].dev.scorer.query_ids
        write_candidates(own.result.evaluations, changes, query_ids, out / CANDIDATES / str(seed))
        after.append(partial(checkpoints.remove_scratch, runs[seed].scratch))
    write_sample(inputs.n_sampled, out)
    write_curve({seed: own.result for seed, own in results.items()}, curve_file)
    write_csv(pl.DataFrame(rates, schema=dict(RATES)), rates_file, RATES)
    data = runs[params.seed].data
    return {
        "n_rows": len(data.rows),
        "n_general_rows": len(data.rows) - len(inputs.columns["query"]),
        "n_rows_per_epoch": data.keys.n_rows_per_epoch,
        **fill_figures(fills_of(results, params.batch_size)),
        **training_figures({seed: own.result for seed, own in results.items()}),
        "n_restarts": results[params.seed].n_restarts,
        "n_discarded_scores": results[params.seed].n_discarded_scores,
        "n_negatives": results[params.seed].data.n_negatives,
        "hard_negatives": results[params.seed].data.hard_negatives,
        "is_tried_without_negatives": results[params.seed].is_tried_without,
        "precision": runs[params.seed].params.precision,
    }


def fills_of(results: Mapping[int, SeedResult], batch_size: int) -> list[float]:
    """Returns the share of places that hold a row, of each step of all seeds' runs."""
    fills = [batch_fills(own.data.keys, batch_size, seed, own.result.n_steps) for seed, own in results.items()]
    return [fill for own in fills for fill in own]


if __name__ == "__main__":
    run(train, launch.call)
