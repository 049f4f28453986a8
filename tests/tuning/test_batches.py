"""Batches: every other row is a true negative, the seed decides on the order, no row is forgotten."""

from collections import Counter
from collections.abc import Hashable, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from attune.tuning.training.batches import BatchingKeys, ClusterBatchSampler


def sampler(
    clusters: list[str], batch_size: int, seed: int = 0, negatives: Sequence[Sequence[Hashable]] | None = None
) -> ClusterBatchSampler:
    keys = BatchingKeys(clusters, negatives or [[] for _ in clusters], [len(cluster) for cluster in clusters])
    return ClusterBatchSampler(range(len(clusters)), keys, batch_size=batch_size, drop_last=False, seed=seed)


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.lists(st.sampled_from("abcdefgh"), max_size=2)), min_size=1),
    st.integers(2, 9),
    st.integers(0, 3),
)
@settings(max_examples=150, deadline=None)
def test_every_other_row_of_a_batch_is_a_true_negative(
    rows: list[tuple[str, list[str]]], batch_size: int, epoch: int
) -> None:
    """As many batches as announced; no row twice, no cluster twice, no row's negative in another row's cluster."""
    batches = sampler([own for own, _ in rows], batch_size, negatives=[negative for _, negative in rows])
    batches.set_epoch(epoch)
    drawn = list(batches)
    assert len(drawn) == len(batches)
    assert max(Counter(row for batch in drawn for row in batch).values()) == 1
    for batch in drawn:
        assert len({rows[row][0] for row in batch}) == len(batch) <= batch_size
        for row in batch:
            assert all(rows[row][0] not in rows[other][1] for other in batch if other != row)


def test_epochs_are_shuffled_anew_and_seeds_decide() -> None:
    """Another epoch or seed is another order, the same ones the same; over epochs every row is seen."""
    clusters = [str(i) for i in range(103)]
    batches = sampler(clusters, 8)
    orders = []
    for epoch in range(6):
        batches.set_epoch(epoch)
        orders.append(list(batches))
        assert orders[-1] == list(batches)
    assert orders[0] != orders[1]
    assert orders[0] != list(sampler(clusters, 8, seed=1))
    assert {row for order in orders for batch in order for row in batch} == set(range(103))
