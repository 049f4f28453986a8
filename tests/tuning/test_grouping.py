"""Groups of rows that are hard negatives of each other: which rows, how large, and what a batch then holds."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from attune.tuning.training.batches import PairBatchSampler
from attune.tuning.training.conflicts import BatchingKeys
from attune.tuning.training.grouping import GROUP_SIZE, grouped, neighbours, reachable_share

DOCUMENTS = [(0, 1), (1, 2), (2, 9), (3, 0), (4, 9)]  # positive and negative of rows 0 to 4


def test_neighbours_by_hand() -> None:
    """Row 0's negative is row 1's positive, whose negative is row 2's; row 3's is row 0's; 9 is no row's positive."""
    assert neighbours(DOCUMENTS) == [(1, 3), (0, 2), (1,), (0,), ()]
    assert neighbours([(0, 1), (1, 0), (1, 5)]) == [(1, 2), (0,), (0,)]
    assert neighbours([(0,), (1,)]) == [(), ()]
    assert reachable_share(DOCUMENTS) == 3 / 5
    assert reachable_share([(0,), (1,)]) == 0


@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=3), min_size=1, max_size=60), st.integers(0, 9))
def test_grouping_keeps_every_row(documents: list[list[int]], seed: int) -> None:
    """Each row once, and the same order for the same seed."""
    near = neighbours(documents)
    rows = np.random.default_rng(seed).permutation(len(documents))
    order = grouped(rows, near, np.random.default_rng(seed)).tolist()
    assert sorted(order) == list(range(len(documents)))
    assert order == grouped(rows, near, np.random.default_rng(seed)).tolist()


def test_a_group_grows_from_neighbour_to_neighbour_up_to_its_size() -> None:
    """A chain of 40 rows, each the next one's negative: groups of 16, 16 and 8 in the chain's order."""
    near = neighbours([(row, row + 1) for row in range(40)])
    firsts = set()
    for seed in range(20):  # in some, groups that follow each other in the chain do so in the order, too
        order = grouped(np.arange(40), near, np.random.default_rng(seed)).tolist()
        assert sorted(order) == list(range(40))
        firsts |= {row for place, row in enumerate(order) if place == 0 or row != order[place - 1] + 1}
    assert firsts == {0, GROUP_SIZE, 2 * GROUP_SIZE}


def keys_of(documents: Sequence[Sequence[int]]) -> BatchingKeys:
    n = len(documents)
    relevant = [frozenset(own[:1]) for own in documents]
    return BatchingKeys(range(n), range(n), documents, [1] * n, [1] * n, relevant, 0)


def n_hard(batches: Sequence[Sequence[int]], documents: Sequence[Sequence[int]]) -> int:
    """Counts rows whose mined negative another row of the batch holds."""
    return sum(
        documents[row][1] in {documents[other][0] for other in batch if other != row}
        for batch in batches
        for row in batch
    )


def test_batches_of_groups_hold_the_negatives_that_rows_leave_out() -> None:
    """Pairs of rows that are each other's negative, among 640: next to none where each row brings its own."""
    documents = [(row, row ^ 1) for row in range(640)]
    keys = keys_of(documents)
    found = {}
    for name, own in {"rows": keys, "batch": keys.grouped()}.items():
        sampler = PairBatchSampler(range(640), own, batch_size=32, drop_last=False, seed=1)
        batches = list(sampler)
        found[name] = n_hard(batches, documents) / 640
    assert found["rows"] == 0  # a row and its negative's row may not share a batch: it would hold the negative twice
    assert found["batch"] > 0.9


def test_grouped_rows_conflict_by_what_is_judged_alone() -> None:
    """Rows that leave their negatives out may share a batch with the row that holds them, not with a like query."""
    keys = BatchingKeys([0, 1], [0, 1], [(0, 1), (1, 5)], [1, 1], [1, 1], [frozenset({0}), frozenset({1})], 0)
    assert [list(own) for own in keys.grouped().documents] == [[0], [1]]
    sampler = PairBatchSampler(range(2), keys.grouped(), batch_size=2, drop_last=False, seed=1)
    assert sorted(next(iter(sampler))) == [0, 1]
    judged = BatchingKeys([0, 1], [0, 1], [(0, 1), (1, 5)], [1, 1], [1, 1], [frozenset({0, 1}), frozenset({1})], 0)
    assert len(next(iter(PairBatchSampler(range(2), judged.grouped(), batch_size=2, drop_last=False, seed=1)))) == 1
