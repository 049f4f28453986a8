"""nDCG by hand and as the report has it, which agrees with other libraries; rankings without some pairs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attune.evaluation.scoring.measures import measure
from attune.retrieval.ndcg import ndcg
from attune.retrieval.ties import without_pairs


def test_ndcg_by_hand() -> None:
    """Relevance 3 at rank 2 and 1 at rank 1; a query without a ranking; one without relevant documents."""
    ranked = np.array([[0, 1, 2], [-1, -1, -1], [0, 1, 2]])
    judgments = np.array([(0, 0, 1), (0, 1, 3), (1, 0, 2), (2, 0, 0)])
    own = (1 + 3 / np.log2(3)) / (3 + 1 / np.log2(3))
    assert ndcg(ranked, judgments).tolist() == pytest.approx([own, 0, 0])
    assert ndcg(ranked, judgments, depth=1).tolist() == pytest.approx([1 / 3, 0, 0])
    tied = np.ones((3, 3), np.float32)
    mean = 4 / 3 * (1 + 1 / np.log2(3) + 1 / 2) / (3 + 1 / np.log2(3))
    assert ndcg(ranked, judgments, tied)[0] == pytest.approx(mean)


@given(st.integers(0, 10**6))
def test_ndcg_is_the_reports(seed: int) -> None:
    """For any rankings, judgments and ties."""
    chance = np.random.default_rng(seed)
    ranked = np.array([chance.permutation(15)[:12] for _ in range(4)])
    judgments = np.array([(q, d, chance.integers(-1, 4)) for q in range(4) for d in chance.permutation(15)[:5]])
    scores = -np.sort(-chance.integers(0, 6, (4, 12)).astype(np.float32), axis=1)
    np.testing.assert_array_equal(ndcg(ranked, judgments, scores), measure(ranked, judgments, scores)["ndcg@10"])


def test_documents_below_those_left_out_move_up() -> None:
    """By hand: the order of the rest and its scores stay, and the end is filled up with -1."""
    scores = np.array([[0.9, 0.8, 0.7], [0.6, 0.5, 0.0]], np.float32)
    rows = np.array([[4, 2, 7], [2, 4, -1]])
    own_scores, own_rows = without_pairs(scores, rows, np.array([(0, 4), (0, 7), (1, 3), (1, 2)]))
    assert own_rows.tolist() == [[2, -1, -1], [4, -1, -1]]
    np.testing.assert_array_equal(own_scores, np.array([[0.8, 0, 0], [0.5, 0, 0]], np.float32))
    none = np.zeros((0, 2), np.int64)
    assert without_pairs(scores, rows, none)[1] is rows
