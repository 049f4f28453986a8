"""Training losses, all of sentence-transformers, over rows of a query, its document and any number of negatives.

- mnrl: softmax over the documents of the batch (Henderson et al. 2017, arXiv 1705.00652; InfoNCE).
- cached_mnrl: the same value and gradient in chunks (GradCache), for batches larger than memory (Gao et al. 2021,
  arXiv 2101.06983).
- gist: mnrl without the documents that a guide, here the frozen base encoder, scores as high as the positive
  (Solatorio 2024, arXiv 2402.16829).
- triplet: the document nearer than each negative, by a margin (Hermans et al. 2017, arXiv 1703.07737).
- contrastive: documents near, negatives at a margin's distance (Hadsell et al. 2006, doi 10.1109/CVPR.2006.100).

Where several processes share the training, each embeds its part of the batch, all gather all embeddings, and each
computes the loss of the whole batch. For that, and for packing, a loss class must offer
`compute_loss_from_embeddings`; a class that embeds a batch in chunks (GradCache) must offer `calculate_loss` instead,
and cannot be packed. `fit.build_objective` lists how the wrappers around a loss nest.
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
from attune.tuning.training.recipe import TrainParams

PACKABLE = ("mnrl", "triplet", "contrastive")  # losses that need no more of a batch than its embeddings


def gather_rows(own: Tensor) -> Tensor:
    """Gathers the rows of all processes, in rank order; the gradient flows to this process's own rows only.

    Args:
        own: (n own rows, dim).

    Returns:
        (n rows of all processes, dim).
    """
    if processes.world_size() == 1:
        return own
    return torch.cat([own if tensor is None else tensor for tensor in _all_gather(own)])


def _all_gather(own: Tensor) -> list[Tensor | None]:
    """Returns the rows of each process, without gradient; None in place of this process's own."""
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


class _OverGatheredRows:
    """Mixin for a loss over embeddings: gathers each column from all processes first."""

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Tensor | None) -> Tensor:
        """Returns the loss of columns of embeddings, each (n own rows, dim)."""
        loss: Tensor = super().compute_loss_from_embeddings(  # type: ignore[misc]
            [gather_rows(column) for column in embeddings], labels
        )
        return loss


class _OverGatheredParts:
    """Mixin for a loss that embeds a batch in chunks (GradCache): gathers the chunks of all processes first."""

    def calculate_loss(self, *columns: Sequence[Sequence[Tensor]] | None, **settings: Any) -> Tensor:  # noqa: ANN401
        """Returns the loss of the columns; each column is a list of chunks, (rows of the chunk, dim) each.

        The model's columns are the first argument, a guide's the second.
        """
        loss: Tensor = super().calculate_loss(  # type: ignore[misc]
            *(sides and [self._parts(column) for column in sides] for sides in columns), **settings
        )
        return loss

    @staticmethod
    def _parts(own: Sequence[Tensor]) -> list[Tensor]:
        """Returns a column's chunks from all processes; GradCache reads gradients off this process's own tensors."""
        parts: list[Tensor] = []
        for other in _all_gather(torch.cat(list(own))):
            parts += own if other is None else [other]
        return parts


def over_all_processes(loss_type: type[Module]) -> type[Module]:
    """Returns a subclass of the loss that compares the rows of all processes; in a single process the type itself."""
    if processes.world_size() == 1:
        return loss_type
    mixin = _OverGatheredParts if hasattr(loss_type, "calculate_loss") else _OverGatheredRows
    return type(loss_type.__name__, (mixin, loss_type), {})


class AllProcessesLoss(Module):
    """Multiplies the gradient of a loss by the world size and leaves its value, which is the same in every process.

    A process has the gradient of its own rows. DistributedDataParallel averages these gradients; the factor turns the
    average into their sum, the gradient of the whole batch.
    """

    def __init__(self, model: Module, loss: Module) -> None:
        super().__init__()
        # the trainer looks for `model`, to put one that sums gradients in its place
        self.model, self.loss = model, loss

    def forward(self, features: Sequence[dict[str, Tensor]], labels: Tensor | None) -> Tensor:
        """Returns the loss of the whole batch; the features are those of this process's part."""
        value: Tensor = self.loss(features, labels)
        n = processes.world_size()
        return n * value - (n - 1) * value.detach()


class MeanTripletLoss(TripletLoss):
    """Triplet loss over cosine distances, averaged over all negatives of a row; the library's takes a single one."""

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Tensor | None) -> Tensor:
        """Returns the loss of query, document and negatives, each (n rows, dim)."""
        query, document, *negatives = embeddings
        loss_of_one = super().compute_loss_from_embeddings
        return torch.stack([loss_of_one([query, document, negative], labels) for negative in negatives]).mean()


class LabelledPairsLoss(ContrastiveLoss):
    """Contrastive loss over the pairs of a row: query and document (label 1), query and each negative (label 0).

    Pairs are built here from each row, so that a query's pairs share a batch and the query is embedded once.
    The library's OnlineContrastiveLoss is not used: it keeps only the hardest pairs of a batch, but mined negatives are
    hard already; and it sums them, but only a mean lets one learning rate and distillation weight fit any batch size.
    """

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Tensor | None) -> Tensor:
        """Returns the loss of query, document and negatives, each (n rows, dim)."""
        query, *documents = embeddings
        labels = torch.zeros(len(documents), len(query), device=query.device)
        labels[0] = 1
        pairs = [query.repeat(len(documents), 1), torch.cat(documents)]
        loss: Tensor = super().compute_loss_from_embeddings(pairs, labels.flatten())
        return loss


def build_loss(model: SentenceTransformer, params: TrainParams, guide: SentenceTransformer | None) -> Module:
    """Builds the loss over training rows that the parameters name, Matryoshka dimensions included.

    Args:
        model: the encoder that is trained.
        params: parameters of the run.
        guide: frozen encoder, needed for gist only.
    """
    loss = _library_loss(model, params, guide)
    if params.matryoshka_dims:
        # Kusupati et al. 2022, arXiv 2205.13147; the whole embedding stays one of the dimensions
        loss = MatryoshkaLoss(model, loss, [model.get_embedding_dimension(), *params.matryoshka_dims])
    return loss


def _library_loss(model: SentenceTransformer, params: TrainParams, guide: SentenceTransformer | None) -> Module:
    settings: dict[str, tuple[type[Module], dict[str, object]]] = {
        "mnrl": (MultipleNegativesRankingLoss, _ranking_settings(params)),
        "cached_mnrl": (CachedMultipleNegativesRankingLoss, _ranking_settings(params)),
        "gist": (CachedGISTEmbedLoss if params.mini_batch_size else GISTEmbedLoss, _gist_settings(params, guide)),
        "triplet": (
            MeanTripletLoss,
            {"distance_metric": TripletDistanceMetric.COSINE, "triplet_margin": params.triplet_margin},
        ),
        "contrastive": (LabelledPairsLoss, {"margin": params.contrastive_margin}),
    }
    loss_type, own_settings = settings[params.loss]
    parts = {"mini_batch_size": params.mini_batch_size} if params.mini_batch_size else {}
    if processes.world_size() > 1 and loss_type is GISTEmbedLoss:
        # it embeds and compares in one call; the cached form with one chunk has the same value, at one more pass
        loss_type, parts = CachedGISTEmbedLoss, {"mini_batch_size": params.batch_size}
    return over_all_processes(loss_type)(model, **own_settings, **parts)


def _ranking_settings(params: TrainParams) -> dict[str, object]:
    settings: dict[str, object] = {"scale": params.scale}
    if params.symmetric:
        settings |= {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"}
    return settings


def _gist_settings(params: TrainParams, guide: SentenceTransformer | None) -> dict[str, object]:
    return {
        "guide": guide,
        "temperature": 1 / params.scale,
        "margin_strategy": "relative",
        "margin": params.guide_margin,
        "contrast_anchors": params.guide_same_side,
        "contrast_positives": params.guide_same_side,
    }
