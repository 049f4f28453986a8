"""Training of the query adapter: the loss and its gradient by hand, the mask, the draw of documents, equal bytes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from attune.export.query_map import QueryMap
from attune.runtime.arrays import Float32, Float64, Int64
from attune.stage import Machine
from attune.tuning.adapter.fit import AdapterParams, Pairs, Residual, batch_loss, fit
from attune.tuning.adapter.pairs import train_pairs

MACHINE = Machine(threads=1, precision="fp32", batch_tokens=4096)
PARAMS = AdapterParams(
    steps=60,
    batch_size=16,
    learning_rate=0.01,
    scale=20,
    rank=0,
    hidden=0,
    n_documents=1000,
    evaluate_every=10,
    patience=2,
    machine=MACHINE,
)
N, DIM = 60, 8


def unit(vectors: Float64) -> Float32:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def rotated(seed: int = 0) -> Pairs:
    """Each query is its document seen in another basis, which a matrix turns back."""
    random = np.random.default_rng(seed)
    documents = unit(random.normal(size=(N, DIM)))
    turn = np.linalg.qr(random.normal(size=(DIM, DIM)))[0]
    pairs = np.column_stack([np.arange(N), np.arange(N)])
    return Pairs(unit(documents @ turn + documents), documents, pairs, pairs)


def first_places(pairs: Pairs) -> Float64:
    return np.asarray(np.argmax(pairs.queries @ pairs.documents.T, axis=1) == np.arange(N), dtype=np.float64)


def score(pairs: Pairs, query_map: QueryMap) -> Float64:
    return first_places(replace(pairs, queries=query_map(pairs.queries)))


def loss_by_hand(matrix: Float64, pairs: Pairs, batch: Int64, columns: Int64, scale: float) -> float:
    """The softmax loss of x @ matrix to length 1, in double precision, one pair after another."""
    losses = []
    for query, target in batch:
        x = pairs.queries[query].astype(np.float64) @ matrix
        x /= np.sqrt(x @ x)
        known = {row for judged, row in pairs.masked if judged == query}
        rows = [row for row in columns if row == target or row not in known]
        logits = {row: scale * float(x @ pairs.documents[row].astype(np.float64)) for row in rows}
        losses.append(np.log(sum(np.exp(value) for value in logits.values())) - logits[target])
    return float(np.mean(losses))


def test_loss_and_gradient_are_those_computed_by_hand() -> None:
    """Over all documents, of which the first query's two nearest are masked; central differences give the gradient."""
    pairs = rotated()
    nearest = [row for row in np.argsort(-(pairs.documents @ pairs.queries[0]))[:3] if row != 0][:2]
    pairs = replace(pairs, masked=np.vstack([pairs.masked, [[0, row] for row in nearest]]))
    batch, columns = pairs.pairs[:4], np.arange(N)
    judged = csr_array((np.ones(len(pairs.masked)), tuple(pairs.masked.T)), shape=(N, N))
    model = Residual(DIM, PARAMS, torch.Generator().manual_seed(0))
    start = np.random.default_rng(1).normal(size=(DIM, DIM)) * 0.1
    model.up.data = torch.tensor(start, dtype=torch.float32)
    mapped = model(torch.from_numpy(pairs.queries[batch[:, 0]]))
    loss = batch_loss(mapped, torch.from_numpy(pairs.documents), batch[:, 1], judged[batch[:, 0]], 20)
    loss.backward()
    assert loss.item() == pytest.approx(loss_by_hand(np.eye(DIM) + start, pairs, batch, columns, 20), abs=1e-5)
    unmasked = replace(pairs, masked=pairs.pairs)
    assert loss.item() < loss_by_hand(np.eye(DIM) + start, unmasked, batch, columns, 20) - 1e-3
    assert model.up.grad is not None
    for row, column in ((0, 0), (3, 6), (7, 2)):
        step = np.zeros((DIM, DIM))
        step[row, column] = 1e-4
        ends = [loss_by_hand(np.eye(DIM) + start + side * step, pairs, batch, columns, 20) for side in (1, -1)]
        assert float(model.up.grad[row, column]) == pytest.approx((ends[0] - ends[1]) / 2e-4, abs=1e-4)


@pytest.mark.parametrize("shape", [{}, {"rank": 6}, {"hidden": 32}])
def test_a_map_learns_what_a_matrix_can_say(shape: dict[str, int]) -> None:
    """Most queries find their document afterwards; the map is the one that dev liked best, not the last."""
    pairs, params = rotated(), PARAMS.model_copy(update={"steps": 200, "learning_rate": 0.02, **shape})
    fitted = fit(pairs, params, 13, lambda query_map: score(pairs, query_map))
    assert fitted.values.mean() >= fitted.base.mean() + 0.2
    assert fitted.values.mean() == max(value for _, value in fitted.curve) == score(pairs, fitted.query_map).mean()
    assert dict(fitted.curve)[fitted.step] == fitted.values.mean() and fitted.curve[0] == (0, fitted.base.mean())


def test_equal_seeds_give_equal_bytes_and_drawn_documents_train_too() -> None:
    """Also where a step draws a part of the documents; another seed draws others."""
    pairs, params = rotated(), PARAMS.model_copy(update={"n_documents": 20})
    runs = [fit(pairs, params, seed, lambda query_map: score(pairs, query_map)) for seed in (13, 13, 14)]
    first, second, other = (run.query_map.matrix for run in runs)
    assert first is not None and second is not None and other is not None
    assert first.tobytes() == second.tobytes() != other.tobytes()
    assert runs[0].values.mean() > runs[0].base.mean()


def test_no_steps_and_steps_that_never_help_leave_the_identity() -> None:
    """Training ends after `patience` evaluations without a better one."""
    pairs = rotated()
    off = fit(pairs, PARAMS.model_copy(update={"steps": 0}), 13, lambda query_map: score(pairs, query_map))
    assert off.query_map.is_identity and (off.step, off.n_steps, len(off.curve)) == (0, 0, 1)
    never = fit(pairs, PARAMS, 13, lambda query_map: np.full(N, 1.0 if query_map.is_identity else 0.5))
    assert never.query_map.is_identity and (never.step, never.n_steps) == (0, 20)


def test_numbers_that_make_denormal_products_count_as_zero() -> None:
    """Those of 1e-33 and 1e-13, in pairs of queries and documents; the embeddings given stay as they are."""
    queries = np.array([[1, 1e-33], [1e-13, 1], [1e-11, -1]], dtype=np.float32)
    given = queries.copy()
    usable, rows, judgments = np.ones(3, dtype=bool), np.arange(3), np.array([[0, 1, 1], [2, 0, 1]])
    pairs = train_pairs(judgments, np.empty((0, 2), dtype=np.int64), usable, queries, rows, queries)
    expected = np.array([[1, 0], [0, 1], [1e-11, -1]], dtype=np.float32)
    assert (pairs.queries == expected).all() and (pairs.documents == expected).all()
    assert (queries == given).all() and pairs.pairs.tolist() == [[0, 1], [2, 0]]


def test_a_map_has_one_shape() -> None:
    """A rank beside a hidden layer is refused."""
    with pytest.raises(ValueError, match="rank is 2 and hidden 3, expected 0 for one of them"):
        AdapterParams(**PARAMS.model_dump() | {"rank": 2, "hidden": 3})
