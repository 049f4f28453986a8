"""Text Embeddings Inference (backend ort) by its rules: the files and keys that it parses at start, and its output.

A missing key or another type fails the start, so the schemas are strict; unknown keys are ignored.
Source, as read in November 2026: `router/src/lib.rs` and `backends/ort/src/lib.rs`.
"""

from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from driver import batches
from pydantic import BaseModel, Field, ValidationError
from rules import Graph, Refused, Vectors, tokenizer_of

BATCH_SIZE = 8  # the most that its ort backend takes


class PoolingFile(BaseModel, strict=True):
    """PoolConfig."""

    pooling_mode_cls_token: bool
    pooling_mode_mean_tokens: bool
    pooling_mode_max_tokens: bool
    pooling_mode_mean_sqrt_len_tokens: bool
    pooling_mode_lasttoken: bool = False


class ModelFile(BaseModel, strict=True):
    """ModelConfig of the router and Config of its ort backend."""

    architectures: list[str] = Field(min_length=1)
    model_type: str
    hidden_size: int = Field(gt=0)
    num_hidden_layers: int = Field(gt=0)
    max_position_embeddings: int = Field(gt=0)
    pad_token_id: int = Field(default=0, ge=0)


class LengthFile(BaseModel, strict=True):
    """STConfig."""

    max_seq_length: int = Field(gt=0)


class PromptsFile(BaseModel, strict=True):
    """NewSTConfig."""

    prompts: dict[str, str] | None = None
    default_prompt_name: str | None = None


class TokenizerFile(BaseModel, strict=True):
    """TokenizerConfig of its ort backend."""

    padding_side: Literal["left", "right"] = "right"


Schema = TypeVar("Schema", bound=BaseModel)


def _read(schema: type[Schema], path: Path) -> Schema:
    try:
        return schema.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise Refused(f"{path}: {' '.join(str(error).split())}") from None


def text_embeddings_inference(folder: Path, texts: list[str]) -> Vectors:
    """Embeds with --auto-truncate: cut at `max_seq_length`, batches of 8, output `sentence_embedding` unchanged."""
    model = _read(ModelFile, folder / "config.json")
    pooling = _read(PoolingFile, folder / "1_Pooling" / "config.json")
    length = _read(LengthFile, folder / "sentence_bert_config.json").max_seq_length
    _read(PromptsFile, folder / "config_sentence_transformers.json")
    side = _read(TokenizerFile, folder / "tokenizer_config.json").padding_side
    if any(name.endswith("Classification") for name in model.architectures):
        raise Refused(f"{folder / 'config.json'}: architectures are {model.architectures}, taken for a classifier")
    if not (pooling.pooling_mode_cls_token or pooling.pooling_mode_mean_tokens or pooling.pooling_mode_lasttoken):
        raise Refused(f"{folder / '1_Pooling'}: neither cls nor mean nor last token")
    graph, tokenizer = Graph(folder), tokenizer_of(folder, padding=False)
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(direction=side, pad_id=model.pad_token_id)
    vectors = [
        graph.run(tokenizer.encode_batch(batch), "sentence_embedding", 2)[0] for batch in batches(texts, BATCH_SIZE)
    ]
    return np.concatenate(vectors)
