"""Half of a data set's judgments hidden: the interval holds the difference by all of them."""

import os
from pathlib import Path

import numpy as np
import pytest

from bench.parts.holes import half, read_pool, trial

CRANFIELD = Path(
    os.environ.get("ATTUNE_DATASETS", Path(__file__).parents[2].parent / "shared" / "datasets"), "cranfield"
)


def test_half_of_the_judgments_are_hidden_and_no_query_loses_all() -> None:
    """Of 300 judgments of 100 queries 150 stay, and one answer of each query that had none among them."""
    rng = np.random.default_rng(0)
    judgments = np.column_stack([np.repeat(np.arange(100), 3), np.arange(300), np.tile([2, 0, 0], 100)])
    kept = half(rng.permutation(judgments), seed=1)
    assert set(kept[kept[:, 2] > 0][:, 0]) == set(range(100))
    assert 150 <= len(kept) <= 250 and len(np.unique(kept, axis=0)) == len(kept)
    assert not np.array_equal(half(judgments, seed=1), half(judgments, seed=2))


@pytest.mark.skipif(not CRANFIELD.is_dir(), reason=f"no {CRANFIELD}: set ATTUNE_DATASETS to a folder that holds it")
@pytest.mark.parametrize("measured", ["ndcg@10", "recall@10"])
def test_the_interval_holds_the_truth_whatever_half_is_hidden(measured: str) -> None:
    """BM25 with stems against BM25 on Cranfield, ten halves."""
    pool = read_pool(CRANFIELD, None)
    assert all(trial(pool, measured, 100, seed).holds for seed in range(10))
