"""Training without padding on CPUs: the texts of a batch, all columns of it, are embedded in one pass, end to end."""

from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.nn import Module
from transformers import DataCollatorWithFlattening

from attune.tuning.training import packed_attention

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
    model.transformers_model.set_attn_implementation(packed_attention.NAME)
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
