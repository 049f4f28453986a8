"""The adapter's graph computes what its arrays say."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from attune.errors import BadInput
from attune.export.query_map import QueryMap
from attune.runtime.adapter import ADAPTER, QueryAdapter
from attune.runtime.arrays import Float32

DIM, OPSET = 12, 18


def normal(*shape: int) -> Float32:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


MAPS = {
    "matrix": QueryMap(matrix=np.eye(DIM, dtype=np.float32) + normal(DIM, DIM)),
    "hidden": QueryMap(hidden=(normal(DIM, 5), normal(5), normal(5, DIM))),
    "identity": QueryMap(),
}


def unit(n: int) -> Float32:
    vectors = normal(n, DIM)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def saved(folder: Path, query_map: QueryMap) -> QueryAdapter:
    (folder / "onnx").mkdir()
    onnx.save(query_map.graph(DIM, OPSET), folder / ADAPTER)
    return QueryAdapter(folder, threads=1)


@pytest.mark.parametrize("name", MAPS)
def test_the_graph_equals_numpy_in_double_precision(name: str, tmp_path: Path) -> None:
    """Within 1e-6 for every shape of the map, at length 1; the arrays' own call, by which dev chooses, likewise."""
    one, queries = MAPS[name], unit(40)
    x = queries.astype(np.float64)
    if one.matrix is not None:
        x = x @ one.matrix.astype(np.float64)
    if one.hidden is not None:
        down, bias, up = (array.astype(np.float64) for array in one.hidden)
        x = x + np.where(x @ down + bias > 0, x @ down + bias, 0) @ up
    expected = x / np.sqrt((x**2).sum(axis=1))[:, None]
    np.testing.assert_allclose(saved(tmp_path, one)(queries), expected, atol=1e-6)
    np.testing.assert_allclose(one(queries), expected, atol=1e-6)


def test_the_identity_keeps_every_bit_and_no_query_is_divided_by_zero(tmp_path: Path) -> None:
    """An adapter that is off changes no score, not even of a tie; an embedding of zeros stays one."""
    queries = unit(40)
    assert saved(tmp_path, QueryMap())(queries).tobytes() == queries.tobytes()
    zeros = np.zeros((1, DIM), dtype=np.float32)
    (tmp_path / "other").mkdir()
    assert not saved(tmp_path / "other", MAPS["matrix"])(zeros).any()


def test_equal_arrays_give_equal_bytes() -> None:
    """No time and no path stand in the graph."""
    first, second = (MAPS["hidden"].graph(DIM, OPSET).SerializeToString() for _ in range(2))
    assert first == second


def test_a_graph_that_is_no_adapter_is_refused_in_one_line(tiny_onnx: Path, tmp_path: Path) -> None:
    """An encoder's graph in its place, a damaged file, none at all, and embeddings of another dimension."""
    (tmp_path / "onnx").mkdir()
    with pytest.raises(BadInput, match=r"query_adapter\.onnx: not found"):
        QueryAdapter(tmp_path)
    (tmp_path / ADAPTER).write_bytes(b"no graph")
    with pytest.raises(BadInput, match="not a loadable graph"):
        QueryAdapter(tmp_path)
    (tmp_path / ADAPTER).write_bytes((tiny_onnx / "onnx/model.onnx").read_bytes())
    with pytest.raises(BadInput, match="expected \\(n, dim\\) embedding to adapted_embedding"):
        QueryAdapter(tmp_path)
    onnx.save(MAPS["matrix"].graph(DIM, OPSET), tmp_path / ADAPTER)
    with pytest.raises(BadInput, match="fails on embeddings of 11 dimensions"):
        QueryAdapter(tmp_path)(unit(3)[:, :11])
