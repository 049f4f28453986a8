"""Probes an encoder with general tasks, which tuning must not harm, and with the user's own.

Base and tuned are scored alike on the same texts. What training or merge may see of general text is elsewhere
(data/general/practice.jsonl), so nothing here was trained on or chosen by. Besides the scores, the embeddings of the
general texts are left for stage drift, each text once.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, StringConstraints, model_validator

from attune.encoding.encoders import TorchEncoder, best_precision, load_torch
from attune.errors import BadInput
from attune.evaluation import probe as tasks
from attune.evaluation.probe import Retrieval, Similarity, Task, Type, read_task
from attune.stage import Machine, Out, Params, Receipt, run

# What dvc.yaml lists (a test compares): a task elsewhere could change and its scores would look fresh.
TRACKED = (
    "data/general/classification.jsonl",
    "data/general/retrieval.jsonl",
    "data/general/similarity.jsonl",
    "data/tasks",
)

Vectors = NDArray[np.float32]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=60)]


class TaskParams(Params):
    """One task: its type, where its data is, and whether drift counts a loss there, and measures on its texts."""

    type: Type
    path: str = Field(min_length=1)
    is_counted: bool


class ProbeParams(Params):
    """The tasks, how their texts are encoded and how labels are told from embeddings."""

    tasks: dict[Name, TaskParams]
    n_neighbours: int = Field(ge=1, le=1000)
    n_folds: int = Field(ge=2, le=100)
    n_repeats: int = Field(ge=1, le=1000)
    n_runs: int = Field(ge=1, le=1000)
    seed: int = Field(ge=0, lt=2**31)
    machine: Machine

    @model_validator(mode="after")
    def _drift_has_texts(self) -> "ProbeParams":
        if not any(task.is_counted for task in self.tasks.values()):
            raise ValueError("no task has is_counted: true, but drift is measured on the texts of those; add one")
        return self


class Encoded:
    """Distinct texts and their embeddings, (n texts, dim), by text."""

    def __init__(self, texts: Iterable[str], encode: Callable[[Sequence[str]], Vectors]) -> None:
        self.row = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        # an encoder makes no batch of nothing
        self.vectors = encode(list(self.row)) if self.row else np.empty((0, 0), np.float32)

    def of(self, texts: Sequence[str]) -> Vectors:
        """The embeddings of some texts, in their order."""
        return self.vectors[[self.row[text] for text in texts]]


def read_tasks(params: ProbeParams) -> dict[str, Task]:
    """The data of all tasks, by name.

    Raises:
        BadInput: a path is not one that DVC tracks, or its data is missing or malformed.
    """
    for name, task in params.tasks.items():
        path = Path(os.path.normpath(task.path))
        if path.is_absolute() or not any(path.is_relative_to(tracked) for tracked in TRACKED):
            raise BadInput(
                f"params.yaml: probe.tasks.{name}.path: got {task.path!r}, expected a path below data/tasks, which DVC "
                "tracks, or a file of the probe in data/general; move the data there"
            )
    return {name: read_task(task.type, Path(task.path), params.n_folds) for name, task in params.tasks.items()}


def scores(params: ProbeParams, kind: Type, task: Task, queries: Encoded, documents: Encoded) -> dict[str, float]:
    """The measures of one task, by name, and of how many queries, pairs or texts they are."""
    if isinstance(task, Retrieval):
        found = tasks.retrieval(
            queries.of(task.queries), documents.of(task.documents), task.judgments, params.machine.threads
        )
        return found | {"n": len(task.queries)}
    if isinstance(task, Similarity):
        found = tasks.similarity(queries.of(task.first), queries.of(task.second), task.scores)
        return found | {"n": len(task.first)}
    vectors = queries.of(task.texts)
    if kind == "clustering":
        found = tasks.clustering(vectors, task.labels, params.n_runs, params.seed)
    else:
        settings = params.n_neighbours, params.n_folds, params.n_repeats, params.seed
        found = tasks.classification(vectors, task.labels, *settings)
    return found | {"n": len(task.texts)}


def general_space(tasks: Iterable[Task], queries: Encoded, documents: Encoded) -> tuple[Vectors, NDArray[np.int64]]:
    """What drift is measured on: each text of the tasks once, and the pairs of a query and its answer as rows.

    Returns:
        Embeddings (n texts, dim), a text that is both query and document as query; rows (n pairs, 2).
    """
    tasks = list(tasks)
    asked = dict.fromkeys(chain.from_iterable(task.queries for task in tasks))
    found = [text for text in dict.fromkeys(chain.from_iterable(task.documents for task in tasks)) if text not in asked]
    row = {text: n for n, text in enumerate([*asked, *found])}
    pairs = [pair for task in tasks if isinstance(task, Retrieval) for pair in task.positives()]
    vectors = np.concatenate([queries.of(list(asked)), documents.of(found)]) if found else queries.of(list(asked))
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
        (t for name, t in tasks.items() if params.tasks[name].is_counted), queries, documents
    )
    out.mkdir(parents=True)
    np.save(out / "general.npy", vectors)
    np.save(out / "positives.npy", pairs)
    receipt: dict[str, float | bool] = {"n_general_texts": len(vectors), "n_general_pairs": len(pairs)}
    for name, task in tasks.items():
        found: Mapping[str, float] = scores(params, params.tasks[name].type, task, queries, documents)
        receipt |= {f"{name}.{key}": value for key, value in found.items()}
        receipt[f"{name}.is_counted"] = params.tasks[name].is_counted
    return receipt


if __name__ == "__main__":
    run(probe)
