"""Recipes of the sentence-transformers trainer: their score on dev, and early stopping that attune's settings leave."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from shipped_params import PANEL
from transformers import EarlyStoppingCallback

from attune.errors import BadInput
from attune.retrieval.passages import PASSAGES, READ_PASSAGES
from attune.runtime.arrays import Float64
from attune.stage import load_params
from attune.tables import CORPUS, DOCUMENT_IDS, OWN_TEXTS, QRELS, SPLIT_QUERIES, TRIPLETS, Columns, write
from attune.tuning.curve import DEV_MEASURE
from attune.tuning.dev import RetrievalScorer, RetrievalTask
from attune.tuning.training.recipe import TrainParams
from bench.parts import recipe
from bench.rivals import trainer_recipes
from bench.rivals.trainer_recipes import DevEvaluator, train_rival


def test_the_evaluator_of_a_trainer_gives_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of scores 1 and .5, under the name by which the trainer's log has it."""

    def scores(_: RetrievalScorer, model: str) -> Float64:
        assert model == "the encoder"
        return np.array([1.0, 0.5])

    monkeypatch.setattr(RetrievalScorer, "__call__", scores)
    model: Any = "the encoder"
    task = RetrievalTask({"q": "one"}, {"a": ""}, {"q": {"a": 1}})
    assert DevEvaluator(task, "fp32")(model, epoch=1.0) == {DEV_MEASURE.removeprefix("eval_"): 0.75}


class Recorder:
    """Stands for the trainer: keeps the arguments of the last run, and trains nothing."""

    given: dict[str, Any]

    def __init__(self, **given: object) -> None:
        type(self).given = given

    def remove_callback(self, _: object) -> None:
        """Removes nothing."""

    def train(self) -> None:
        """Trains nothing."""


@pytest.mark.parametrize(("n_evaluations", "patience"), [(1, 1), (60, 50)])
def test_evaluations_and_patience_are_the_rivals_own(
    n_evaluations: int, patience: int, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six on dev and a patience of three, with whatever settings attune trains."""
    monkeypatch.setattr(trainer_recipes, "SentenceTransformerTrainer", Recorder)
    changes = {"n_evaluations": n_evaluations, "patience": patience, "epochs": 12}
    params = load_params(TrainParams, "train", finished / "params.yaml").model_copy(update=changes)
    train_rival("in-batch", finished, params, 13, 1e-4, tmp_path)
    arguments = Recorder.given["args"]
    assert arguments.max_steps >= 12
    assert arguments.eval_steps == arguments.save_steps == arguments.max_steps // 6
    (stop,) = [one for one in Recorder.given["callbacks"] if isinstance(one, EarlyStoppingCallback)]
    assert stop.early_stopping_patience == 3


@pytest.fixture
def cut(tiny_encoder: Path, tmp_path: Path) -> Path:
    """A pipeline with four documents of two passages each; training reads the second one of its two answers."""
    folder, ids = tmp_path / "cut", [f"d{place}" for place in range(4)]
    tables: dict[str, tuple[list[Any], Columns]] = {
        "prepared/corpus": ([[id_, "", f"whole {id_}", id_, id_] for id_ in ids], CORPUS),
        "prepared/passages": (
            [[id_, 0, 1, f"{part} of {id_}"] for id_ in ids for part in ("first", "second")],
            PASSAGES,
        ),
        "mined/r1/triplets": ([[f"q{place}", "stack", "", f"d{place}", 1, []] for place in (0, 1)], TRIPLETS),
        "mined/r1/passages": ([["q0", "d0", 1], ["q1", "d1", 1]], READ_PASSAGES),
        "splits/train/documents": ([["d0"], ["d1"], ["d2"]], DOCUMENT_IDS),
        "splits/dev/documents": ([["d3"]], DOCUMENT_IDS),
        "splits/dev/queries": ([["q3", "sort", "c", "q3", "", ""]], SPLIT_QUERIES),
        "splits/dev/qrels": ([["q3", "d3", 1]], QRELS),
        "splits/dev/own_texts": ([], OWN_TEXTS),
    }
    for name, (rows, columns) in tables.items():
        write(pl.DataFrame(rows, schema=dict(columns), orient="row"), folder / f"data/{name}.parquet", columns)
    (folder / "models").mkdir()
    (folder / "models/base").symlink_to(tiny_encoder)
    return folder


def test_rivals_read_the_passages_that_attune_reads(cut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each relevant document the passage that stage mine chose; dev reads all passages of its documents."""
    monkeypatch.setattr(trainer_recipes, "SentenceTransformerTrainer", Recorder)
    params = load_params(TrainParams, "train", PANEL)
    train_rival("in-batch", cut, params, 13, 1e-4, tmp_path)
    assert list(Recorder.given["train_dataset"]["positive"]) == ["second of d0", "second of d1"]
    scorer = Recorder.given["evaluator"].scorer
    assert (scorer.n_documents, len(scorer.documents)) == (4, 8) and scorer.documents[:2] == [
        "first of d0",
        "second of d0",
    ]


def test_negatives_are_not_mined_among_passages(cut: Path, tmp_path: Path) -> None:
    """Another passage of the answer would be a negative: one line says what to leave out."""
    params = load_params(TrainParams, "train", PANEL)
    with pytest.raises(BadInput, match="mined-1 cannot mine among passages; leave it out"):
        train_rival("mined-1", cut, params, 13, 1e-4, tmp_path)


def test_the_made_encoder_counts_with_the_same_parameters_and_code_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another number of epochs, another seed, or code of its own in the folder: stages train and merge run instead."""
    for root in ("own", "today"):
        (tmp_path / root / "src").mkdir(parents=True)
        (tmp_path / root / "src/one.py").write_text("one = 1")
    for name in ("params.yaml", "advanced.yaml"):
        (tmp_path / "own" / name).write_bytes((PANEL.parent / name).read_bytes())
    monkeypatch.setattr(recipe, "ROOT", tmp_path / "today")
    monkeypatch.setattr(recipe.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=0))
    params = load_params(TrainParams, "train", PANEL)
    one_thread = params.model_copy(update={"machine": params.machine.model_copy(update={"threads": 1})})
    folder, (seed, *_) = tmp_path / "own", params.seeds
    assert recipe.is_made(folder, params, seed) and recipe.is_made(folder, one_thread, seed)
    assert not recipe.is_made(folder, params, seed + 1)
    assert not recipe.is_made(folder, params.model_copy(update={"epochs": 1}), seed)
    (folder / "src/one.py").write_text("one = 2")
    assert not recipe.is_made(folder, params, seed)
