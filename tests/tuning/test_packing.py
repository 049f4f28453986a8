"""Packing: texts laid end to end have the embeddings, losses and gradients of padded ones."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from training import run_params

from attune.encoding.encoders import TorchEncoder, load_torch
from attune.tuning.training import packing
from attune.tuning.training.forgetting import Teacher, WithDistillation
from attune.tuning.training.losses import build_loss
from attune.tuning.training.packing import layout

TEXTS = ["a", "stack the arrays " * 8, "graph", "return the sum of the values along an axis", "sort a list", ""]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12))
def test_every_token_has_one_place_in_a_block_of_its_text(lengths: list[int]) -> None:
    """Row by row, a block holds a text's tokens in their order, and a mask where they do not fill it."""
    starts = [sum(lengths[:i]) for i in range(len(lengths) + 1)]
    found = layout(tuple(starts))
    assert found.tokens[found.places].tolist() == list(range(starts[-1]))
    texts, start = [], 0
    for block in found.blocks:
        end = start + block.n_texts * block.width
        tokens = found.tokens[start:end].view(block.n_texts, block.width)
        used = found.is_token[start:end].view(block.n_texts, block.width)
        assert (block.mask is None) == bool(used.all())
        texts += [row[is_used].tolist() for row, is_used in zip(tokens, used, strict=True)]
        start = end
    assert sorted(texts) == [list(range(a, b)) for a, b in pairwise(starts)]


def loaded(folder: Path) -> SentenceTransformer:
    model = load_torch(folder)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model.train()


def value_and_gradients(model: SentenceTransformer, loss: torch.nn.Module) -> tuple[float, list[torch.Tensor]]:
    model.zero_grad()
    value = loss([model.preprocess(column) for column in (TEXTS, TEXTS[::-1], TEXTS[2:] + TEXTS[:2])], None)
    value.backward()
    return value.item(), [each.grad.clone() for each in model.parameters() if each.grad is not None]


@pytest.mark.parametrize("changes", [{}, {"symmetric": True}, {"loss": "triplet"}, {"loss": "contrastive"}], ids=str)
def test_a_packed_step_is_that_of_padded_columns(tiny_encoder: Path, changes: dict[str, Any]) -> None:
    """The same loss and the same gradient of every weight, in one pass of the encoder instead of several."""
    params = run_params(**changes)
    padded, packed = loaded(tiny_encoder), loaded(tiny_encoder)
    assert packing.pack(packed, TEXTS)
    widths: list[torch.Size] = []
    packed[0].register_forward_pre_hook(lambda _, inputs: widths.append(inputs[0]["input_ids"].shape))
    expected, gradients = value_and_gradients(padded, build_loss(padded, params, None))
    found, others = value_and_gradients(packed, packing.PackedLoss(packed, build_loss(packed, params, None)))
    assert found == pytest.approx(expected, abs=1e-5)
    assert len(others) == len(gradients)
    for one, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-4)
    n_tokens = 3 * sum(len(ids) for ids in padded.tokenizer(TEXTS, truncation=True)["input_ids"])
    assert widths == [(1, n_tokens)]


def test_general_texts_are_embedded_in_the_pass_of_the_rows(tiny_encoder: Path) -> None:
    """The loss and the gradients of rows and distillation are those of passes apart, in one pass of the encoder."""
    params = run_params(distill_weight=2.0, distill_batch_size=3)
    padded, packed = loaded(tiny_encoder), loaded(tiny_encoder)
    assert packing.pack(packed, TEXTS)
    teacher = Teacher(TEXTS, torch.nn.functional.normalize(torch.ones(len(TEXTS), 32).triu(), dim=1))
    n_passes: list[object] = []
    packed[0].register_forward_pre_hook(lambda *_: n_passes.append(1))
    apart = WithDistillation(padded, build_loss(padded, params, None), params, teacher)
    together = WithDistillation(packed, packing.PackedLoss(packed, build_loss(packed, params, None)), params, teacher)
    expected, gradients = value_and_gradients(padded, apart)
    found, others = value_and_gradients(packed, together)
    assert found == pytest.approx(expected, abs=1e-5)
    for one, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-4)
    assert len(n_passes) == 1


def test_a_packed_encoder_still_embeds_padded_texts(tiny_encoder: Path) -> None:
    """Dev is embedded so while training."""
    plain, packed = load_torch(tiny_encoder), load_torch(tiny_encoder)
    assert packing.pack(packed, TEXTS)
    of_both = [TorchEncoder(model, "fp32", 512).encode_query(TEXTS) for model in (plain, packed)]
    torch.testing.assert_close(*map(torch.from_numpy, of_both), atol=1e-5, rtol=0)


def test_a_batch_like_the_samples_can_be_trained_on(tiny_encoder: Path) -> None:
    """The layout that was cached for them, without gradients, serves a training step, too."""
    model = loaded(tiny_encoder)
    assert packing.pack(model, TEXTS)
    model(packing.concatenate([model.preprocess(TEXTS)]))["sentence_embedding"].sum().backward()


@pytest.mark.parametrize("fault", ["window", "prompt"])
def test_windows_or_prompts_left_out_of_pooling_rule_packing_out(tiny_encoder: Path, fault: str) -> None:
    """Even where no sample is longer than the window, or has a prompt, to show the difference."""
    model = load_torch(tiny_encoder)
    if fault == "window":
        model.transformers_model.encoder.layer[0].attention.self.sliding_window = 64
    else:
        model[1].include_prompt = False
    assert not packing.pack(model, TEXTS)
    assert "attention_mask" in model.preprocess(TEXTS)


def test_an_encoder_whose_embeddings_would_change_stays_as_it_is(
    tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packing is refused where two texts are taken for one, as by an encoder that ignores where a text ends."""
    model = load_torch(tiny_encoder)
    before = model.encode(TEXTS)

    def blind(starts: tuple[int, ...]) -> object:
        return layout(tuple(start for place, start in enumerate(starts) if place != 1))

    monkeypatch.setattr("attune.tuning.training.packing.layout", blind)
    assert not packing.pack(model, TEXTS)
    assert "attention_mask" in model.preprocess(TEXTS)
    torch.testing.assert_close(torch.from_numpy(model.encode(TEXTS)), torch.from_numpy(before), atol=1e-5, rtol=0)
