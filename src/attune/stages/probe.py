"""Scores an encoder on general tasks, which tuning must not harm, and on the user's own tasks.

Base and tuned are scored alike on the same texts. Training and merging may only see other general text
(data/general/practice.jsonl), so no task was trained on or used for a choice. Besides the scores, the embeddings of
the general texts are written for stage drift, each text once.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field, StringConstraints, model_validator

from attune.encoding.encoders import TorchEncoder, best_precision, load_torch
from attune.errors import BadInput
from attune.evaluation.probe import (
    RetrievalData,
    SimilarityData,
    TaskData,
    TaskType,
    read_task,
    score_classification,
    score_clustering,
    score_retrieval,
    score_similarity,
)
from attune.runtime.arrays import Float32, Int64
from attune.stage import Machine, Out, Params, Receipt, run

# Data that dvc.yaml lists as dependencies (a test compares): a task elsewhere could change and leave a stale score.
TRACKED = (
    "data/general/classification.jsonl",
    "data/general/retrieval.jsonl",
    "data/general/similarity.jsonl",
    "data/tasks",
)
SEED = 13  # of the folds and of k-means

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=60)]


class TaskParams(Params):
    """One task: its type, the path of its data, and whether stage drift counts its losses and measures its texts."""

    type: TaskType
    path: str = Field(min_length=1)
    is_counted: bool


class ProbeParams(Params):
    """Tasks, and settings of kNN, cross-validation, k-means and encoding."""

    tasks: dict[Name, TaskParams]
    n_neighbours: int = Field(ge=1, le=1000)
    n_folds: int = Field(ge=2, le=100)
    n_repeats: int = Field(ge=1, le=1000)
    n_runs: int = Field(ge=1, le=1000)
    machine: Machine

    @model_validator(mode="after")
    def _drift_has_texts(self) -> "ProbeParams":
        if not any(task.is_counted for task in self.tasks.values()):
            raise ValueError("no task has is_counted: true, but drift is measured on the texts of those; add one")
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


def read_tasks(params: ProbeParams) -> dict[str, TaskData]:
    """Reads the data of all tasks, by name.

    Raises:
        BadInput: a path is not one that DVC tracks, or its data is missing or malformed.
    """
    for name, task in params.tasks.items():
        path = Path(os.path.normpath(task.path))
        if path.is_absolute() or not any(path.is_relative_to(tracked) for tracked in TRACKED):
            raise BadInput(
                f"advanced.yaml: probe.tasks.{name}.path: got {task.path!r}, expected a path below data/tasks, which "
                "DVC tracks, or a file of the probe in data/general; move the data there"
            )
    return {name: read_task(task.type, Path(task.path), params.n_folds) for name, task in params.tasks.items()}


def score_task(
    params: ProbeParams, kind: TaskType, task: TaskData, queries: Encoded, documents: Encoded
) -> dict[str, float]:
    """Returns the measures of one task, and `n`, its number of queries, pairs or texts."""
    if isinstance(task, RetrievalData):
        scores = score_retrieval(
            queries.of(task.queries), documents.of(task.documents), task.judgments, params.machine.threads
        )
        return scores | {"n": len(task.queries)}
    if isinstance(task, SimilarityData):
        scores = score_similarity(queries.of(task.first), queries.of(task.second), task.scores)
        return scores | {"n": len(task.first)}
    vectors = queries.of(task.texts)
    if kind == "clustering":
        scores = score_clustering(vectors, task.labels, params.n_runs, SEED)
    else:
        settings = params.n_neighbours, params.n_folds, params.n_repeats, SEED
        scores = score_classification(vectors, task.labels, *settings)
    return scores | {"n": len(task.texts)}


def general_space(tasks: Iterable[TaskData], queries: Encoded, documents: Encoded) -> tuple[Float32, Int64]:
    """Returns the space that drift is measured on: each text of the tasks once, and pairs of query and document.

    Args:
        tasks: the counted tasks.
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


def probe(params: ProbeParams, model: Path, out: Out) -> Receipt:
    """Scores an encoder on all tasks; writes general.npy and positives.npy, the space and its pairs for stage drift."""
    torch.set_num_threads(params.machine.threads)
    tasks = read_tasks(params)
    precision = best_precision() if params.machine.precision == "auto" else params.machine.precision
    encoder = TorchEncoder(load_torch(model), precision, params.machine.batch_tokens)
    queries = Encoded(chain.from_iterable(task.queries for task in tasks.values()), encoder.encode_query)
    documents = Encoded(chain.from_iterable(task.documents for task in tasks.values()), encoder.encode_document)
    vectors, pairs = general_space(
        (task for name, task in tasks.items() if params.tasks[name].is_counted), queries, documents
    )
    out.mkdir(parents=True)
    np.save(out / "general.npy", vectors)
    np.save(out / "positives.npy", pairs)
    receipt: dict[str, float | bool] = {"n_general_texts": len(vectors), "n_general_pairs": len(pairs)}
    for name, task in tasks.items():
        scores = score_task(params, params.tasks[name].type, task, queries, documents)
        receipt |= {f"{name}.{key}": value for key, value in scores.items()}
        receipt[f"{name}.is_counted"] = params.tasks[name].is_counted
    return receipt


if __name__ == "__main__":
    run(probe)
