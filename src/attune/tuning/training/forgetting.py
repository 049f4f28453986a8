"""Protection against forgetting: distillation from the base encoder, and general rows mixed into the training rows.

Distillation: each step also embeds a few general texts and adds their mean cosine distance to the base's embeddings of
them (EmbedDistill, Kim et al. 2023, arXiv 2301.12005). Seed and step alone decide which texts, so a resumed run draws
the same ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

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
from attune.stage import named
from attune.tuning.general_text import Pair
from attune.tuning.training.conflicts import BatchingKeys
from attune.tuning.training.losses import over_all_processes
from attune.tuning.training.packing import PackedLoss
from attune.tuning.training.recipe import TrainParams

BATCH_TOKENS = 4096
# streams of random numbers beside the order of the batches (stream 0), all drawn from the run's seed
DISTILLATION_STREAM, MIXING_STREAM = 1, 2


@dataclass(frozen=True)
class Teacher:
    """General texts, prompts included, and the base's embeddings of them: (n texts, dim)."""

    texts: Sequence[str]
    embeddings: Tensor


def teacher_embeddings(base: SentenceTransformer, pairs: Sequence[Pair]) -> Teacher:
    """Embeds the queries and passages of general pairs with the base, once, in fp32."""
    encoder = TorchEncoder(base, "fp32", BATCH_TOKENS)
    prompts = [base.prompts.get(kind, "") for kind in ("query", "document")]
    queries, passages = ([getattr(pair, side) for pair in pairs] for side in Pair._fields)
    embeddings = np.concatenate([encoder.encode_query(queries), encoder.encode_document(passages)])
    texts = [prompt + text for prompt, side in zip(prompts, (queries, passages), strict=True) for text in side]
    return Teacher(texts, torch.from_numpy(embeddings))


def sample_texts(n_texts: int, n: int, seed: int, step: int) -> list[int]:
    """Samples the texts of a step: n of n_texts, or all where there are fewer, none twice."""
    random = np.random.default_rng([seed, DISTILLATION_STREAM, step])
    return [int(text) for text in random.choice(n_texts, min(n, n_texts), replace=False)]


class WithDistillation(torch.nn.Module):
    """Adds to a loss the weighted mean cosine distance to the teacher's embeddings of this step's general texts.

    Raises:
        BadInput: teacher and model have embeddings of different dimensions.
    """

    def __init__(
        self, model: SentenceTransformer, loss: torch.nn.Module, params: TrainParams, teacher: Teacher
    ) -> None:
        super().__init__()
        if (dimension := model.get_embedding_dimension()) != teacher.embeddings.shape[1]:
            raise BadInput(
                f"train: the base encoder has {teacher.embeddings.shape[1]} dimensions, the tuned one {dimension}; "
                "set train.distill_weight to 0, or start from an encoder that came of this base"
            )
        self.model, self.loss = model, loss
        self.distance: Any = over_all_processes(EmbedDistillLoss)(model, distance_metric="cosine")
        self.params, self.teacher = params, teacher
        self.step = 0  # set by StepCallback

    def forward(self, features: Iterable[dict[str, Tensor]], labels: Tensor | None) -> Tensor:
        """Returns the loss of a batch of rows and of this step's general texts."""
        n = self.params.distill_batch_size
        rows = sample_texts(len(self.teacher.texts), n, self.params.seed, self.step)
        texts = [self.teacher.texts[row] for row in processes.own_part(rows)]
        general = batch_to_device(self.model.preprocess(texts), self.model.device)
        wanted = self.teacher.embeddings[rows].to(self.model.device)
        if isinstance(self.loss, PackedLoss):  # in one pass: a second one would compute a gradient of all weights again
            *columns, embeddings = self.loss.embed([*features, general])
            value = self.loss.of_embeddings(columns, labels)
            distance = self.distance.compute_loss_from_embeddings([embeddings], [wanted])
        else:
            value = self.loss(features, labels)
            distance = self.distance([general], wanted)
        total: Tensor = value + self.params.distill_weight * distance
        return total


class StepCallback(TrainerCallback):
    """Sets the step of the distillation loss."""

    def __init__(self, loss: WithDistillation) -> None:
        self.loss = loss

    def on_step_begin(self, _args: object, state: TrainerState, _control: object, **_: object) -> None:
        """Sets the number of steps taken so far, those before a kill included."""
        self.loss.step = state.global_step


def with_general_rows(
    columns: Mapping[str, Sequence[str]], keys: BatchingKeys, pairs: Sequence[Pair], share: float, seed: int
) -> tuple[dict[str, list[str]], BatchingKeys]:
    """Adds general pairs until they are a share of an epoch's rows; pairs repeat where there are too few.

    Args:
        columns: query, positive, negative_1..n of the domain's rows.
        keys: their judgments and lengths.
        pairs: general text; of those with the same query or passage, the first counts.
        share: of an epoch's rows, the added ones included; 0 adds none.
        seed: decides which pairs are added, and which passages are their negatives.

    Returns:
        The rows with the general ones at the end, each a query of its own, and the batching keys of them all: a passage
        is relevant to no query but that of its pair.

    Raises:
        BadInput: there are too few pairs to give each its negatives.
    """
    n_negatives = len(columns) - 2
    unique = _unique(pairs)
    n_general = round(keys.n_rows_per_epoch * share / (1 - share))
    if n_general and len(unique) <= n_negatives:
        raise BadInput(
            f"{named('train.general')}: {len(unique)} pairs with texts of their own cannot give each "
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
    first_document = 1 + max(document for own in (*keys.documents, *keys.relevant) for document in own)
    first_query = 1 + max(keys.queries)
    return rows, replace(
        keys,
        # a number for each row: all are drawn in each epoch
        queries=[*keys.queries, *range(first_query, first_query + n_general)],
        near_groups=[*keys.near_groups, *(len(keys.relevant) + own for own in chosen)],
        documents=[
            *keys.documents,
            *(
                [first_document + pair for pair in (own, *others)]
                for own, others in zip(chosen, negatives, strict=True)
            ),
        ],
        relevance=[*keys.relevance, *(1 for _ in chosen)],
        # lengths drawn from the domain's rows, whatever their own: batched by those, they would share few batches
        lengths=[*keys.lengths, *random.choice(keys.lengths, n_general).tolist()],
        relevant=[*keys.relevant, *(frozenset((first_document + own,)) for own in range(len(unique)))],
    )


def _unique(pairs: Sequence[Pair]) -> list[Pair]:
    """Returns the pairs whose query and passage no earlier pair has; the others would be false negatives of those."""
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
    """Samples n_others of the numbers below n, without `own`."""
    drawn = random.choice(n - 1, n_others, replace=False).tolist()
    return [other + (other >= own) for other in drawn]
