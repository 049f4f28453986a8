"""The bridge from an old index: the map that a closed form gives, and the share of the gain that it keeps on dev."""

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from attune.errors import BadInput
from attune.evaluation.bridge import PENALTIES, Bridge, fit_bridge, kept_gain
from attune.evaluation.scoring.judgments import Split
from attune.runtime.arrays import Float32

RANDOM = np.random.default_rng(5)


def unit(vectors: NDArray[np.floating]) -> Float32:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def rotation(dim: int) -> NDArray[np.floating]:
    return np.linalg.qr(RANDOM.normal(size=(dim, dim)))[0]


def left_out(old: Float32, target: NDArray[np.floating], penalty: float) -> float:
    """Mean squared error on each document by a ridge regression that is solved without it."""
    errors = []
    for row in range(len(old)):
        x, y = np.delete(old, row, 0).astype(np.float64), np.delete(target, row, 0)
        weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)
        errors.append(((old[row] @ weights - target[row]) ** 2).mean())
    return float(np.mean(errors))


@pytest.mark.parametrize("dim", [6, 4])
def test_the_map_is_the_ridge_regression_that_predicts_left_out_documents_best(dim: int) -> None:
    """Of the change where dimensions are equal, else of the vectors; solved here document by document."""
    old = unit(RANDOM.normal(size=(40, 6)))
    new = unit(old @ rotation(6)[:, :dim] + 0.3 * RANDOM.normal(size=(40, dim)))
    fitted = fit_bridge(old, new)
    target = new.astype(np.float64) - (old if dim == 6 else 0)
    errors = {penalty: left_out(old, target, penalty) for penalty in PENALTIES}
    assert fitted.penalty == pytest.approx(min(errors, key=lambda penalty: errors[penalty]))
    x = old.astype(np.float64)
    weights = np.linalg.solve(x.T @ x + fitted.penalty * np.eye(6), x.T @ target)
    np.testing.assert_allclose(fitted.matrix, weights + (np.eye(6) if dim == 6 else 0), atol=1e-6)
    assert fitted(old).dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(fitted(old), axis=1), 1, atol=1e-6)


def test_a_rotation_is_found_from_as_many_documents_as_it_needs() -> None:
    """Documents beside the sample are mapped to their new vectors."""
    old, turn = unit(RANDOM.normal(size=(200, 12))), rotation(12)
    new = unit(old @ turn)
    mapped = fit_bridge(old[:60], new[:60])(old[60:])
    assert (mapped * new[60:]).sum(axis=1).min() > 0.999


def test_vectors_stay_where_the_new_ones_are_the_old() -> None:
    """The map of no change is the identity, even from fewer documents than dimensions."""
    old = unit(RANDOM.normal(size=(30, 64)))
    np.testing.assert_allclose(fit_bridge(old, old).matrix, np.eye(64), atol=1e-9)


def test_too_few_documents_are_refused() -> None:
    """The line says how many there are."""
    old = unit(RANDOM.normal(size=(19, 4)))
    with pytest.raises(BadInput, match="bridge: 19 documents in both indexes, expected 20 or more"):
        fit_bridge(old, old)


def dev_of(n: int) -> Split:
    """Returns n queries, each a cluster of its own, that the documents of their rows answer."""
    rows = np.arange(n)
    ids = pl.Series([f"q{row}" for row in rows])
    judgments = np.column_stack([rows, rows, np.ones(n, dtype=np.int64)])
    return Split("dev", ids, [""] * n, ids, judgments, np.empty((0, 2), dtype=np.int64), rows, n)


def one_hot(places: NDArray[np.int64]) -> Float32:
    return np.eye(60, dtype=np.float32)[places]


def test_the_share_of_the_gain_by_hand() -> None:
    """Old finds the first 30 of 60 answers at rank 1, new all; a map that mends 15 of the other 30 keeps half."""
    rows, wrong = np.arange(60), 59 - np.arange(60)
    new = one_hot(rows)
    old_queries = one_hot(np.where(rows < 30, rows, wrong))  # the others find a document of the first half
    mends = np.eye(60)
    mends[45:] = -np.eye(60)[45:]  # 15 documents are farthest from the queries that they answer
    old_rows = np.arange(60)
    kept = kept_gain(dev_of(60), (old_queries, new), (new, new), old_rows, Bridge(mends, 1.0), 0.95, 1)
    values = {name: getattr(kept, name) for name in ("old", "bridged", "new")}
    # a wrong answer ties with 58 others at score 0: ranks 2 to 60 are equally likely, 9 of 59 within the first 10
    tied = sum(1 / np.log2(1 + rank) for rank in range(2, 11)) / 59
    assert values["old"] == pytest.approx((30 + 30 * tied) / 60)
    assert values["new"] == 1
    assert values["bridged"] == pytest.approx(45 / 60)  # the negative ones are last
    assert kept.share == pytest.approx((values["bridged"] - values["old"]) / (1 - values["old"]))
    assert kept.low is not None and kept.high is not None and kept.low < kept.share < kept.high
    assert f"{kept.share:.0%} of the gain [" in kept.words


def test_no_share_of_a_gain_that_is_none() -> None:
    """Where new is no better, there is nothing to keep a share of, and the words say so."""
    rows = np.arange(60)
    kept = kept_gain(dev_of(60), (one_hot(rows),) * 2, (one_hot(rows),) * 2, rows, Bridge(np.eye(60), 1.0), 0.95, 1)
    assert (kept.share, kept.low, kept.high) == (None, None, None)
    assert "the new encoder gained nothing for certain" in kept.words


def test_a_document_counts_by_its_best_passage() -> None:
    """Two passages of each document, the second of them right: every query is answered."""
    rows, new = np.arange(30), one_hot(np.arange(30))
    passages = np.concatenate([one_hot(rows + 30), new])
    order = np.argsort(np.concatenate([rows, rows]), kind="stable")
    documents = np.ascontiguousarray(passages[order])
    kept = kept_gain(
        *(dev_of(30), (one_hot(rows + 30)[::-1].copy(), new), (documents, documents)),
        *(np.repeat(rows, 2), Bridge(np.eye(60), 1.0), 0.95, 1),
    )
    assert kept.bridged == kept.new == 1
