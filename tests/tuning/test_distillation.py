"""Distillation: the base's embeddings are the target, the step decides on the texts, and the encoder stays nearer."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import build_tiny_encoder
from sentence_transformers import SentenceTransformer
from training import params, run_params, task, trained

from attune.encoding.encoders import load_torch
from attune.errors import BadInput
from attune.tuning.general_text import Pair, read_general_text
from attune.tuning.training.forgetting import WithDistillation, sample_texts, teacher_embeddings
from attune.tuning.training.recipe import TrainParams

PAIRS = [Pair("find sum", "sum of the data"), Pair("a dog and a bird", "the dog is here"), Pair("tree", "a tree")]


def distilling() -> TrainParams:
    return run_params(distill_weight=2.0)


class ZeroLoss(torch.nn.Module):
    """Loss of 0."""

    def forward(self, *_: object) -> torch.Tensor:
        return torch.zeros(())


def test_each_step_draws_texts_of_its_own_none_twice_and_all_in_time() -> None:
    """Seed and step alone decide; where there are fewer texts than a step takes, all are drawn."""
    assert (
        sample_texts(20, 5, seed=1, step=7)
        == sample_texts(20, 5, seed=1, step=7)
        != sample_texts(20, 5, seed=1, step=8)
    )
    assert sample_texts(20, 5, seed=1, step=7) != sample_texts(20, 5, seed=2, step=7)
    counts = Counter(text for step in range(100) for text in sample_texts(20, 5, seed=1, step=step))
    assert set(counts) == set(range(20)) and max(counts.values()) < 3 * min(counts.values())
    assert sorted(sample_texts(3, 5, seed=1, step=0)) == [0, 1, 2]


def test_teacher_embeddings_are_the_bases_of_queries_and_passages(tiny_encoder: Path) -> None:
    """Prompts are included; vectors have length 1."""
    base = SentenceTransformer(str(tiny_encoder), device="cpu", prompts={"query": "find ", "document": "the "})
    teacher = teacher_embeddings(base, PAIRS)
    texts = [f"find {pair.query}" for pair in PAIRS] + [f"the {pair.passage}" for pair in PAIRS]
    assert list(teacher.texts) == texts
    assert np.allclose(teacher.embeddings, base.encode(texts, normalize_embeddings=True), atol=1e-5)


def test_the_loss_adds_the_weighted_cosine_distance_to_the_base(tiny_encoder: Path, tmp_path: Path) -> None:
    """Its mean over the texts, by numpy, for another encoder; 0 for the base itself."""
    base, other = (SentenceTransformer(str(f), device="cpu").eval() for f in (tiny_encoder, another(tmp_path)))
    teacher = teacher_embeddings(base, PAIRS)
    for model in (base, other):
        loss = WithDistillation(model, ZeroLoss(), distilling(), teacher)
        loss.step = 3
        rows = sample_texts(6, 4, seed=5, step=3)
        own = model.encode([teacher.texts[row] for row in rows], normalize_embeddings=True)
        distance = 1 - (own * teacher.embeddings[rows].numpy()).sum(axis=1).mean()
        assert loss([], None).item() == pytest.approx(2 * distance, abs=1e-5)
        assert (distance < 1e-5) == (model is base)


def another(folder: Path) -> Path:
    return build_tiny_encoder(folder / "other", seed=1)


def test_an_encoder_of_another_size_than_the_base_is_refused(tiny_encoder: Path) -> None:
    """Both dimensions are named."""
    base = SentenceTransformer(str(tiny_encoder), device="cpu")
    teacher = teacher_embeddings(base, PAIRS)
    short = SentenceTransformer(str(tiny_encoder), device="cpu", truncate_dim=8)
    with pytest.raises(BadInput, match="32 dimensions, the tuned one 8"):
        WithDistillation(short, ZeroLoss(), distilling(), teacher)


def test_distillation_keeps_the_encoder_nearer_to_the_base(
    tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured on general text that was held out from both."""
    monkeypatch.chdir(tmp_path)
    inputs = task(tmp_path, tiny_encoder)
    held_out = [text for pair in read_general_text(tmp_path / "practice.jsonl").evaluation for text in pair]
    before = load_torch(inputs["base"]).encode(held_out, normalize_embeddings=True)

    def nearness(name: str, **changes: object) -> float:
        trained(tmp_path, inputs, params(epochs=4, patience=99, dropout=0.0, **changes), name)
        after = load_torch(tmp_path / name / "5").encode(held_out, normalize_embeddings=True)
        return float((before * after).sum(axis=1).mean())

    plain = nearness("plain")
    assert nearness("distilled", distill_weight=5.0, distill_batch_size=16) > plain + 0.05
