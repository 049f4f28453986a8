"""Data of the charts agree with the measures: recall at every k, changes by size, scores of base and tuned."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from attune.evaluation.page.charts import bubbles, gains_by_size, recall_curve
from attune.evaluation.scoring.measures import RECALL_AT, measure


def test_recall_curve_by_hand() -> None:
    """Three queries: two relevant documents at ranks 1 and 3; one at rank 2; one too deep."""
    curve = recall_curve(np.array([1, 3, 2, 9]), np.array([2, 2, 1, 1]), n_queries=3, depth=4)
    assert np.allclose(curve, [0.5 / 3, 1.5 / 3, 2 / 3, 2 / 3])


@given(st.lists(st.permutations(range(12)), min_size=1, max_size=6), st.data())
def test_the_recall_curve_agrees_with_the_measures(rows: list[list[int]], data: st.DataObject) -> None:
    """At each k that measures.py reports, for any rankings and judgments."""
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


def test_gains_by_size_by_hand() -> None:
    """A change of a tenth falls into the first bin despite rounding; only a change of 0 is a tie."""
    base = np.array([0.3, 0.5, 0.5, 0.0, 1.0, 0.4])
    tuned = np.array([0.4, 0.5, 0.4999, 1.0, 0.0, 0.55])
    counts = gains_by_size(base, tuned)
    assert counts.wins.tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    assert counts.losses.tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert counts.ties == 1


scores = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40)


@given(scores)
def test_every_query_is_counted_once(pairs: list[tuple[float, float]]) -> None:
    """Every query is in one bin and in one bubble at most a fortieth from its scores."""
    base, tuned = np.array(pairs).T
    counts = gains_by_size(base, tuned)
    assert counts.wins.sum() + counts.losses.sum() + counts.ties == len(pairs)
    points = bubbles(base, tuned)
    assert points[:, 2].sum() == len(pairs)
    nearest = np.abs(points[:, None, :2] - np.array(pairs)).max(axis=2).min(axis=0)
    assert nearest.max() <= 1 / 40 + 1e-9
