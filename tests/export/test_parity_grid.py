"""The grid has every critical batch, and detects a graph that is wrong in only some of them."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tokenizers import Tokenizer

from attune.encoding.encoders import load_torch
from attune.encoding.positions import n_positions
from attune.export import parity
from attune.export.parity import PaddedBatch, grid, run_grid, token_lengths
from attune.export.shipped import torch_embed


@pytest.fixture(scope="module")
def embed(tiny_encoder: Path) -> Any:
    """Embeds one text in torch, cut to a number of tokens."""
    return torch_embed(load_torch(tiny_encoder))


@pytest.fixture
def tokenizer(tiny_onnx: Path) -> Tokenizer:
    return Tokenizer.from_file(str(tiny_onnx / "tokenizer.json"))


def test_lengths_are_one_eight_and_those_around_the_maximum() -> None:
    """Special tokens come on top of the one; a maximum below 9 leaves fewer lengths."""
    assert token_lengths(2, 32) == [3, 8, 31, 32]
    assert token_lengths(0, 512) == [1, 8, 511, 512]
    assert token_lengths(2, 8) == [3, 7, 8]


def test_the_grid_combines_sizes_lengths_widths_and_kinds(tokenizer: Tokenizer) -> None:
    """4 sizes x 2 widths x (3 kinds x 4 lengths + the empty text once); each row has the batch's length."""
    batches = list(grid(tokenizer, 32, 64))
    assert len(batches) == len(set(batches)) == 4 * 2 * (3 * 4 + 1)
    assert {len(batch.texts) for batch in batches} == {1, 2, 7, 32}
    assert {batch.width for batch in batches} == {0, 40}
    words = [batch for batch in batches if batch.texts[0].startswith("Stack")]
    for batch in words:
        mask = batch.features(tokenizer)["attention_mask"]
        assert mask.shape == (len(batch.texts), batch.width or batch.n_tokens)
        assert (mask.sum(axis=1) == batch.n_tokens).all()
    assert {len(set(batch.texts)) for batch in words} == {1, 2, 7}
    assert any(not "".join(batch.texts).strip() and batch.texts[0] for batch in batches), "white space"
    assert any("日" in batch.texts[0] for batch in batches) and any(set(batch.texts) == {""} for batch in batches)


def test_padding_stays_within_the_encoder_s_positions(tokenizer: Tokenizer, tiny_encoder: Path) -> None:
    """BERT has as many as its settings say; with few or none to spare, padding ends at the maximum length."""
    assert n_positions(load_torch(tiny_encoder).transformers_model.config.to_dict()) == 64
    assert {batch.width for batch in grid(tokenizer, 32, 32)} == {0, 32}
    assert {batch.width for batch in grid(tokenizer, 32, 35)} == {0, 35}


def test_features_by_hand(tokenizer: Tokenizer) -> None:
    """[CLS] stack [SEP], then padding up to the width, masked."""
    features = PaddedBatch(("stack arrays", ""), 3, 5).features(tokenizer)
    ids = [tokenizer.token_to_id(token) for token in ("[CLS]", "stack", "[SEP]", "[PAD]")]
    assert features["input_ids"].tolist() == [[*ids[:3], ids[3], ids[3]], [ids[0], ids[2], *[ids[3]] * 3]]
    assert features["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]]
    assert not features["token_type_ids"].any()


def test_the_exported_graph_equals_torch_on_the_whole_grid(tiny_onnx: Path, embed: Any) -> None:
    """Cosine and difference stay within the limits of stage export."""
    figures = run_grid(tiny_onnx, "onnx/model.onnx", 32, 63, embed, 1)
    assert 60 < figures.n_batches < 104, "batchs that a tokenizer makes alike count once"
    assert figures.min_cosine > 0.999999 and figures.max_abs_diff < 1e-6


def ignore_padding(path: Path) -> None:
    """Makes a graph attend to padding, like an export traced without padding."""
    model = onnx.load(path)
    for node in model.graph.node:
        node.input[:] = ["all_ones" if name == "attention_mask" else name for name in node.input]
    one = onnx.helper.make_tensor("one", onnx.TensorProto.INT64, [1], [1])
    shape = onnx.helper.make_node("Shape", ["input_ids"], ["shape_of_ids"])
    ones = onnx.helper.make_node("ConstantOfShape", ["shape_of_ids"], ["all_ones"], value=one)
    model.graph.node.insert(0, ones)
    model.graph.node.insert(0, shape)
    onnx.save(model, path)


def test_a_graph_that_ignores_the_mask_is_detected(
    onnx_copy: Path, embed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the padded batches show it: without padding the graph is right."""
    ignore_padding(onnx_copy / "onnx" / "model.onnx")
    assert run_grid(onnx_copy, "onnx/model.onnx", 32, 63, embed, 1).max_abs_diff > 0.01
    unpadded = [
        batch for batch in grid(Tokenizer.from_file(str(onnx_copy / "tokenizer.json")), 32, 63) if not batch.width
    ]
    monkeypatch.setattr(parity, "grid", lambda *_: iter(unpadded))
    assert run_grid(onnx_copy, "onnx/model.onnx", 32, 63, embed, 1).max_abs_diff < 1e-6


def test_nan_in_an_embedding_makes_the_figures_nan(tiny_onnx: Path) -> None:
    """Stage export refuses NaN, so it must not be dropped by min or max."""
    figures = run_grid(tiny_onnx, "onnx/model.onnx", 32, 63, lambda *_: np.full(32, np.nan, dtype=np.float32), 1)
    assert np.isnan(figures.min_cosine) and np.isnan(figures.max_abs_diff)
