"""Training without padding on CPUs: the texts of a batch, all columns of it, are embedded in one pass, end to end."""

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


Features = dict[str, Any]
MARKS = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "seq_idx")  # of where texts begin and end
TOLERANCE = 1e-4  # of an embedding's numbers, whose rounding differs


def pack(model: SentenceTransformer, samples: Sequence[str]) -> bool:
    """Has a model lay texts end to end, if its embeddings stay what they are; says whether they do.

    Not every architecture can be told where a text ends: some attend in windows, or only backwards, or count positions
    in their own way. So the samples, which should hold the longest texts, are embedded in both ways.
    """
    transformer = model[0]
    model.transformers_model.set_attn_implementation("eager")
    if not _may_be_packed(model):
        return False
    padded = _embedded(model, samples)
    is_named, named = transformer.model_forward_params is not None, transformer.model_forward_params
    model.transformers_model.set_attn_implementation(NAME)
    transformer.data_collator = DataCollatorWithFlattening(
        return_seq_idx=True, return_flash_attn_kwargs=True, return_position_ids=True
    )
    transformer.model_forward_params = {*named, *MARKS} if is_named else None
    transformer._flatten_position_offset = transformer._infer_flatten_position_offset()
    transformer.can_flatten_inputs = True
    if (_embedded(model, samples) - padded).abs().max() <= TOLERANCE:
        return True
    transformer.can_flatten_inputs, transformer.model_forward_params = False, named
    model.transformers_model.set_attn_implementation("eager")
    return False


def _may_be_packed(model: SentenceTransformer) -> bool:
    """Whether all that attends is told of by attention's interface, over whole texts, and no prompt is left out."""
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
            found: Tensor = model(model.preprocess(list(texts)))["sentence_embedding"]
    except (TypeError, ValueError, IndexError, KeyError, RuntimeError):  # what an architecture makes of the unforeseen
        return torch.full((1,), torch.nan)
    finally:
        model.train(was_training)
    return found


def together(columns: Sequence[Features]) -> Features:
    """The texts of several columns as those of one; what does not depend on the texts is the first column's."""
    ends = torch.tensor([int(column["cu_seq_lens_q"][-1]) for column in columns]).cumsum(0).tolist()
    counts = torch.tensor([len(column["cu_seq_lens_q"]) - 1 for column in columns]).cumsum(0).tolist()
    starts = [column["cu_seq_lens_q"][1:] + before for column, before in zip(columns, [0, *ends[:-1]], strict=True)]
    cumulative = torch.cat([columns[0]["cu_seq_lens_q"][:1], *starts])
    numbers = [column["seq_idx"] + before for column, before in zip(columns, [0, *counts[:-1]], strict=True)]
    widest = max(int(column["max_length_q"]) for column in columns)
    return {
        **columns[0],
        **{name: torch.cat([column[name] for column in columns], dim=1) for name in ("input_ids", "position_ids")},
        "seq_idx": torch.cat(numbers, dim=1),
        **dict.fromkeys(("cu_seq_lens_q", "cu_seq_lens_k"), cumulative),
        **dict.fromkeys(("max_length_q", "max_length_k"), widest),
    }


class Together(Module):
    """A loss over embeddings, whose columns a packed model embeds in one pass: one gradient, not many to add."""

    def __init__(self, model: SentenceTransformer, loss: Module) -> None:
        super().__init__()
        self.model = model
        self.loss: Any = loss

    def forward(self, features: Sequence[Features], labels: Tensor | None) -> Tensor:
        """The loss of a batch's columns."""
        columns = list(features)
        embeddings = self.model(together(columns))["sentence_embedding"]
        sizes = [len(column["cu_seq_lens_q"]) - 1 for column in columns]
        value: Tensor = self.loss.compute_loss_from_embeddings(list(embeddings.split(sizes)), labels)
        return value
