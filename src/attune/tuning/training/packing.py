"""Packing: training on CPUs without padding, with the texts of all columns of a batch laid end to end in one pass.

Attention then works on blocks of texts of like length, each padded to the longest of its block only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import Module
from transformers import AttentionInterface, AttentionMaskInterface, DataCollatorWithFlattening
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION = "packed"
# model inputs that say where texts begin and end
BOUNDARIES = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "seq_idx")
TOLERANCE = 1e-4  # largest difference of an embedding's numbers, by rounding
LENGTH_STEP = 16  # tokens: texts share a block if their lengths round up to the same multiple

Features = dict[str, Any]


@dataclass(frozen=True)
class Block:
    """Texts of like length, padded to the longest of them.

    Attributes:
        n_texts: number of texts.
        width: tokens of the longest text.
        mask: True where a place holds a token, (n texts, 1, 1, width); None if all do.
    """

    n_texts: int
    width: int
    mask: Tensor | None


@dataclass(frozen=True)
class Layout:
    """Places of a batch's tokens in its blocks.

    Attributes:
        blocks: in the order of `tokens`.
        tokens: the token of each place of the blocks, any token where the place holds none: (n places,).
        places: the place of each token: (n tokens,).
        is_token: True where a place holds a token: (n places,).
    """

    blocks: tuple[Block, ...]
    tokens: Tensor
    places: Tensor
    is_token: Tensor


@lru_cache(maxsize=8)
def layout(starts: tuple[int, ...]) -> Layout:
    """Returns the layout of texts that begin at these tokens; the last number is the end of the last text."""
    begin = torch.tensor(starts[:-1])
    lengths = torch.tensor(starts[1:]) - begin
    widths = (lengths + LENGTH_STEP - 1) // LENGTH_STEP * LENGTH_STEP
    blocks, tokens, is_token = [], [], []
    for width in sorted(set(widths.tolist())):
        texts = torch.nonzero(widths == width).flatten()
        most = int(lengths[texts].max())
        within = torch.arange(most) < lengths[texts, None]
        blocks.append(Block(len(texts), most, None if within.all() else within[:, None, None, :]))
        tokens.append(torch.where(within, begin[texts, None] + torch.arange(most), begin[texts, None]).flatten())
        is_token.append(within.flatten())
    all_tokens, all_used = torch.cat(tokens), torch.cat(is_token)
    places = torch.empty(starts[-1], dtype=torch.long)
    places[all_tokens[all_used]] = torch.nonzero(all_used).flatten()
    return Layout(tuple(blocks), all_tokens, places, all_used)


class SpreadTokens(torch.autograd.Function):
    """Copies tokens to their places in blocks; a token has one place, so its gradient is copied back, not summed."""

    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor, tokens: Tensor, places: Tensor) -> Tensor:
        """Maps (n tokens, size) to (n places, size)."""
        ctx.save_for_backward(places)
        return values.index_select(0, tokens)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Maps (n places, size) to (n tokens, size)."""
        (places,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradient.index_select(0, places), None, None


class GatherTokens(torch.autograd.Function):
    """Copies tokens back from their places in blocks."""

    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor, tokens: Tensor, places: Tensor, is_token: Tensor) -> Tensor:
        """Maps (n places, size) to (n tokens, size)."""
        ctx.save_for_backward(tokens, is_token)
        return values.index_select(0, places)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        """Maps (n tokens, size) to (n places, size)."""
        tokens, is_token = ctx.saved_tensors  # type: ignore[attr-defined]
        spread = gradient.index_select(0, tokens)
        return spread.masked_fill_(~is_token[:, None], 0), None, None, None


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,  # noqa: ANN401
) -> tuple[Tensor, None]:
    """Attention of each token over those of its text, in the signature of transformers' attention interface.

    Padded texts, as where dev is embedded, take torch's own attention.

    Args:
        module: the attention layer.
        query: (1, heads, n tokens, head size); key and value likewise.
        key: as query.
        value: as query.
        attention_mask: of padded texts.
        scaling: factor of the scores, head size ** -0.5 by default.
        dropout: share of attention weights dropped while training.
        **kwargs: `cu_seq_lens_q` holds the starts of packed texts.
    """
    if "cu_seq_lens_q" not in kwargs:
        attended: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs
        )
        return attended
    of_batch = layout(tuple(kwargs["cu_seq_lens_q"].tolist()))
    _, heads, _, size = query.shape
    scale = size**-0.5 if scaling is None else scaling
    spread = [
        SpreadTokens.apply(each[0].transpose(0, 1).reshape(-1, heads * size), of_batch.tokens, of_batch.places)  # type: ignore[no-untyped-call]
        for each in (query, key, value)
    ]
    sizes = [block.n_texts * block.width for block in of_batch.blocks]
    blocks = []
    for block, *parts in zip(of_batch.blocks, *(each.split(sizes) for each in spread), strict=True):
        q, k, v = (part.view(block.n_texts, block.width, heads, size).transpose(1, 2) for part in parts)
        scores = (q * scale) @ k.transpose(2, 3)
        if block.mask is not None:
            scores = scores.masked_fill(~block.mask, float("-inf"))
        shares = torch.nn.functional.dropout(scores.softmax(dim=-1), dropout, module.training)
        blocks.append((shares @ v).transpose(1, 2).reshape(-1, heads * size))
    out: Tensor = GatherTokens.apply(  # type: ignore[no-untyped-call]
        torch.cat(blocks), of_batch.tokens, of_batch.places, of_batch.is_token
    )
    return out.view(1, -1, heads, size), None


AttentionInterface.register(ATTENTION, packed_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def pack(model: SentenceTransformer, samples: Sequence[str]) -> bool:
    """Makes a model take texts end to end, if its embeddings stay the same; else leaves it as it was.

    Some architectures attend in windows, or only backwards, or count positions in their own way, and cannot be told
    where a text ends. So the samples are embedded in both ways.

    Args:
        model: the encoder.
        samples: texts, the longest of the training rows among them.

    Returns:
        True if the model is packed.
    """
    transformer = model[0]
    model.transformers_model.set_attn_implementation("eager")
    if not _may_be_packed(model):
        return False
    padded = _embedded(model, samples)
    is_named, named = transformer.model_forward_params is not None, transformer.model_forward_params
    model.transformers_model.set_attn_implementation(ATTENTION)
    transformer.data_collator = DataCollatorWithFlattening(
        return_seq_idx=True, return_flash_attn_kwargs=True, return_position_ids=True
    )
    transformer.model_forward_params = {*named, *BOUNDARIES} if is_named else None
    transformer._flatten_position_offset = transformer._infer_flatten_position_offset()
    transformer.can_flatten_inputs = True
    if (_embedded(model, samples) - padded).abs().max() <= TOLERANCE:
        return True
    transformer.can_flatten_inputs, transformer.model_forward_params = False, named
    model.transformers_model.set_attn_implementation("eager")
    return False


def _may_be_packed(model: SentenceTransformer) -> bool:
    """Says if all attention goes through the attention interface, over whole texts, and pooling includes prompts."""
    parts = list(model.modules())
    has_window = any(getattr(part, "sliding_window", None) is not None for part in parts)
    leaves_prompts_out = not all(getattr(part, "include_prompt", True) for part in parts)
    is_compatible = getattr(model.transformers_model, "is_backend_compatible", lambda: False)()
    return bool(is_compatible) and not has_window and not leaves_prompts_out


def _embedded(model: SentenceTransformer, texts: Sequence[str]) -> Tensor:
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            embeddings: Tensor = model(model.preprocess(list(texts)))["sentence_embedding"]
    except (TypeError, ValueError, IndexError, KeyError, RuntimeError):  # an architecture that cannot take packed texts
        return torch.full((1,), torch.nan)
    finally:
        model.train(was_training)
    return embeddings


def concatenate(columns: Sequence[Features]) -> Features:
    """Concatenates the packed texts of several columns; inputs that do not depend on texts are the first column's."""
    ends = torch.tensor([int(column["cu_seq_lens_q"][-1]) for column in columns]).cumsum(0).tolist()
    counts = torch.tensor([len(column["cu_seq_lens_q"]) - 1 for column in columns]).cumsum(0).tolist()
    starts = [column["cu_seq_lens_q"][1:] + before for column, before in zip(columns, [0, *ends[:-1]], strict=True)]
    cumulative = torch.cat([columns[0]["cu_seq_lens_q"][:1], *starts])
    text_numbers = [column["seq_idx"] + before for column, before in zip(columns, [0, *counts[:-1]], strict=True)]
    widest = max(int(column["max_length_q"]) for column in columns)
    return {
        **columns[0],
        **{name: torch.cat([column[name] for column in columns], dim=1) for name in ("input_ids", "position_ids")},
        "seq_idx": torch.cat(text_numbers, dim=1),
        **dict.fromkeys(("cu_seq_lens_q", "cu_seq_lens_k"), cumulative),
        **dict.fromkeys(("max_length_q", "max_length_k"), widest),
    }


class PackedLoss(Module):
    """Computes a loss over embeddings from one forward pass of a packed model over all columns of the batch."""

    def __init__(self, model: SentenceTransformer, loss: Module) -> None:
        super().__init__()
        self.model = model
        self.loss: Any = loss

    def embed(self, columns: Sequence[Features]) -> list[Tensor]:
        """Embeds the texts of several columns in one pass: (n texts of the column, dim) for each."""
        embeddings: Tensor = self.model(concatenate(columns))["sentence_embedding"]
        return list(torch.split(embeddings, [len(column["cu_seq_lens_q"]) - 1 for column in columns]))

    def of_embeddings(self, embeddings: Sequence[Tensor], labels: Tensor | None) -> Tensor:
        """Returns the loss of the columns' embeddings."""
        value: Tensor = self.loss.compute_loss_from_embeddings(list(embeddings), labels)
        return value

    def forward(self, features: Sequence[Features], labels: Tensor | None) -> Tensor:
        """Returns the loss of a batch's columns."""
        return self.of_embeddings(self.embed(list(features)), labels)
