"""Holds the encoder to what the base makes of general text: a cure for forgetting, paid for in every step.

Each step also embeds a few general texts and adds their mean cosine distance to the base's embeddings of them
(EmbedDistill, Kim et al. 2023, arXiv 2301.12005). Which texts depends on seed and step alone, so a resumed run draws
the same ones.
"""

from collections.abc import Iterable, Sequence
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
from attune.tuning.training.gathering import over_all_processes
from attune.tuning.training.recipe import Recipe

BATCH_TOKENS = 4096
STREAM = 1  # apart from the order of the batches, which draws from the same seed


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
    random = np.random.default_rng([seed, STREAM, step])
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
        own = processes.part(rows)
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
