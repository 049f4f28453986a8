"""A cell of the bench: attune and its rivals on one data set, with some number of training pairs and one seed.

Rivals are the base encoder, the query adapter over its embeddings (stage adapter), and the plain recipe: in-batch
negatives (bench/rivals/trainer_recipes.py) on the same pairs, as many epochs, at the learning rate that is best on dev.
attune runs stages mine, train and merge with the
settings of the data set's folder. All are scored by stage seeds' code, on dev and test over the whole corpus. Every run
is saved under a hash of all that it depends on, so an interrupted bench resumes, and an edit runs only what it touches.

A further rival is one more entry of `rivals` in `Cell.measure`.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import torch
from ruamel.yaml import YAML

from attune.encoding.encoders import TorchEncoder, best_precision
from attune.encoding.scored import Encoder
from attune.encoding.scratch import fingerprint
from attune.errors import BadInput
from attune.retrieval.passages import Passages, read_passages
from attune.stage import all_params, load_params, write_json
from attune.stages.seeds import SeedsParams, load_seed, score_encoder
from attune.tables import CORPUS, SPLIT_QUERIES, read
from attune.tuning.training.recipe import TrainParams
from bench.regret import data as data_sets
from bench.regret.data import SHARED, DataSet
from bench.regret.subset import TRAIN, drawn, link, pairs_by_query
from bench.rivals import trainer_recipes
from bench.rivals.rates import best_rate
from bench.section import ROOT, machine

MEASURE = "ndcg@10"
PLAIN = "in-batch"
STAGES = ("mine@r1", "train@r1", "merge")
ADAPTED = ("adapter", "evaluate@adapter")
SECTIONS = ("mine", "train", "merge", "machine")
LIBRARIES = ("torch", "transformers", "sentence-transformers")
# code that trains the plain recipe, and code that scores
RIVAL_CODE = ("bench/rivals/trainer_recipes", "src/attune/tuning/dev", "src/attune/encoding/encoders")
SCORING_CODE = (
    *("src/attune/stages/seeds", "src/attune/evaluation/scoring/measures", "src/attune/encoding/encoders"),
    *(f"src/attune/retrieval/{name}" for name in ("exact", "grouped", "ndcg", "passages", "ties")),
)
# figures of the receipts of train and merge that a cell keeps
KEPT = {
    "train": ("learning_rate", "epochs", "n_steps", "n_restarts", "n_negatives"),
    "merge": ("step", "n_averaged", "share", "gain_standard_error", "n_candidates"),
}


class Run(NamedTuple):
    """Scores of an encoder.

    Attributes:
        scores: query_id, split (dev, test) and nDCG@10, one row per query.
        figures: what the run reports besides, such as its seconds.
    """

    scores: pl.DataFrame
    figures: dict[str, Any]

    def mean(self, split: str) -> float:
        """Returns the mean nDCG@10 of a split's queries."""
        return float(self.on(split)[MEASURE].mean())  # type: ignore[arg-type]

    def on(self, split: str) -> pl.DataFrame:
        """Returns the rows of a split, sorted by query."""
        return self.scores.filter(pl.col("split") == split).sort("query_id")

    def summary(self) -> dict[str, Any]:
        """Returns the mean scores and the figures."""
        return {f"{split}_{MEASURE}": self.mean(split) for split in ("dev", "test")} | self.figures


def saved(file: Path, measure: Callable[[], Run]) -> Run:
    """Returns the run that is saved in a file; measures and saves it if there is none.

    Processes may save the same run at the same time, such as the base encoder's: each writes files of its own.
    """
    table = file.with_suffix(".parquet")
    if not file.is_file():
        run = measure()
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(f".{os.getpid()}.partial")
        run.scores.write_parquet(partial)
        partial.replace(table)
        write_json(partial, run.figures)
        partial.replace(file)
    return Run(pl.read_parquet(table), json.loads(file.read_text(encoding="utf-8")))


def code_of(names: Sequence[str], root: Path = ROOT) -> list[Path]:
    """Returns the files of attune on which stages depend, as dvc.yaml lists them."""
    listed = YAML(typ="safe").load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    stages = [listed[name.partition("@")[0]] for name in names]
    deps = [path.replace("${programs.tuning}", "stages") for stage in stages for path in stage.get("do", stage)["deps"]]
    paths = {root / path for path in deps if path.startswith("src/")}
    files = {file for path in paths for file in (path.rglob("*.py") if path.is_dir() else [path])}
    return sorted(files)


@dataclass(frozen=True)
class Place:
    """Where the cells of a data set are measured.

    Attributes:
        data: the data set.
        shared: folder of the pipeline with the outputs that the cells share.
        work: folder of the bench, for saved runs and for the pipelines of cells.
        threads: CPU threads of each cell, instead of machine.threads.
    """

    data: DataSet
    shared: Path
    work: Path
    threads: int | None = None

    @cached_property
    def machine(self) -> dict[str, int]:
        """Changed parameters of section machine."""
        return {"threads": self.threads} if self.threads else {}

    @cached_property
    def params(self) -> dict[str, Any]:
        """Parameters of a cell, all sections."""
        params = all_params(self.shared / "params.yaml")
        return {**params, "machine": params["machine"] | self.machine}

    @cached_property
    def passages(self) -> Passages:
        """The documents, as encoders read them."""
        return read_passages(self.prepared, read(self.prepared / "corpus.parquet", CORPUS))

    @cached_property
    def pairs_by_query(self) -> dict[str, int]:
        """Number of pairs of each train query."""
        return pairs_by_query(self.shared / TRAIN)

    @cached_property
    def inputs(self) -> str:
        """Hash of what every system reads: base encoder, documents and splits."""
        texts = [self.prepared / name for name in ("corpus.parquet", "passages.parquet")]
        return fingerprint((), (), [*self._files("models/base", "data/splits"), *texts])

    @cached_property
    def inputs_of_attune(self) -> str:
        """Hash of all that attune reads: also near-domain tasks, other forms, embeddings and general text."""
        general = ROOT / self.params["train"]["general"]  # cells copy it from there
        return fingerprint((), (), [*self._files(*SHARED), general])

    @property
    def prepared(self) -> Path:
        """Folder of the documents."""
        return self.shared / "data/prepared"

    def _files(self, *paths: str) -> list[Path]:
        """Returns the files below folders of the shared pipeline, sorted."""
        return sorted(file for path in paths for file in (self.shared / path).rglob("*") if file.is_file())

    def score(self, encoder: Encoder, figures: dict[str, Any]) -> Run:
        """Scores an encoder on dev and test."""
        scores = score_encoder(encoder, self.passages, self.shared / "data/splits", self.params["machine"]["threads"])
        return Run(scores.select("query_id", "split", MEASURE), figures)


class Cell:
    """One data set, number of pairs and seed."""

    def __init__(self, place: Place, n_pairs: int, seed: int) -> None:
        self.place, self.n_pairs, self.seed = place, n_pairs, seed
        self.name = f"{place.data.name}-{n_pairs or 'all'}-{seed}"
        self.folder = place.work / self.name

    @cached_property
    def mined(self) -> Path:
        """Folder of the cell's pipeline, in which stage mine has run."""
        changes: dict[str, dict[str, Any]] = {"train": {"seeds": [self.seed]}, "machine": dict(self.place.machine)}
        data_sets.copy_pipeline(self.place.shared, self.folder, changes)
        link(self.place.shared, self.folder, self.queries)
        data_sets.stages(self.folder, STAGES[:1], "--single-item", "--no-commit")
        return self.folder

    @cached_property
    def queries(self) -> set[str]:
        """Ids of the train queries."""
        return drawn(self.place.pairs_by_query, self.n_pairs, self.seed)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Parameters of the measured stages, without the seed, which a cell sets."""
        params = {section: dict(self.place.params[section]) for section in SECTIONS}
        params["train"].pop("seeds")
        return params

    @cached_property
    def code(self) -> str:
        """Hash of attune's code and settings in the measured stages."""
        return fingerprint(self.settings, LIBRARIES, code_of(STAGES))

    def base(self) -> Run:
        """Scores the base encoder."""

        def measure() -> Run:
            machine = load_params(SeedsParams, "seeds", self.place.shared / "params.yaml").machine
            encoder = load_seed(self.place.shared / "models/base", machine.model_copy(update=self.place.machine))
            return self.place.score(encoder, {})

        return saved(self._file(f"{self.place.data.name}-base", (), ()), measure)

    def attune(self) -> Run:
        """Mines, trains, merges and scores models/tuned."""

        def measure() -> Run:
            start = time.monotonic()
            folder = self.mined
            for stage in STAGES[1:]:
                data_sets.stages(folder, [stage], "--single-item", "--no-commit")
            figures: dict[str, Any] = {"seconds": round(time.monotonic() - start)}
            for name, keys in KEPT.items():
                receipt = json.loads((folder / f"metrics/{name}.json").read_text(encoding="utf-8"))
                figures |= {key: receipt[key] for key in keys if key in receipt}
            machine = load_params(SeedsParams, "seeds", folder / "params.yaml").machine
            return self.place.score(load_seed(folder / "models/tuned", machine), figures)

        settings = (self.n_pairs, self.seed, self.code, self.place.inputs_of_attune)
        return saved(self._file(f"{self.name}-attune", settings, ()), measure)

    def plain(self, rate: float, epochs: int) -> Run:
        """Trains the plain recipe at a learning rate for as many epochs as attune, and scores its best on dev."""

        def measure() -> Run:
            start = time.monotonic()
            folder, scratch = self.mined, self.folder / "scratch/plain"
            params = load_params(TrainParams, "train", folder / "params.yaml").model_copy(update={"epochs": epochs})
            torch.set_num_threads(params.machine.threads)
            model = trainer_recipes.train_rival(PLAIN, folder, params, self.seed, rate, scratch)
            shutil.rmtree(scratch, ignore_errors=True)
            figures = {"learning_rate": rate, "epochs": epochs, "seconds": round(time.monotonic() - start)}
            return self.place.score(TorchEncoder(model, best_precision(), params.machine.batch_tokens), figures)

        train = self.settings["train"]
        shape = [train[key] for key in ("batch_size", "max_steps", "dropout", "n_dev_documents")]
        if self.place.passages.is_cut:
            shape.append(self.settings["mine"]["positive_passage"])
        settings = (self.n_pairs, self.seed, rate, epochs, shape)
        return saved(self._file(f"{self.name}-plain-{rate:g}", settings, RIVAL_CODE), measure)

    def adapter(self) -> Run:
        """Trains the query adapter on the cell's pairs, and scores it by stage evaluate: no document is encoded."""

        def measure() -> Run:
            start, folder = time.monotonic(), self.mined
            data_sets.stages(folder, ADAPTED, "--single-item", "--no-commit")
            receipt = json.loads((folder / "metrics/query_adapter.json").read_text(encoding="utf-8"))
            figures = {key: receipt[key] for key in ("learning_rate", "kept_step", "is_identity")}
            scores = pl.read_parquet(folder / "data/runs/adapter/scores.parquet")
            kept = scores.filter(pl.col("split").is_in(["dev", "test"])).select("query_id", "split", MEASURE)
            return Run(kept, {"seconds": round(time.monotonic() - start), **figures})

        params = self.place.params
        code = fingerprint([params[name] for name in ("adapter", "evaluate", "machine")], LIBRARIES, code_of(ADAPTED))
        settings = (self.n_pairs, self.seed, code, self.place.inputs_of_attune)
        return saved(self._file(f"{self.name}-adapter", settings, ()), measure)

    def plain_by_rate(self, rate: float | None, epochs: int) -> dict[float, Run]:
        """Returns the plain recipe's runs by learning rate: at the one given, or at those that the search tries."""
        runs: dict[float, Run] = {}

        def dev(rate: float) -> float:
            runs[rate] = self.plain(rate, epochs)
            return runs[rate].mean("dev")

        if rate is None:
            best_rate(dev)
        else:
            dev(rate)
        return dict(sorted(runs.items()))

    def measure(self, rate: float | None = None) -> dict[str, Any]:
        """Runs what is not saved yet; saves and returns the cell's figures, scores per query beside them.

        Args:
            rate: learning rate of the plain recipe; None takes the one that is best on dev.
        """
        own = self.attune()
        epochs = int(own.figures.get("epochs", self.settings["train"]["epochs"]))
        by_rate = self.plain_by_rate(rate, epochs)
        plain = max(by_rate.values(), key=lambda run: run.mean("dev"))
        rivals = {"base": self.base(), "adapter": self.adapter(), "plain": plain}
        stays = self.queries
        figures = {
            **{"data": self.place.data.name, "pairs": self.n_pairs or "all", "seed": self.seed},
            "n_pairs": sum(self.place.pairs_by_query[id_] for id_ in stays),
            "n_queries": len(stays),
            "rivals": {name: run.summary() for name, run in rivals.items()},
            "plain_by_rate": {f"{own:g}": run.summary() for own, run in by_rate.items()},
            "attune": own.summary(),
            "date": datetime.now(UTC).date().isoformat(),
            "machine": machine(),
            "code": self.code,
        }
        file = self.place.work / "cells" / f"{self.name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        self._per_query(rivals | {"attune": own}).write_parquet(file.with_suffix(".parquet"))
        write_json(file, figures)
        shutil.rmtree(self.folder, ignore_errors=True)
        return figures

    def _per_query(self, runs: dict[str, Run]) -> pl.DataFrame:
        """Returns nDCG@10 of each test query by system, and the query's cluster."""
        test = read(self.place.shared / "data/splits/test/queries.parquet", SPLIT_QUERIES)
        table = test.select("query_id", "cluster_id").sort("query_id")
        for name, run in runs.items():
            own = run.on("test").select("query_id", pl.col(MEASURE).alias(name))
            table = table.join(own, on="query_id", how="left", validate="1:1", maintain_order="left")
        if table.null_count().sum_horizontal().item():
            raise BadInput(f"{self.name}: a saved run lacks test queries; remove {self.place.work / 'runs'}")
        return table

    def _file(self, name: str, settings: tuple[object, ...], code: Sequence[str]) -> Path:
        """Returns the file of a run, named by a hash of its settings, data, libraries and code."""
        files = [ROOT / f"{path}.py" for path in (*SCORING_CODE, *code)]
        versions = [version(name) for name in LIBRARIES]
        key = fingerprint((settings, self.place.inputs, versions, best_precision()), (), files)
        return self.place.work / "runs" / f"{name}-{key}.json"
