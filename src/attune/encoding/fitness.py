"""Says whether an encoder can go through the pipeline at all: size of its weights, tokenizer, precision."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from sentence_transformers import SentenceTransformer

from attune.encoding.encoders import TorchEncoder
from attune.encoding.families import MAX_BYTES
from attune.errors import BadInput
from attune.stage import named

MIN_COSINE = 0.99  # of a text's vectors in bf16 and in fp32; an encoder that bf16 suits has .999 and more
BATCH_TOKENS = 4096
OTHER = "choose another base.model"


def check_size(name: str, folder: Path) -> None:
    """Refuses an encoder whose weights in fp32 exceed one ONNX file.

    Raises:
        BadInput: they do, or a file of them is damaged.
    """
    n_weights = 0
    for file in folder.rglob("*.safetensors"):
        try:
            with safe_open(file, framework="np") as weights:
                shapes = [weights.get_slice(key).get_shape() for key in weights.keys()]  # noqa: SIM118
        except SafetensorError as error:
            raise BadInput(f"{name}: {file.name} is damaged ({error}); fetch it again") from None
        n_weights += sum(int(np.prod(shape)) for shape in shapes)
    if (n_bytes := 4 * n_weights) > MAX_BYTES:
        raise BadInput(
            f"{name}: its weights have {n_bytes:,} bytes in fp32, expected at most {MAX_BYTES:,}, the size of one ONNX "
            "file; choose a smaller base.model"
        )


def check_tokenizer(name: str, model: SentenceTransformer) -> None:
    """Refuses a tokenizer that fails on texts that people have.

    Args:
        name: of the encoder, for messages.
        model: the encoder.

    Raises:
        BadInput: it cannot be saved as tokenizer.json, has special tokens alone, cannot pad, has ids beyond the
            embedding table, or gives an empty text no token, of which no encoder can compute anything.
    """
    tokenizer = model.tokenizer
    if not getattr(tokenizer, "is_fast", False):
        raise BadInput(
            f"{name}: its tokenizer ({type(tokenizer).__name__}) has no tokenizer.json, which the ONNX folder needs; "
            "convert it to a fast one and save the encoder again"
        )
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        raise BadInput(
            f"{name}: its tokenizer has no token but {len(tokenizer)} special ones, so every word is unknown; save the "
            "encoder with its own tokenizer"
        )
    if tokenizer.pad_token is None:
        raise BadInput(
            f"{name}: its tokenizer has no padding token, so texts of different length share no batch; set pad_token "
            "in tokenizer_config.json to a token of its vocabulary, such as its end-of-text token"
        )
    token, largest = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
    n_rows = model.transformers_model.get_input_embeddings().weight.shape[0]
    if largest >= n_rows:
        raise BadInput(
            f"{name}: its tokenizer gives ids up to {largest} ({token!r}), but the embedding table has {n_rows} rows, "
            f"expected at least {largest + 1}; resize it (resize_token_embeddings), or save its own tokenizer"
        )
    if not tokenizer("")["input_ids"]:
        raise BadInput(
            f"{name}: its tokenizer adds no special token, so an empty text has no token to encode; give it a "
            "post-processor that adds one, such as its end-of-text token, and save it again"
        )


def is_wrong_in_bf16(name: str, model: SentenceTransformer, texts: Sequence[str], precision: str) -> bool:
    """Tells whether an encoder's vectors in bf16 differ from those in fp32; no under fp32, where nothing depends on it.

    Args:
        name: of the encoder, for messages.
        model: the encoder.
        texts: to compare.
        precision: machine.precision.

    Raises:
        BadInput: vectors in fp32 are not finite or 0, or bf16 is demanded and they differ in it.
    """
    exact = TorchEncoder(model, "fp32", BATCH_TOKENS).encode_document(texts)
    if not np.isfinite(exact).all():
        raise BadInput(f"{name}: vectors are not finite in fp32; {OTHER}")
    if len(zero := np.flatnonzero(~exact.any(axis=1))):
        raise BadInput(
            f"{name}: the vector of {texts[zero[0]]!r} is 0, which has no direction, so no cosine; the embeddings of "
            f"its tokens may be 0, as an untrained padding token's are; {OTHER}"
        )
    if precision == "fp32":
        return False
    rounded = TorchEncoder(model, "bf16", BATCH_TOKENS).encode_document(texts)
    cosine = float((exact * rounded).sum(axis=1).min())
    is_wrong = not cosine >= MIN_COSINE  # so that NaN is wrong
    if is_wrong and precision == "bf16":
        raise BadInput(
            f"{named('machine.precision')}: got bf16, in which this encoder's vectors have a cosine of {cosine:.4f} to "
            f"those in fp32, expected {MIN_COSINE} or more; set it to auto or fp32"
        )
    return is_wrong
