"""Training of a query map on frozen embeddings, early-stopped on dev.

The loss is the softmax over all documents that train may use (InfoNCE with the whole corpus as negatives; at most
`n_documents` of them, drawn anew in each step). A query's other relevant documents are masked. Documents are never
moved, so a step costs a matrix product and no encoding.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from pydantic import Field, model_validator
from scipy.sparse import csr_array

from attune.export.query_map import QueryMap
from attune.runtime.arrays import Float32, Float64, Int64
from attune.stage import Machine, Params

# Smaller numbers count as 0. Some encoders have dimensions of 1e-33, whose products with the softmax's small shares are
# denormal, and these take processors ten times as long.
TINY = 1e-12
SPREAD = 0.02  # standard deviation of the first matrix of two at the start; the second is 0


class AdapterParams(Params):
    """Shape and training of the map.

    Attributes:
        steps: most steps; 0 leaves the identity.
        batch_size: pairs per step.
        learning_rate: of Adam, constant.
        scale: inverse temperature of the softmax over cosines.
        rank: of the learned matrix; 0 for all of it.
        hidden: units of a hidden layer with ReLU in its place; 0 for none.
        n_documents: most passages drawn for the softmax of a step, beside the batch's own.
        evaluate_every: steps between evaluations on dev.
        patience: evaluations without a better one until the run stops.
    """

    steps: int = Field(ge=0, le=100_000)
    batch_size: int = Field(ge=1, le=65_536)
    learning_rate: float = Field(gt=0, le=1)
    scale: float = Field(gt=0, le=1000)
    rank: int = Field(ge=0, le=65_536)
    hidden: int = Field(ge=0, le=65_536)
    n_documents: int = Field(ge=1)
    evaluate_every: int = Field(ge=1)
    patience: int = Field(ge=1)
    machine: Machine

    @model_validator(mode="after")
    def _has_one_shape(self) -> Self:
        if self.rank and self.hidden:
            raise ValueError(f"rank is {self.rank} and hidden {self.hidden}, expected 0 for one of them")
        return self


@dataclass(frozen=True)
class Pairs:
    """Frozen embeddings, `without_tiny` numbers, and the pairs of train.

    Attributes:
        queries: (n_queries, dim), of length 1.
        documents: (n_passages, dim), of length 1: the passages of all documents that train may use.
        pairs: (n_pairs, 2) query row and passage row, the passage of a relevant document that is nearest to the query.
        masked: (n, 2) query row and passage row, every passage of the query's relevant documents, and of its own text.
    """

    queries: Float32
    documents: Float32
    pairs: Int64
    masked: Int64


@dataclass(frozen=True)
class Fitted:
    """The best map on dev.

    Attributes:
        query_map: the identity where no step was better than none.
        step: at which it stood.
        n_steps: steps taken.
        values: (n_queries,) its nDCG@10 on dev.
        base: (n_queries,) that of the identity.
        curve: step and mean nDCG@10 on dev of each evaluation, step 0 first.
    """

    query_map: QueryMap
    step: int
    n_steps: int
    values: Float64
    base: Float64
    curve: Sequence[tuple[int, float]]


class Residual(torch.nn.Module):
    """x + f(x), to length 1; f is 0 at the start: a matrix, one of low rank, or a hidden layer with ReLU."""

    def __init__(self, dim: int, params: AdapterParams, generator: torch.Generator) -> None:
        super().__init__()
        width = params.hidden or params.rank
        down = torch.randn((dim, width), generator=generator) * SPREAD if width else None
        self.down = torch.nn.Parameter(down) if down is not None else None
        self.bias = torch.nn.Parameter(torch.zeros(width)) if params.hidden else None
        self.up = torch.nn.Parameter(torch.zeros((width or dim, dim)))

    def forward(self, queries: torch.Tensor) -> torch.Tensor:
        """Maps (n, dim) to (n, dim)."""
        inner = queries if self.down is None else queries @ self.down
        inner = torch.relu(inner + self.bias) if self.bias is not None else inner
        return torch.nn.functional.normalize(queries + inner @ self.up, dim=1)

    def query_map(self) -> QueryMap:
        """Returns the map as arrays; a matrix of low rank multiplied out."""
        up = _array(self.up)
        if self.down is not None and self.bias is not None:
            return QueryMap(hidden=(_array(self.down), _array(self.bias), up))
        learned = up if self.down is None else _array(self.down).astype(np.float64) @ up
        return QueryMap(matrix=(np.eye(len(up[0])) + learned).astype(np.float32))


def _array(parameter: torch.Tensor) -> Float32:
    return parameter.detach().numpy().copy()


def batch_loss(
    queries: torch.Tensor, documents: torch.Tensor, targets: Int64, judged: csr_array, scale: float
) -> torch.Tensor:
    """Returns the mean softmax loss of some pairs.

    Args:
        queries: (n, dim), mapped.
        documents: (n_documents, dim).
        targets: (n) document row of each pair.
        judged: (n, n_documents), not 0 where a document is masked for a pair's query, its own excepted.
        scale: inverse temperature.
    """
    masked = judged.tocoo()
    is_other = masked.col != targets[masked.row]
    places = tuple(torch.from_numpy(part[is_other].astype(np.int64)) for part in (masked.row, masked.col))
    logits = scale * queries @ documents.T
    logits.detach()[places] = -torch.inf  # in place and beside autograd: the softmax's gradient is 0 there
    return torch.nn.functional.cross_entropy(logits, torch.from_numpy(targets))


def batches(n_pairs: int, size: int, random: np.random.Generator) -> Iterator[Int64]:
    """Yields rows of pairs without end, each pass over them in a new order; nothing where there are none."""
    while n_pairs:
        order = random.permutation(n_pairs)
        for start in range(0, n_pairs, size):
            yield order[start : start + size]


def without_tiny(vectors: Float32) -> Float32:
    """Returns a copy of embeddings in which numbers nearer to 0 than TINY are 0."""
    return np.where(np.abs(vectors) < TINY, np.float32(0), vectors)


@dataclass(frozen=True)
class Batch:
    """Pairs of a step, and the documents of its softmax.

    Attributes:
        queries: (n,) query row of each pair.
        documents: (n_documents, dim) embeddings.
        targets: (n,) row in `documents` of each pair's document.
        judged: (n, n_documents), not 0 where a document is masked for a pair's query.
    """

    queries: Int64
    documents: torch.Tensor
    targets: Int64
    judged: csr_array

    def loss(self, embeddings: torch.Tensor, scale: float) -> torch.Tensor:
        """Returns the mean softmax loss of the pairs, given the (n, dim) embeddings of their queries."""
        return batch_loss(embeddings, self.documents, self.targets, self.judged, scale)


def softmax_batches(pairs: Pairs, size: int, n_documents: int, random: np.random.Generator) -> Iterator[Batch]:
    """Yields batches of pairs without end, each with at most `n_documents` drawn documents beside its own ones."""
    documents, n_all = torch.from_numpy(pairs.documents), len(pairs.documents)
    shape = len(pairs.queries), n_all
    judged = csr_array((np.ones(len(pairs.masked)), tuple(pairs.masked.T)), shape=shape)
    for rows in batches(len(pairs.pairs), size, random):
        queries, targets = pairs.pairs[rows].T
        if n_all <= n_documents:
            yield Batch(queries, documents, targets, judged[queries])
            continue
        drawn = random.choice(n_all, n_documents, replace=False, shuffle=False)
        columns = np.unique(np.concatenate([drawn, targets]))
        places = np.searchsorted(columns, targets)
        yield Batch(queries, documents[columns], places, judged[queries][:, columns])


def fit(pairs: Pairs, params: AdapterParams, seed: int, score: Callable[[QueryMap], Float64]) -> Fitted:
    """Trains a map and returns the best of its evaluations on dev; equal seeds give equal bytes.

    So they do in several threads, too, if `set_torch_threads` has set these: the optimizer takes square roots.

    Args:
        pairs: of train.
        params: shape and training.
        seed: of the start, the batches and the drawn documents.
        score: nDCG@10 on dev of a map, (n_queries,).
    """
    random = np.random.default_rng(seed)
    model = Residual(pairs.queries.shape[1], params, torch.Generator().manual_seed(seed))
    optimizer = torch.optim.Adam(model.parameters(), lr=params.learning_rate)
    queries, base = torch.from_numpy(pairs.queries), score(QueryMap())
    best, step, curve = Fitted(QueryMap(), 0, 0, base, base, ()), 0, [(0, float(base.mean()))]
    for batch in softmax_batches(pairs, params.batch_size, params.n_documents, random):
        if step >= params.steps or step - best.step >= params.patience * params.evaluate_every:
            break
        optimizer.zero_grad()
        loss = batch.loss(model(queries[batch.queries]), params.scale)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        step += 1
        if step % params.evaluate_every == 0 or step == params.steps:
            values = score(model.query_map())
            curve.append((step, float(values.mean())))
            if values.mean() > best.values.mean():
                best = Fitted(model.query_map(), step, step, values, base, ())
    return replace(best, n_steps=step, curve=curve)
