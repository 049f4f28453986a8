"""What the charts show is what the measures say: recall at every depth, gains by size, scores before and after."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from attune.evaluation.page.charts import bubbles, gains_by_size, recall_curve
from attune.evaluation.scoring.measures import RECALL_AT, measure


def test_recall_by_hand() -> None:
    """Three queries: two relevant documents at ranks 1 and 3; one at rank 2; one too deep."""
    curve = recall_curve(np.array([1, 3, 2, 9]), np.array([2, 2, 1, 1]), n_queries=3, depth=4)
    assert np.allclose(curve, [0.5 / 3, 1.5 / 3, 2 / 3, 2 / 3])


@given(st.lists(st.permutations(range(12)), min_size=1, max_size=6), st.data())
def test_the_curve_passes_through_the_measures(rows: list[list[int]], data: st.DataObject) -> None:
    """At each k that measures.py reports, whatever is ranked and judged."""
    ranked = np.pad(np.array(rows), ((0, 0), (0, 88)), constant_values=-1)
    wanted = [sorted(data.draw(st.sets(st.integers(0, 15), min_size=1, max_size=5))) for _ in rows]
    judgments = np.array([(query, document, 1) for query, own in enumerate(wanted) for document in own])
    hits = [(rank, len(own)) for row, own in zip(ranked, wanted, strict=True) for rank in _ranks(row, own)]
    columns = np.array(hits or np.empty((0, 2)), dtype=np.int64).T
    curve = recall_curve(columns[0], columns[1], len(rows), 100)
    values = measure(ranked, judgments)
    assert np.allclose([curve[k - 1] for k in RECALL_AT], [values[f"recall@{k}"].mean() for k in RECALL_AT])


def _ranks(row: np.ndarray, own: list[int]) -> list[int]:
    return [place + 1 for place, document in enumerate(row) if document in own]


def test_gains_by_hand() -> None:
    """A tenth is in the first bin however it was computed; any change counts, only none is a tie."""
    base = np.array([0.3, 0.5, 0.5, 0.0, 1.0, 0.4])
    tuned = np.array([0.4, 0.5, 0.4999, 1.0, 0.0, 0.55])
    found = gains_by_size(base, tuned)
    assert found.wins.tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    assert found.losses.tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert found.ties == 1


scores = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40)


@given(scores)
def test_no_query_is_lost(pairs: list[tuple[float, float]]) -> None:
    """Every query is in one bin and in one bubble, at most a fortieth from its scores."""
    base, tuned = np.array(pairs).T
    found = gains_by_size(base, tuned)
    assert found.wins.sum() + found.losses.sum() + found.ties == len(pairs)
    points = bubbles(base, tuned)
    assert points[:, 2].sum() == len(pairs)
    nearest = np.abs(points[:, None, :2] - np.array(pairs)).max(axis=2).min(axis=0)
    assert nearest.max() <= 1 / 40 + 1e-9
