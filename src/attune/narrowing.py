"""Embeds a training batch in two parts, short texts and long ones, so that less is computed on padding.

A batch is as wide as its longest text: of short texts, half of a step and more goes into padding. The embeddings and
gradients are those of the whole batch, up to rounding.
"""

from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

Features = dict[str, Any]


class Narrow(torch.nn.Module):
    """An encoder for losses that ask it for nothing but embeddings; on a GPU, and where nothing is saved, as it is."""

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.model = model

    def get_embedding_dimension(self) -> int:
        """Of the embeddings."""
        return int(self.model.get_embedding_dimension())

    def forward(self, features: Features) -> Features:
        """`sentence_embedding`, (n texts, dim), of tokenised texts."""
        lengths = features["attention_mask"].sum(dim=1)
        if lengths.device.type != "cpu" or not (n_short := best_cut(lengths)):
            found: Features = self.model(features)
            return found
        order = torch.argsort(lengths, stable=True)
        parts = [self.model(part(features, rows))["sentence_embedding"] for rows in order.tensor_split([n_short])]
        return {"sentence_embedding": torch.cat(parts)[torch.argsort(order)]}


def best_cut(lengths: Tensor) -> int:
    """How many of the shortest texts to embed apart from the others, so that both parts cost least; 0 for none.

    Args:
        lengths: in tokens, (n texts,).
    """
    ascending = lengths.sort().values
    n_short = torch.arange(len(ascending))
    # the cut after text i makes a part of i texts as wide as its longest, and one of the others
    cost = n_short * ascending.roll(1) + (len(ascending) - n_short) * ascending[-1]
    return int(cost.argmin())


def part(features: Features, rows: Tensor) -> Features:
    """Some texts of a batch, as wide as the longest of them, whichever side is padded."""
    is_used = features["attention_mask"][rows].any(dim=0)
    shape = features["attention_mask"].shape
    return {
        name: value[rows][:, is_used] if isinstance(value, Tensor) and value.shape == shape else value
        for name, value in features.items()
    }
