"""Holds the encoder to what the base makes of general text: a cure for forgetting, paid for in every step.

Each step also embeds a few general texts and adds their mean cosine distance to the base's embeddings of them
(EmbedDistill, Kim et al. 2023, arXiv 2301.12005). Which texts depends on seed and step alone, so a resumed run draws
the same ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import EmbedDistillLoss
from sentence_transformers.util import batch_to_device
from torch import Tensor
from transformers import TrainerCallback, TrainerState

from attune.encoding import processes
from attune.encoding.encoders import TorchEncoder
from attune.errors import BadInput
from attune.tuning.general_text import Pair
from attune.tuning.training.batches import Rows
from attune.tuning.training.losses import over_all_processes
from attune.tuning.training.recipe import Recipe

BATCH_TOKENS = 4096
# streams of random numbers beside the order of the batches (stream 0), all drawn from the run's seed
DISTILLATION_STREAM, MIXING_STREAM = 1, 2


@dataclass(frozen=True)
class Lesson:
    """General texts, prompts included, and the base's embeddings of them: (n texts, dim)."""

    texts: Sequence[str]
    embeddings: Tensor


def lesson(base: SentenceTransformer, pairs: Sequence[Pair]) -> Lesson:
    """Embeds the queries and passages of general pairs, once, in fp32."""
    encoder = TorchEncoder(base, "fp32", BATCH_TOKENS)
    prompts = [base.prompts.get(kind, "") for kind in ("query", "document")]
    queries, passages = ([getattr(pair, side) for pair in pairs] for side in Pair._fields)
    embeddings = np.concatenate([encoder.encode_query(queries), encoder.encode_document(passages)])
    texts = [prompt + text for prompt, side in zip(prompts, (queries, passages), strict=True) for text in side]
    return Lesson(texts, torch.from_numpy(embeddings))


def drawn(n_texts: int, n: int, seed: int, step: int) -> list[int]:
    """Which texts a step is taught: n of them, or all where there are fewer, none twice."""
    random = np.random.default_rng([seed, DISTILLATION_STREAM, step])
    return [int(text) for text in random.choice(n_texts, min(n, n_texts), replace=False)]


class Distilled(torch.nn.Module):
    """A loss, plus the weighted cosine distance to the lesson's embeddings."""

    def __init__(self, model: SentenceTransformer, loss: torch.nn.Module, recipe: Recipe, lesson: Lesson) -> None:
        super().__init__()
        if (dimension := model.get_embedding_dimension()) != lesson.embeddings.shape[1]:
            raise BadInput(
                f"train: the base encoder has {lesson.embeddings.shape[1]} dimensions, the tuned one {dimension}; "
                "set train.distill_weight to 0, or start from an encoder that came of this base"
            )
        self.model, self.loss = model, loss
        self.distance = over_all_processes(EmbedDistillLoss)(model, distance_metric="cosine")
        self.recipe, self.lesson = recipe, lesson
        self.step = 0

    def forward(self, features: Iterable[dict[str, Tensor]], labels: Tensor | None) -> Tensor:
        """The loss of a batch of rows and of this step's general texts."""
        n = self.recipe.distill_batch_size
        rows = drawn(len(self.lesson.texts), n, self.recipe.seed, self.step)
        own = processes.own_part(rows)
        taught = batch_to_device(self.model.preprocess([self.lesson.texts[row] for row in own]), self.model.device)
        distance = self.distance([taught], self.lesson.embeddings[rows].to(self.model.device))
        value: Tensor = self.loss(features, labels) + self.recipe.distill_weight * distance
        return value


class Clock(TrainerCallback):
    """Tells the distilled loss which step it is."""

    def __init__(self, loss: Distilled) -> None:
        self.loss = loss

    def on_step_begin(self, _args: object, state: TrainerState, _control: object, **_: object) -> None:
        """The steps taken so far, those before a kill included."""
        self.loss.step = state.global_step


def mixed(
    columns: Mapping[str, Sequence[str]], batching: Rows, pairs: Sequence[Pair], share: float, seed: int
) -> tuple[dict[str, list[str]], Rows]:
    """Adds general pairs until they are a share of all rows, going round when there are too few.

    Args:
        columns: query, positive, negative_1..n: the domain's rows.
        batching: their clusters and lengths.
        pairs: general text; of those with the same query or passage, the first counts.
        share: of all rows, the added ones included; 0 adds none.
        seed: decides which pairs, and which passages are their negatives.

    Returns:
        The rows with the general ones at the end, each pair a cluster of its own, and what batching needs of them all.

    Raises:
        BadInput: there are too few pairs to give each its negatives.
    """
    n_negatives = len(columns) - 2
    n_domain = len(batching.lengths)
    unique = _unique(pairs)
    n_general = round(n_domain * share / (1 - share))
    if n_general and len(unique) <= n_negatives:
        raise BadInput(
            f"params.yaml: train.general: {len(unique)} pairs with texts of their own cannot give each "
            f"{n_negatives} negatives; add some, or set train.general_share to 0"
        )
    random = np.random.default_rng([seed, MIXING_STREAM])
    order = random.permutation(len(unique))
    chosen = [int(order[place % len(unique)]) for place in range(n_general)]
    negatives = [_others(random, len(unique), own, n_negatives) for own in chosen]
    added = [
        [unique[own].query, unique[own].passage, *(unique[other].passage for other in others)]
        for own, others in zip(chosen, negatives, strict=True)
    ]
    rows = {name: [*column, *(row[place] for row in added)] for place, (name, column) in enumerate(columns.items())}
    # tuples, so that no cluster of the domain has the same name
    return rows, Rows(
        clusters=[*batching.clusters, *(("general", own) for own in chosen)],
        negative_clusters=[*batching.negative_clusters, *([("general", n) for n in others] for others in negatives)],
        # the length of some row of the domain, whatever their own: batched by it, they would come in lumps
        lengths=[*batching.lengths, *random.choice(batching.lengths, n_general).tolist()],
    )


def _unique(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs whose query and passage no earlier one has: as negatives of each other, others would be false."""
    queries: set[str] = set()
    passages: set[str] = set()
    kept = []
    for pair in pairs:
        if pair.query not in queries and pair.passage not in passages:
            kept.append(pair)
            queries.add(pair.query)
            passages.add(pair.passage)
    return kept


def _others(random: np.random.Generator, n: int, own: int, n_others: int) -> list[int]:
    drawn = random.choice(n - 1, n_others, replace=False).tolist()
    return [other + (other >= own) for other in drawn]
