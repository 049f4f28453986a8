"""Training of token vectors over frozen document embeddings, early-stopped on dev.

The loss of a step is the softmax over all documents that train may use (InfoNCE with the whole corpus as negatives, as
for the query adapter), plus the cosine distance to the encoder's own embeddings of the step's queries and of lines of
train's documents, which say what the encoder makes of words that no query of train has. A query is the sum of its
tokens' vectors, whose lengths are their weights, so a step moves only the rows of its tokens.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from pydantic import Field

from attune.runtime.arrays import Float32, Float64, Int64
from attune.stage import Machine, Params
from attune.tuning.adapter.fit import Pairs, batches, softmax_batches, without_tiny
from attune.tuning.static.tokens import Bags


class StaticParams(Params):
    """Texts and training of the token vectors.

    Attributes:
        steps: most steps; 0 turns the static encoder off.
        batch_size: pairs per step.
        learning_rate: of Adam, constant.
        scale: inverse temperature of the softmax over cosines.
        n_lines: lines of train's documents that the encoder embeds.
        n_tokens: most tokens that get a vector.
        n_documents: most passages drawn for the softmax of a step, beside the batch's own.
        evaluate_every: steps between evaluations on dev.
        patience: evaluations without a better one until the run stops.
    """

    steps: int = Field(ge=0, le=100_000)
    batch_size: int = Field(ge=1, le=65_536)
    learning_rate: float = Field(gt=0, le=1)
    scale: float = Field(gt=0, le=1000)
    n_lines: int = Field(ge=0, le=10_000_000)
    n_tokens: int = Field(ge=1, le=10_000_000)
    n_documents: int = Field(ge=1)
    evaluate_every: int = Field(ge=1)
    patience: int = Field(ge=1)
    machine: Machine


@dataclass(frozen=True)
class Lines:
    """Texts without judgments and their encoder's embeddings.

    Attributes:
        bags: tokens of each line.
        embeddings: (n_lines, dim), of length 1.
    """

    bags: Bags
    embeddings: Float32


@dataclass(frozen=True)
class Fitted:
    """The best token vectors on dev.

    Attributes:
        vectors: (n_tokens, dim), a token's weight being its row's length.
        step: at which they stood.
        n_steps: steps taken.
        values: (n_queries,) their nDCG@10 on dev.
        curve: step and mean nDCG@10 on dev of each evaluation, step 0 first.
    """

    vectors: Float32
    step: int
    n_steps: int
    values: Float64
    curve: Sequence[tuple[int, float]]


def embedded(vectors: torch.Tensor, bags: Bags) -> torch.Tensor:
    """Returns the sum of each text's token vectors, of length 1, (n_texts, dim); gradients are sparse."""
    rows, offsets = torch.from_numpy(bags.rows), torch.from_numpy(bags.offsets[:-1])
    sums = torch.nn.functional.embedding_bag(rows, vectors, offsets, mode="sum", sparse=vectors.requires_grad)
    return torch.nn.functional.normalize(sums, dim=1)


def fit(
    start: Float32,
    queries: Bags,
    pairs: Pairs,
    lines: Lines,
    params: StaticParams,
    seed: int,
    score: Callable[[Float32], Float64],
) -> Fitted:
    """Trains token vectors and returns the best of their evaluations on dev; equal seeds give equal bytes.

    So they do in several threads, too, if `set_torch_threads` has set these: the optimizer takes square roots.

    Args:
        start: (n_tokens, dim) token vectors.
        queries: tokens of train's queries.
        pairs: of train; its queries' embeddings are those of the encoder.
        lines: texts beside the queries.
        params: training.
        seed: of the batches and the drawn documents.
        score: nDCG@10 on dev of token vectors, (n_queries,).
    """
    random = np.random.default_rng(seed)
    vectors = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = torch.optim.SparseAdam([vectors], lr=params.learning_rate)
    own, of_lines = torch.from_numpy(pairs.queries), torch.from_numpy(without_tiny(lines.embeddings))
    values = score(start)
    best, step, curve = Fitted(start, 0, 0, values, ()), 0, [(0, float(values.mean()))]
    n_steps_of_a_pass = -(-len(pairs.pairs) // params.batch_size)
    line_rows: Iterator[Int64] = batches(len(lines.bags), -(-len(lines.bags) // max(1, n_steps_of_a_pass)), random)
    for batch in softmax_batches(pairs, params.batch_size, params.n_documents, random):
        if step >= params.steps or step - best.step >= params.patience * params.evaluate_every:
            break
        optimizer.zero_grad()
        embeddings = embedded(vectors, queries.take(batch.queries))
        loss = batch.loss(embeddings, params.scale) + _distance(embeddings, own[batch.queries])
        if len(lines.bags):
            chosen = next(line_rows)
            loss = loss + _distance(embedded(vectors, lines.bags.take(chosen)), of_lines[chosen])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()  # type: ignore[no-untyped-call]
        step += 1
        if step % params.evaluate_every == 0 or step == params.steps:
            current = vectors.detach().numpy()
            values = score(current)
            curve.append((step, float(values.mean())))
            if values.mean() > best.values.mean():
                best = Fitted(current.copy(), step, step, values, ())
    return replace(best, n_steps=step, curve=curve)


def _distance(embeddings: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
    """Returns the mean cosine distance of embeddings to those of the encoder, (n, dim) each and of length 1."""
    return 1 - (embeddings * taught).sum(dim=1).mean()
