"""The training losses, all of them the library's, over rows of a query, its document and any number of negatives.

- mnrl: softmax over the documents of the batch (Henderson et al. 2017, arXiv 1705.00652; InfoNCE).
- cached_mnrl: the same value and gradient in parts, for batches larger than memory (Gao et al. 2021, arXiv 2101.06983).
- gist: the same without the documents that a guide, here the frozen base encoder, finds as near as the right one
  (Solatorio 2024, arXiv 2402.16829).
- triplet: the document nearer than each negative, by a margin (Hermans et al. 2017, arXiv 1703.07737).
- contrastive: documents near, negatives at a margin's distance (Hadsell et al. 2006, doi 10.1109/CVPR.2006.100).
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    CachedGISTEmbedLoss,
    CachedMultipleNegativesRankingLoss,
    ContrastiveLoss,
    GISTEmbedLoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
    TripletLoss,
)
from sentence_transformers.sentence_transformer.losses.triplet import TripletDistanceMetric
from torch import Tensor
from torch.nn import Module

from attune.encoding import processes
from attune.tuning.training.recipe import Recipe


def gathered(own: Tensor) -> Tensor:
    """The rows of all processes, in their order: (n own rows, dim) -> (n rows, dim); a gradient flows to its own."""
    if processes.world_size() == 1:
        return own
    return torch.cat([own if tensor is None else tensor for tensor in _of_all(own)])


def _of_all(own: Tensor) -> list[Tensor | None]:
    """Each process's rows, constants; None in this one's place."""
    sizes = [torch.zeros(1, dtype=torch.int64, device=own.device) for _ in range(processes.world_size())]
    dist.all_gather(sizes, torch.tensor([len(own)], device=own.device))
    n = [int(size) for size in sizes]
    # all must send the same shape
    sent = own.new_zeros(max(n), *own.shape[1:])
    sent[: len(own)] = own.detach()
    received = [torch.empty_like(sent) for _ in n]
    dist.all_gather(received, sent)
    received_rows: list[Tensor | None] = [rows[:size] for rows, size in zip(received, n, strict=True)]
    received_rows[processes.rank()] = None
    return received_rows


class _OverAllRows:
    """A loss over embeddings, which are those of all processes."""

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Tensor | None) -> Tensor:
        """The loss of columns of embeddings, each (n own rows, dim)."""
        loss: Tensor = super().compute_loss_from_embeddings(  # type: ignore[misc]
            [gathered(column) for column in embeddings], labels
        )
        return loss


class _OverAllParts:
    """A loss over embeddings made in parts (GradCache), which are those of all processes."""

    def calculate_loss(self, *columns: Sequence[Sequence[Tensor]] | None, **settings: Any) -> Tensor:  # noqa: ANN401
        """The loss of columns of parts of embeddings, each (n rows of the part, dim); a guide's come second."""
        loss: Tensor = super().calculate_loss(  # type: ignore[misc]
            *(sides and [self._parts(column) for column in sides] for sides in columns), **settings
        )
        return loss

    @staticmethod
    def _parts(own: Sequence[Tensor]) -> list[Tensor]:
        """The parts of all processes; its own ones are the same tensors, as their gradients are looked for there."""
        parts: list[Tensor] = []
        for other in _of_all(torch.cat(list(own))):
            parts += own if other is None else [other]
        return parts


def over_all_processes(kind: type[Module]) -> type[Module]:
    """The kind of loss that compares the rows of all processes; in a single process the kind itself."""
    if processes.world_size() == 1:
        return kind
    mixin = _OverAllParts if hasattr(kind, "calculate_loss") else _OverAllRows
    return type(kind.__name__, (mixin, kind), {})


class Whole(Module):
    """A loss that has the same value in every process, with the gradient of its own rows times their number."""

    def __init__(self, model: Module, loss: Module) -> None:
        super().__init__()
        # the trainer looks for `model`, to put one that sums gradients in its place
        self.model, self.loss = model, loss

    def forward(self, features: Sequence[dict[str, Tensor]], labels: Tensor | None) -> Tensor:
        """The loss of a batch, of which this process has a part."""
        value: Tensor = self.loss(features, labels)
        n = processes.world_size()
        return n * value - (n - 1) * value.detach()


PACKED = ("mnrl", "triplet", "contrastive")  # losses that need no more of a batch than its embeddings


class EveryNegative(TripletLoss):
    """The triplet loss over cosine distances, its mean over all negatives of a row; the library's takes one of them."""

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Tensor | None) -> Tensor:
        """The loss of query, document and negatives, each (n rows, dim)."""
        query, document, *negatives = embeddings
        of_one = super().compute_loss_from_embeddings
        return torch.stack([of_one([query, document, negative], labels) for negative in negatives]).mean()


class LabelledPairs(ContrastiveLoss):
    """The contrastive loss over the pairs that a row makes: query and document (1), query and each negative (0).

    Pairs are made here and not in the table: a batch then holds all pairs of a query and no other of its cluster, as
    with every loss, and embeds the query once. Not the library's online form, which keeps only the hardest pairs of a
    batch and sums them: mined negatives are hard already, and a mean leaves learning rate and distillation weight their
    meaning at any batch size.
    """

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Tensor | None) -> Tensor:
        """The loss of query, document and negatives, each (n rows, dim)."""
        query, *documents = embeddings
        labels = torch.zeros(len(documents), len(query), device=query.device)
        labels[0] = 1
        pairs = [query.repeat(len(documents), 1), torch.cat(documents)]
        loss: Tensor = super().compute_loss_from_embeddings(pairs, labels.flatten())
        return loss


def build(model: SentenceTransformer, recipe: Recipe, guide: SentenceTransformer | None) -> Module:
    """The loss that a recipe asks for; the guide is needed for gist only."""
    loss = _plain(model, recipe, guide)
    if recipe.matryoshka_dims:
        # Kusupati et al. 2022, arXiv 2205.13147; the whole embedding stays one of the dimensions
        loss = MatryoshkaLoss(model, loss, [model.get_embedding_dimension(), *recipe.matryoshka_dims])
    return loss


def _plain(model: SentenceTransformer, recipe: Recipe, guide: SentenceTransformer | None) -> Module:
    """The library's loss and its settings, by name; one that embeds in parts takes their size besides."""
    losses: dict[str, tuple[type[Module], dict[str, object]]] = {
        "mnrl": (MultipleNegativesRankingLoss, _ranking(recipe)),
        "cached_mnrl": (CachedMultipleNegativesRankingLoss, _ranking(recipe)),
        "gist": (CachedGISTEmbedLoss if recipe.mini_batch_size else GISTEmbedLoss, _guided(recipe, guide)),
        "triplet": (
            EveryNegative,
            {"distance_metric": TripletDistanceMetric.COSINE, "triplet_margin": recipe.triplet_margin},
        ),
        "contrastive": (LabelledPairs, {"margin": recipe.contrastive_margin}),
    }
    kind, settings = losses[recipe.loss]
    parts = {"mini_batch_size": recipe.mini_batch_size} if recipe.mini_batch_size else {}
    if processes.world_size() > 1 and kind is GISTEmbedLoss:
        # the one loss that embeds and compares in one go; in a single part of all rows it is the same, at one more pass
        kind, parts = CachedGISTEmbedLoss, {"mini_batch_size": recipe.batch_size}
    return over_all_processes(kind)(model, **settings, **parts)


def _ranking(recipe: Recipe) -> dict[str, object]:
    settings: dict[str, object] = {"scale": recipe.scale}
    if recipe.symmetric:
        settings |= {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"}
    return settings


def _guided(recipe: Recipe, guide: SentenceTransformer | None) -> dict[str, object]:
    return {
        "guide": guide,
        "temperature": 1 / recipe.scale,
        "margin_strategy": "relative",
        "margin": recipe.guide_margin,
        "contrast_anchors": recipe.guide_same_side,
        "contrast_positives": recipe.guide_same_side,
    }
