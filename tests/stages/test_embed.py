"""Embeddings are those of SentenceTransformer.encode, row by row, however they are batched."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from attune.encoding.encoders import TorchEncoder, load_torch, token_batches, with_bf16_products
from attune.errors import BadInput

TEXTS = [
    "stack the arrays",
    "",
    "a",
    "graph with nodes " * 30,
    "Größe 値 🙂",
    "return the sum of the values along an axis",
]


def test_embeddings_equal_the_librarys_in_the_order_of_the_texts(tiny_encoder: Path) -> None:
    """Sorted, batched by tokens and put back: the same vectors as SentenceTransformer.encode, of length 1."""
    model = load_torch(tiny_encoder)
    ours = TorchEncoder(model, "fp32", batch_tokens=64).encode_document(TEXTS)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, model.encode(TEXTS, normalize_embeddings=True), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-6)


def test_bf16_stays_close_to_fp32(tiny_encoder: Path) -> None:
    """It changes vectors by less than the third digit of the cosine."""
    model = load_torch(tiny_encoder)
    exact, fast = (TorchEncoder(model, precision, 512).encode_query(TEXTS) for precision in ("fp32", "bf16"))
    assert (exact * fast).sum(axis=1).min() > 0.999


def test_bf16_leaves_the_encoder_as_it_is(tiny_encoder: Path) -> None:
    """Only the copy that multiplies in bf16 has its matrices rounded; the rest of it is shared, not copied."""
    model = load_torch(tiny_encoder)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fast = TorchEncoder(model, "bf16", 512)
    fast.encode_query(TEXTS)
    after = model.state_dict()
    assert all(after[name].dtype == value.dtype and after[name].equal(value) for name, value in before.items())
    halved = {name for name, value in with_bf16_products(model).state_dict().items() if value.dtype == torch.bfloat16}
    assert halved == {name for name in before if (".layer." in name and "LayerNorm" not in name) or "pooler" in name}
    assert with_bf16_products(model).tokenizer is model.tokenizer


def test_prompts_reach_the_texts(tiny_encoder: Path) -> None:
    """Queries and documents get the prompts that the encoder was saved with."""
    model = load_torch(tiny_encoder)
    model.prompts = {"query": "find ", "document": "text "}
    encoder = TorchEncoder(model, "fp32", 512)
    np.testing.assert_allclose(encoder.encode_query(["a graph"]), model.encode(["find a graph"]), atol=1e-6)
    np.testing.assert_allclose(encoder.encode_document(["a graph"]), model.encode(["text a graph"]), atol=1e-6)


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(1, 200))
def test_batches_hold_every_row_once_within_their_tokens(lengths: list[int], batch_tokens: int) -> None:
    """Rows times width of a batch is at most batch_tokens, unless it is a single text."""
    batches = token_batches(lengths, batch_tokens)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or max(lengths[row] for row in batch) * len(batch) <= batch_tokens


def test_an_encoder_with_a_chat_template_is_refused(tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts would be embedded without the template, in torch and in ONNX."""
    monkeypatch.setattr("attune.encoding.encoders.SentenceTransformer", _with_template)
    with pytest.raises(BadInput, match="model: this encoder reads texts through a chat template"):
        load_torch(tiny_encoder)


def _with_template(folder: str, **settings: bool) -> SentenceTransformer:
    model = SentenceTransformer(folder, **settings)
    model[0].modality_config = {**model[0].modality_config, "message": model[0].modality_config["text"]}
    return model


def test_a_damaged_encoder_is_one_line(tmp_path: Path, tiny_encoder: Path) -> None:
    """Truncated weights and a missing folder name the folder and what to do."""
    import shutil

    shutil.copytree(tiny_encoder, tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BadInput, match="model: cannot be loaded as an encoder"):
        load_torch(tmp_path / "model")
    with pytest.raises(BadInput, match="nowhere: cannot be loaded as an encoder"):
        load_torch(tmp_path / "nowhere")
