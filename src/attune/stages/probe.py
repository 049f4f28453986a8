"""Scores an encoder on general tasks, which tuning must not harm, on tasks near the domain, and on the user's own.

Base and tuned are scored alike on the same texts. Training and merging may only see other general text
(data/general/practice.jsonl), so no task was trained on or used for a choice; merge chooses by the dev queries of the
near-domain tasks, and their test queries are scored here. Besides the scores, two things are written for stage drift:
each item's value on the counted tasks, and the embeddings of the general texts, each text once.

The query adapter and the static encoder embed queries for the same documents, so they are scored on the counted
retrieval tasks, too. A task that compares texts of one kind (similarity, topics) has no query: a service embeds both
sides by the encoder itself, and loses nothing there. A map of one of the two sides would be a misuse of it.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field, StringConstraints, model_validator

from attune.encoding.scored import load_encoder, way_of
from attune.errors import BadInput
from attune.evaluation.probe import RetrievalData, SimilarityData, TaskData, TaskType, read_task
from attune.evaluation.task_scores import (
    TaskScores,
    score_classification,
    score_clustering,
    score_retrieval,
    score_similarity,
)
from attune.runtime.adapter import ADAPTER, QueryAdapter
from attune.runtime.arrays import Float32, Int64
from attune.runtime.manifest import read_manifest
from attune.runtime.static import StaticEncoder, is_on
from attune.stage import Machine, Out, Params, Receipt, run
from attune.tables import PROBE_ITEMS, write

# Data that dvc.yaml lists as dependencies (a test compares): a task elsewhere could change and leave a stale score.
TRACKED = (
    "data/general/classification.jsonl",
    "data/general/retrieval.jsonl",
    "data/general/similarity.jsonl",
    "data/tasks",
)
SEED = 13  # of the folds and of k-means
NEAR = "near_"  # begins the names of the tasks of data/near_domain

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=60)]


class TaskParams(Params):
    """A task of the parameters.

    Attributes:
        type: of the task.
        path: of its data.
        counts_as: general (stage drift counts a loss there, and measures the space on its texts), near_domain (stage
            drift counts a loss there), or nothing (scored only).
    """

    type: TaskType
    path: str = Field(min_length=1)
    counts_as: Literal["general", "near_domain", "nothing"]


class ProbeParams(Params):
    """Tasks, and settings of kNN, cross-validation, k-means and encoding."""

    tasks: dict[Name, TaskParams]
    n_neighbours: int = Field(ge=1, le=1000)
    n_folds: int = Field(ge=2, le=100)
    n_repeats: int = Field(ge=1, le=1000)
    n_runs: int = Field(ge=1, le=1000)
    machine: Machine

    @model_validator(mode="after")
    def _drift_has_texts_and_items(self) -> "ProbeParams":
        if not any(task.counts_as == "general" for task in self.tasks.values()):
            raise ValueError("no task has counts_as: general, but drift is measured on the texts of those; add one")
        for name, task in self.tasks.items():
            if task.type == "clustering" and task.counts_as != "nothing":
                raise ValueError(
                    f"tasks.{name}: got counts_as: {task.counts_as}, expected nothing: a clustering has no score per "
                    "text, so the interval of its change is unknown"
                )
            if name.startswith(NEAR):
                raise ValueError(f"tasks.{name}: {NEAR}* are the tasks of data/near_domain; choose another name")
        return self


class Encoded:
    """Distinct texts and their embeddings, (n texts, dim), by text."""

    def __init__(self, texts: Iterable[str], encode: Callable[[Sequence[str]], Float32]) -> None:
        self.row = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        # an encoder refuses an empty batch
        self.vectors = encode(list(self.row)) if self.row else np.empty((0, 0), np.float32)

    def of(self, texts: Sequence[str]) -> Float32:
        """Returns the (n texts, dim) embeddings of some of the texts, in their order."""
        return self.vectors[[self.row[text] for text in texts]]


@dataclass(frozen=True)
class Task:
    """A task that is scored: its type, what it counts as, and its data."""

    type: TaskType
    counts_as: str
    data: TaskData


def read_tasks(params: ProbeParams, near_domain: Path) -> dict[str, Task]:
    """Reads the data of all tasks, by name: those of the parameters, then a retrieval task per folder of near_domain.

    Raises:
        BadInput: a path is not one that DVC tracks, or the data of a task is missing or malformed.
    """
    for name, task in params.tasks.items():
        path = Path(os.path.normpath(task.path))
        if path.is_absolute() or not any(path.is_relative_to(tracked) for tracked in TRACKED):
            raise BadInput(
                f"advanced.yaml: probe.tasks.{name}.path: got {task.path!r}, expected a path below data/tasks, which "
                "DVC tracks, or a file of the probe in data/general; move the data there"
            )
    if not near_domain.is_dir():
        raise BadInput(f"{near_domain}: not found, expected a folder per near-domain task; run `dvc repro` to make it")
    own = {
        name: Task(task.type, task.counts_as, read_task(task.type, Path(task.path), params.n_folds))
        for name, task in params.tasks.items()
    }
    folders = sorted(path for path in near_domain.iterdir() if path.is_dir())
    return own | {
        f"{NEAR}{folder.name}": Task("retrieval", "near_domain", read_task("retrieval", folder, 1))
        for folder in folders
    }


def score_task(params: ProbeParams, task: Task, queries: Encoded, documents: Encoded) -> TaskScores:
    """Returns the measures of one task and the values of its items."""
    data = task.data
    if isinstance(data, RetrievalData):
        return score_retrieval(
            queries.of(data.queries), documents.of(data.documents), data.judgments, params.machine.threads
        )
    if isinstance(data, SimilarityData):
        return score_similarity(queries.of(data.first), queries.of(data.second), data.scores)
    vectors = queries.of(data.texts)
    if task.type == "clustering":
        return score_clustering(vectors, data.labels, params.n_runs, SEED)
    settings = params.n_neighbours, params.n_folds, params.n_repeats, SEED
    return score_classification(vectors, data.labels, *settings)


def items_table(tasks: Mapping[str, Task], scores: Mapping[str, TaskScores]) -> pl.DataFrame:
    """Returns a row per item of each counted task, in the order of the data, as PROBE_ITEMS."""
    frames = [pl.DataFrame(schema=dict(PROBE_ITEMS))]
    for name, task in tasks.items():
        values = scores[name].values
        if task.counts_as == "nothing" or values is None:
            continue
        items, clusters = zip(*task.data.items(), strict=True)
        grades = task.data.scores if isinstance(task.data, SimilarityData) else [None] * len(items)
        columns = {"item": items, "cluster": clusters, "value": values, "grade": grades}
        frame = pl.DataFrame(columns, schema_overrides={"grade": pl.Float64})
        constants = pl.lit(name).alias("task"), pl.lit(next(iter(scores[name].measures))).alias("measure")
        frames.append(frame.with_columns(constants).select(list(PROBE_ITEMS)))
    return pl.concat(frames)


def query_sides(adapter: Path, static: Path, queries: Encoded, texts: Iterable[str]) -> dict[str, Encoded]:
    """Returns what else embeds queries for the encoder's documents, by name; what is not there or off is left out.

    Args:
        adapter: folder that may hold a query adapter.
        static: folder of the static encoder, which may be off.
        queries: the encoder's own embeddings.
        texts: of the queries.
    """
    sides: dict[str, Encoded] = {}
    texts = list(dict.fromkeys(texts))
    if texts and ADAPTER in read_manifest(adapter).files:
        sides["adapter"] = Encoded(texts, lambda own: QueryAdapter(adapter, 1)(queries.of(own)))
    if texts and is_on(static):
        sides["static"] = Encoded(texts, StaticEncoder(static).encode_query)
    return sides


def general_space(tasks: Iterable[TaskData], queries: Encoded, documents: Encoded) -> tuple[Float32, Int64]:
    """Returns the space that drift is measured on: each text of the tasks once, and pairs of query and document.

    Args:
        tasks: the general tasks.
        queries: their texts encoded as queries.
        documents: their texts encoded as documents.

    Returns:
        Embeddings (n texts, dim), a text that is both query and document as a query; rows (n pairs, 2).
    """
    tasks = list(tasks)
    query_texts = dict.fromkeys(chain.from_iterable(task.queries for task in tasks))
    document_texts = dict.fromkeys(chain.from_iterable(task.documents for task in tasks))
    only_documents = [text for text in document_texts if text not in query_texts]
    row = {text: n for n, text in enumerate([*query_texts, *only_documents])}
    pairs = [pair for task in tasks if isinstance(task, RetrievalData) for pair in task.positives()]
    vectors = queries.of(list(query_texts))
    if only_documents:
        vectors = np.concatenate([vectors, documents.of(only_documents)])
    return vectors, np.array([(row[q], row[d]) for q, d in pairs], dtype=np.int64).reshape(-1, 2)


def probe(
    params: ProbeParams,
    system: str,
    model: Path,
    exported: Path,
    adapter: Path,
    static: Path,
    near_domain: Path,
    out: Out,
) -> Receipt:
    """Scores base or tuned on all tasks; writes items.parquet, general.npy and positives.npy for stage drift.

    Beside these, adapter.parquet and static.parquet: items of the counted retrieval tasks, none where that is off.
    """
    tasks = read_tasks(params, near_domain)
    encoder = load_encoder(system, way_of(system, model, params.machine), model, exported, params.machine)
    queries = Encoded(chain.from_iterable(task.data.queries for task in tasks.values()), encoder.encode_query)
    documents = Encoded(chain.from_iterable(task.data.documents for task in tasks.values()), encoder.encode_document)
    general = (task.data for task in tasks.values() if task.counts_as == "general")
    vectors, pairs = general_space(general, queries, documents)
    scores = {name: score_task(params, task, queries, documents) for name, task in tasks.items()}
    out.mkdir(parents=True)
    np.save(out / "general.npy", vectors)
    np.save(out / "positives.npy", pairs)
    write(items_table(tasks, scores), out / "items.parquet", PROBE_ITEMS)
    found = {name: task for name, task in tasks.items() if task.type == "retrieval" and task.counts_as != "nothing"}
    sides = query_sides(adapter, static, queries, chain.from_iterable(task.data.queries for task in found.values()))
    for side in ("adapter", "static"):
        own = found if side in sides else {}
        of_side = {name: score_task(params, task, sides[side], documents) for name, task in own.items()}
        write(items_table(own, of_side), out / f"{side}.parquet", PROBE_ITEMS)
    receipt: dict[str, float | str] = {"n_general_texts": len(vectors), "n_general_pairs": len(pairs)}
    for name, task in tasks.items():
        receipt |= {f"{name}.{measure}": value for measure, value in scores[name].measures.items()}
        receipt |= {f"{name}.n": len(task.data.items()), f"{name}.counts_as": task.counts_as}
    return receipt


if __name__ == "__main__":
    run(probe)
