"""The training losses, all of them the library's, over rows of a query, its document and any number of negatives.

- mnrl: softmax over the documents of the batch (Henderson et al. 2017, arXiv 1705.00652; InfoNCE).
- cached_mnrl: the same value and gradient in parts, for batches larger than memory (Gao et al. 2021, arXiv 2101.06983).
- gist: the same without the documents that a guide, here the frozen base encoder, finds as near as the right one
  (Solatorio 2024, arXiv 2402.16829).
- triplet: the document nearer than each negative, by a margin (Hermans et al. 2017, arXiv 1703.07737).
- contrastive: documents near, negatives at a margin's distance (Hadsell et al. 2006, doi 10.1109/CVPR.2006.100).
"""

from collections.abc import Sequence

import torch
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
from attune.tuning.training.gathering import over_all_processes
from attune.tuning.training.recipe import Recipe

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
    if processes.count() > 1 and kind is GISTEmbedLoss:
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
