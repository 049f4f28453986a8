"""Encoders that users choose: every supported family, pooling and module goes through the whole export."""

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import write_train_tables
from families import without_rehearsal
from onnx.reference import ReferenceEvaluator
from shipped_params import PANEL
from tiny_encoders import MAX_LENGTH, build
from training import params, task, trained

from attune.encoding.encoders import load_torch
from attune.runtime import Embedder, verify
from attune.stage import call, load_params, sha256_of
from attune.stages.base import BaseParams, base
from attune.stages.export import ExportParams, export
from attune.tuning.interpolation import Interpolation, read_change

pytestmark = pytest.mark.usefixtures("torchlib_is_read_once")
GRID = ("bert", "mpnet", "modernbert", "xlm_r", "distilbert", "qwen3")
POOLINGS = ("mean", "cls", "lasttoken")
TEXTS = ["stack arrays vertically", "", " \t", "Sort the rows by their norm, then look at them. " * 5, "日本", "x" * 99]


def in_half_precision(folder: Path, embedder: Embedder, texts: list[str]) -> np.ndarray:
    """Embeds each text alone by ONNX's reference, which rounds to fp16 after every operator as a GPU may."""
    graph = onnx.load(folder / "onnx" / "model_fp16.onnx")
    onnx.checker.check_model(graph, full_check=True)
    reference, rows = ReferenceEvaluator(graph), embedder.token_ids(texts)
    return np.stack([reference.run(["sentence_embedding"], embedder._features([row]))[0][0] for row in rows])


def tuned(folder: Path, encoder: Path) -> Path:
    """Runs the encoder through stages base and train, two steps; returns the folder of what was tuned."""
    pins = {"model.safetensors": sha256_of(encoder / "model.safetensors")}
    changes = {"folder": str(encoder), "model": "own", "revision": "", "max_length": MAX_LENGTH, "sha256": pins}
    settings = load_params(BaseParams, "base", PANEL).model_copy(update=changes)
    unread = {"corpus": folder / "none", "train": folder / "none"}
    panel = PANEL
    outs = {"out": folder / "brought", "exported": folder / "graph"}
    with without_rehearsal(has_graph=False):  # test_families rehearses with each family, test_layouts has base's graph
        call(base, settings, folder / "base.json", **unread, parameters=panel, **outs)
    inputs = task(folder, folder / "brought")
    # one evaluation, as the task is to be run through, not to be learnt
    _, receipt = trained(folder, inputs, params(max_steps=2, n_evaluations=1, epochs=1), "run")
    assert receipt["n_steps"] == 2
    candidates = (folder / "run" / "candidates" / "5").glob("*.safetensors")
    last = max(candidates, key=lambda file: int(file.stem))  # whether dev takes it or not
    trained_weights = Interpolation(folder / "brought").at(read_change(last), 1.0)
    before, after = load_torch(encoder).state_dict(), trained_weights.state_dict()
    changed = [name for name in after if not after[name].equal(before[name])]
    assert len(changed) > len(after) / 2
    trained_weights.save_pretrained(str(folder / "tuned"), create_model_card=False)
    return folder / "tuned"


def check(folder: Path, family: str, pooling: str, has_prompts: bool, has_dense: bool, is_tuned: bool = False) -> None:
    """Exports an encoder and compares a service's embeddings with torch's; the stage refuses an export that differs."""
    model, out = build(folder, family, pooling, has_prompts, has_dense), folder / "exported"
    model = tuned(folder, model) if is_tuned else model
    settings = load_params(ExportParams, "export", PANEL).model_copy(update={"fp16": True})
    call(export, settings, folder / "export.json", model=model, out=out, **write_train_tables(folder / "tables"))
    receipt = json.loads((folder / "export.json").read_text())
    assert receipt["n_grid_batches"] >= 60 and receipt["fp16_min_cosine"] >= 0.9999
    embedder, encoder = Embedder(out, threads=1), load_torch(model)
    assert embedder.dim == (8 if has_dense else 16)
    for method in ("encode", "encode_query", "encode_document"):
        expected = getattr(encoder, method)(TEXTS, batch_size=1)
        np.testing.assert_allclose(getattr(embedder, method)(TEXTS), expected, atol=2e-6)
    changed = not np.allclose(embedder.encode_query(TEXTS), embedder.encode_document(TEXTS), atol=1e-3)
    assert changed == has_prompts
    verify(out, threads=1)
    half = in_half_precision(out, embedder, TEXTS[:3])
    np.testing.assert_allclose(np.linalg.norm(half, axis=1), 1, atol=1e-6)  # normalised in fp32
    assert (half * encoder.encode(TEXTS[:3], prompt="", batch_size=1)).sum(axis=1).min() > 0.999
    # the folder is the same encoder to sentence-transformers, its Dense layers too
    np.testing.assert_array_equal(load_torch(out).encode(TEXTS, batch_size=1), encoder.encode(TEXTS, batch_size=1))


def remaining() -> Iterator[tuple[str, str, bool, bool]]:
    """Yields the combinations that the quick test leaves out."""
    yield from sorted({*product(GRID, POOLINGS, (False, True), (False, True))} - {*QUICK})


# each family once, each pooling, prompts and dense layers, both with and without
QUICK = (
    ("bert", "cls", True, True),
    ("mpnet", "mean", False, True),
    ("modernbert", "mean", True, False),
    ("xlm_r", "lasttoken", False, False),
    ("distilbert", "mean", True, False),
    ("qwen3", "lasttoken", True, True),
)
TUNED = (QUICK[0], QUICK[-1])  # one of BERT's kind and a decoder, with prompts and dense layers


@pytest.mark.parametrize("kind", QUICK, ids=lambda kind: "-".join(map(str, kind[:2])))
def test_an_encoder_of_any_family_exports_and_equals_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: tuple[str, str, bool, bool]
) -> None:
    """Vectors, prompts, truncation of texts, pooling and dense layers, through the code that services run.

    Two of them are tuned first; test_families trains each family.
    """
    monkeypatch.chdir(tmp_path)
    check(tmp_path, *kind, is_tuned=kind in TUNED)


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(remaining()), ids=lambda kind: "-".join(map(str, kind)))
def test_every_other_combination_exports_too(tmp_path: Path, kind: tuple[str, str, bool, bool]) -> None:
    """6 families x 3 poolings x prompts or none x dense layers or none."""
    check(tmp_path, *kind)
