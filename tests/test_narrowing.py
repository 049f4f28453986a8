"""A batch embedded in two parts has the embeddings and the gradients of one that is embedded whole."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training import params

from attune.encoders import load_torch
from attune.losses import build
from attune.narrowing import Narrow, best_cut, part

TEXTS = ["a", "stack the arrays " * 8, "graph", "return the sum of the values along an axis", "sort a list", ""]


def cost(lengths: list[int], n_short: int) -> int:
    ascending = sorted(lengths)
    return (n_short * ascending[n_short - 1] if n_short else 0) + (len(lengths) - n_short) * ascending[-1]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12))
def test_no_other_cut_costs_less(lengths: list[int]) -> None:
    """Tried one by one; 0, the whole batch, where nothing is saved."""
    found = best_cut(torch.tensor(lengths))
    assert cost(lengths, found) == min(cost(lengths, n) for n in range(len(lengths)))
    assert found or cost(lengths, 0) == min(cost(lengths, n) for n in range(len(lengths)))


@pytest.mark.parametrize("is_left", [False, True])
def test_a_part_is_as_wide_as_its_longest_text_whichever_side_is_padded(is_left: bool) -> None:
    """Texts of 1, 3 and 2 tokens, of which the first and the last are taken; what is no token goes along."""
    ids, mask = torch.tensor([[5, 0, 0], [6, 7, 8], [9, 4, 0]]), torch.tensor([[1, 0, 0], [1, 1, 1], [1, 1, 0]])
    if is_left:
        ids, mask = ids.flip(1), mask.flip(1)
    found = part({"input_ids": ids, "attention_mask": mask, "modality": "text"}, torch.tensor([0, 2]))
    expected = torch.tensor([[5, 0], [9, 4]])
    assert found["input_ids"].equal(expected.flip(1) if is_left else expected)
    assert found["attention_mask"].sum() == 3
    assert found["modality"] == "text"


def test_both_parts_give_the_embeddings_and_gradients_of_the_whole(tiny_encoder: Path) -> None:
    """In the order of the texts, and in two parts of which one is narrower than the whole."""
    model = load_torch(tiny_encoder)
    features = model.preprocess(TEXTS)
    widths: list[int] = []
    model[0].register_forward_pre_hook(lambda _, inputs: widths.append(inputs[0]["input_ids"].shape[1]))
    gradients = []
    for encoder in (model, Narrow(model)):
        model.zero_grad()
        embeddings = encoder(dict(features))["sentence_embedding"]
        (embeddings * torch.arange(len(TEXTS))[:, None]).sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None])
        if encoder is model:
            whole = embeddings.detach()
    torch.testing.assert_close(embeddings.detach(), whole, atol=1e-6, rtol=0)
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-4, rtol=1e-4)
    assert len(widths) == 3
    assert min(widths) < widths[0] == max(widths)


@pytest.mark.parametrize("name", ["mnrl", "triplet", "contrastive"])
def test_losses_that_embed_a_batch_at_once_do_it_in_parts(tiny_encoder: Path, name: str) -> None:
    """Matryoshka's, too, which changes what the encoder gives."""
    model = load_torch(tiny_encoder).eval()
    (only,) = params(loss=name, matryoshka_dims=[8]).recipes().values()
    calls: list[int] = []
    model[0].register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0]["input_ids"])))
    columns = [model.preprocess(TEXTS), model.preprocess(TEXTS[::-1]), model.preprocess(TEXTS[1:] + TEXTS[:1])]
    loss = build(model, only, None)
    assert loss(columns, None).isfinite()
    assert sum(calls) == 3 * len(TEXTS)
    assert len(TEXTS) not in calls
