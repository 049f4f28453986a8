"""Attention over texts that are laid end to end, without padding, for training on CPUs.

A batch of texts is as wide as its longest, so half and more of a training step on short texts goes into padding.
sentence-transformers can lay texts end to end instead, where the attention tells them apart, which its libraries offer
on GPUs only (flash attention). This one gathers texts of like length into padded blocks for the two products of
attention alone; the rest of a layer, nearly all of its cost, computes on nothing but tokens.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "packed"
STEP = 16  # tokens: texts share a block if their lengths round up to the same multiple


@dataclass(frozen=True)
class Block:
    """Texts of like length: how many, how wide, and which places of the block hold a token (None: all)."""

    n_texts: int
    width: int
    mask: Tensor | None


@dataclass(frozen=True)
class Layout:
    """Where the tokens of a batch lie in its blocks.

    Attributes:
        blocks: in the order of `tokens`.
        tokens: for each place of the blocks its token, any where there is none: (n places,).
        places: for each token its place: (n tokens,).
        is_token: which places hold one: (n places,).
    """

    blocks: tuple[Block, ...]
    tokens: Tensor
    places: Tensor
    is_token: Tensor


@lru_cache(maxsize=8)
def layout(starts: tuple[int, ...]) -> Layout:
    """The layout of texts that begin at these tokens; the last number is where the last one ends."""
    begin = torch.tensor(starts[:-1])
    lengths = torch.tensor(starts[1:]) - begin
    widths = (lengths + STEP - 1) // STEP * STEP
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


class Spread(torch.autograd.Function):
    """Tokens into the places of blocks; no token has two, so the gradient is a gathering, too, and no sum."""

    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor, tokens: Tensor, places: Tensor) -> Tensor:
        """(n tokens, size) -> (n places, size)."""
        ctx.save_for_backward(places)
        return values.index_select(0, tokens)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
        """(n places, size) -> (n tokens, size)."""
        (places,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradient.index_select(0, places), None, None


class Gather(torch.autograd.Function):
    """Tokens out of the places of blocks."""

    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor, tokens: Tensor, places: Tensor, is_token: Tensor) -> Tensor:
        """(n places, size) -> (n tokens, size)."""
        ctx.save_for_backward(tokens, is_token)
        return values.index_select(0, places)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        """(n tokens, size) -> (n places, size)."""
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
    """Each token attends to those of its text; query, key and value are (1, heads, n tokens, head size).

    Texts that are padded, as they are where an encoder is not trained but used, take torch's own attention.
    """
    if "cu_seq_lens_q" not in kwargs:
        found: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs
        )
        return found
    of_batch = layout(tuple(kwargs["cu_seq_lens_q"].tolist()))
    _, heads, _, size = query.shape
    scale = size**-0.5 if scaling is None else scaling
    spread = [
        Spread.apply(each[0].transpose(0, 1).reshape(-1, heads * size), of_batch.tokens, of_batch.places)  # type: ignore[no-untyped-call]
        for each in (query, key, value)
    ]
    sizes = [block.n_texts * block.width for block in of_batch.blocks]
    attended = []
    for block, *parts in zip(of_batch.blocks, *(each.split(sizes) for each in spread), strict=True):
        q, k, v = (part.view(block.n_texts, block.width, heads, size).transpose(1, 2) for part in parts)
        scores = (q * scale) @ k.transpose(2, 3)
        if block.mask is not None:
            scores = scores.masked_fill(~block.mask, float("-inf"))
        shares = torch.nn.functional.dropout(scores.softmax(dim=-1), dropout, module.training)
        attended.append((shares @ v).transpose(1, 2).reshape(-1, heads * size))
    out: Tensor = Gather.apply(  # type: ignore[no-untyped-call]
        torch.cat(attended), of_batch.tokens, of_batch.places, of_batch.is_token
    )
    return out.view(1, -1, heads, size), None


AttentionInterface.register(NAME, packed_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
