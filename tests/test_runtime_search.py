"""The search that ships is exact, in the order that sorting all scores gives."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attune.errors import BadInput
from attune.runtime import search
from attune.runtime.search import Search


@given(
    values=st.lists(st.integers(-2, 2), min_size=3, max_size=60),
    queries=st.lists(st.lists(st.integers(-2, 2), min_size=3, max_size=3), min_size=1, max_size=3),
    k=st.integers(1, 25),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_search_equals_sorting_all_scores(
    tmp_path_factory: pytest.TempPathFactory, values: list[int], queries: list[list[int]], k: int
) -> None:
    """Over slices of 4 rows, with many ties (small integers), the earlier document first among equals."""
    vectors = np.array(values[: len(values) // 3 * 3], dtype=np.float32).reshape(-1, 3)
    path = tmp_path_factory.getbasetemp() / "search.npy"
    np.save(path, vectors)
    ids = [f"d{row}" for row in range(len(vectors))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "ROWS_AT_ONCE", 4)
        got = Search(path, ids).top(np.array(queries, dtype=np.float32), k)
    for query, hits in zip(queries, got, strict=True):
        scores = [sum(q * v for q, v in zip(query, vector, strict=True)) for vector in vectors.tolist()]
        order = sorted(range(len(ids)), key=lambda row: (-scores[row], row))[:k]
        assert hits == [(ids[row], scores[row]) for row in order]


def test_search_refuses_files_that_do_not_fit(tmp_path: Path) -> None:
    """One line for each: missing, not an array, another number of rows."""
    with pytest.raises(BadInput, match="not a readable .npy"):
        Search(tmp_path / "missing.npy", [])
    (tmp_path / "text.npy").write_text("text")
    with pytest.raises(BadInput, match="not a readable .npy"):
        Search(tmp_path / "text.npy", [])
    np.save(tmp_path / "two.npy", np.zeros((2, 3), dtype=np.float32))
    with pytest.raises(BadInput, match=r"shape is \(2, 3\), expected \(3 ids, dim\)"):
        Search(tmp_path / "two.npy", ["a", "b", "c"])
