"""Batches: full, without a known false negative, in an order that the seed decides, for work linear in the rows."""

import csv
import os
from collections import Counter
from collections.abc import Sequence
from itertools import combinations, islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from attune.tuning.training.batches import FIRST_TRIED, TRIES, PairBatchSampler, batch_fills
from attune.tuning.training.conflicts import Batch, BatchingKeys, Judgments, WaitingRows

CRANFIELD = Path(
    os.environ.get("ATTUNE_DATASETS", Path(__file__).parents[2].parent / "shared" / "datasets"), "cranfield"
)

Pairs = Sequence[tuple[int, int]]


def sampler(keys: BatchingKeys, batch_size: int, seed: int = 0) -> PairBatchSampler:
    return PairBatchSampler(range(len(keys.lengths)), keys, batch_size=batch_size, drop_last=False, seed=seed)


def keys_of(pairs: Pairs, negatives: Sequence[Sequence[int]], **changes: object) -> BatchingKeys:
    """Returns the keys of rows of a query and a document, every query unlike all others."""
    relevant: dict[int, set[int]] = {query: set() for query, _ in pairs}
    for query, document in pairs:
        relevant[query].add(document)
    values: dict[str, object] = {
        "queries": [query for query, _ in pairs],
        "near_groups": [query for query, _ in pairs],
        "documents": [(document, *own) for (_, document), own in zip(pairs, negatives, strict=True)],
        "relevance": [1] * len(pairs),
        "lengths": [10 + (document * 7) % 50 for _, document in pairs],
        "relevant": [frozenset(relevant.get(query, ())) for query in range(1 + max(relevant))],
        "max_pairs_per_query": 0,
    }
    return BatchingKeys(**(values | changes))  # type: ignore[arg-type]


def with_negatives(pairs: Pairs, n_documents: int, n: int = 1) -> BatchingKeys:
    """Returns the keys of the pairs with n negatives each, drawn among documents not relevant to the query."""
    random = np.random.default_rng(5)
    judged = set(pairs)
    negatives = []
    for query, _ in pairs:
        drawn = random.permutation(n_documents)[: n + 60].tolist()
        negatives.append([document for document in drawn if (query, document) not in judged][:n])
    return keys_of(pairs, negatives)


def many_to_many(n_queries: int, n_documents: int = 400, n_relevant: int = 12) -> list[tuple[int, int]]:
    """Returns relevant pairs whose documents' popularity follows a power law: one component, however it is cut."""
    random = np.random.default_rng(3)
    popularity = np.arange(1, n_documents + 1) ** -0.5
    weights = popularity / popularity.sum()
    drawn = (random.choice(n_documents, n_relevant, replace=False, p=weights) for _ in range(n_queries))
    return [(query, int(document)) for query, documents in enumerate(drawn) for document in documents]


def cranfield() -> list[tuple[int, int]]:
    file = CRANFIELD / "qrels" / "all.tsv"
    if not file.is_file():
        pytest.skip(f"{file} not found; set ATTUNE_DATASETS")
    with file.open() as lines:
        rows = [row for row in csv.DictReader(lines, delimiter="\t") if int(row["score"]) > 0]
    numbers: dict[str, dict[str, int]] = {"query-id": {}, "corpus-id": {}}
    return [
        (own["query-id"], own["corpus-id"])
        for row in rows
        for own in [{name: of.setdefault(row[name], len(of)) for name, of in numbers.items()}]
    ]


def conflicts(keys: BatchingKeys, one: int, other: int) -> bool:
    """Says if two rows may not share a batch, by the definition."""
    groups = [keys.near_groups[row] for row in (one, other)]
    judged = [keys.relevant[group] for group in groups]
    return groups[0] == groups[1] or bool(
        judged[0] & set(keys.documents[other]) or judged[1] & set(keys.documents[one])
    )


def assert_true_negatives(keys: BatchingKeys, batches: Sequence[Sequence[int]]) -> None:
    assert not [pair for batch in batches for pair in combinations(batch, 2) if conflicts(keys, *pair)]


GROUPS, IDS = st.integers(0, 5), st.integers(0, 9)


@given(
    st.lists(st.tuples(GROUPS, st.lists(IDS, min_size=1, max_size=3)), min_size=1, max_size=40),
    st.lists(st.frozensets(IDS, max_size=3), min_size=6, max_size=6),
    st.integers(2, 9),
    st.integers(0, 3),
    st.integers(0, 2),
)
@settings(max_examples=150, deadline=None)
def test_every_other_row_of_a_batch_is_a_true_negative(
    rows: list[tuple[int, list[int]]], relevant: list[frozenset[int]], batch_size: int, epoch: int, max_pairs: int
) -> None:
    """Whatever is judged: as many batches as announced, none too large or empty, and no two rows that conflict."""
    groups = [group for group, _ in rows]
    documents = [documents for _, documents in rows]
    n = len(rows)
    keys = BatchingKeys(groups, groups, documents, [1] * n, [1] * n, relevant, max_pairs)
    batches = sampler(keys, batch_size)
    batches.set_epoch(epoch)
    drawn = list(batches)
    assert len(drawn) == len(batches)
    assert all(1 <= len(batch) <= batch_size for batch in drawn)
    assert_true_negatives(keys, drawn)


@pytest.mark.parametrize(
    ("one", "other", "conflict"),
    [
        ((0, (0, 9)), (1, (1, 8)), False),
        ((0, (0, 9)), (0, (1, 8)), True),  # the same query, or one that reads the same
        ((0, (0, 9)), (1, (5, 8)), True),  # 5 is relevant to query 0, too
        ((0, (0, 1)), (1, (1, 8)), True),  # the negative of one is the other's positive
        ((0, (0, 6)), (1, (1, 8)), True),  # ... or another document that is relevant to the other's query
        ((0, (0, 9)), (1, (1, 9)), False),  # they share a negative
    ],
)
def test_two_rows_conflict_by_hand(
    one: tuple[int, tuple[int, int]], other: tuple[int, tuple[int, int]], conflict: bool
) -> None:
    """Documents 0 and 5 are relevant to query 0, 1 and 6 to query 1; rows are (query, (positive, negative))."""
    relevant = [frozenset({0, 5}), frozenset({1, 6})]
    for rows in ((one, other), (other, one)):
        queries, documents = zip(*rows, strict=True)
        batch = Batch(Judgments(BatchingKeys(queries, queries, documents, [1, 1], [1, 1], relevant, 0)))
        assert batch.add(0)
        assert batch.accepts(np.array([1, 0])).tolist() == [not conflict, False]
        assert batch.add(1) != conflict
        assert batch.rows == ([0] if conflict else [0, 1])


@pytest.mark.parametrize("name", ["many to many", "cranfield"])
def test_batches_are_full_where_all_rows_hang_together(name: str) -> None:
    """95% of the places hold a row in each epoch, at least; no pair is a known false negative; most rows are seen."""
    pairs, n_documents = (many_to_many(300), 400) if name == "many to many" else (cranfield(), 1400)
    keys = with_negatives(pairs, n_documents)
    batches = sampler(keys, 32)
    for epoch in range(2):
        batches.set_epoch(epoch)
        drawn = list(batches)
        assert np.mean([len(batch) for batch in drawn]) >= 0.95 * 32
        assert_true_negatives(keys, drawn)
        assert len({row for batch in drawn for row in batch}) > 0.8 * len(pairs)


class Counted(Batch):
    """Counts the rows that are tried."""

    n = 0

    def accepts(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        Counted.n += len(rows)
        return super().accepts(rows)


@pytest.mark.parametrize(
    ("pairs", "limit"),
    [
        ([(row, row) for row in range(2000)], FIRST_TRIED),
        (many_to_many(100), 2 * TRIES),
        ([(row % 3, row) for row in range(3000)], 2 * TRIES),  # three queries: no batch of 32 can be filled
    ],
    ids=["one answer per query", "many to many", "three queries"],
)
def test_work_is_linear_in_the_rows(pairs: list[tuple[int, int]], limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tries per row are bounded: few without conflicts, many where judgments are dense."""
    monkeypatch.setattr("attune.tuning.training.batches.Batch", Counted)
    Counted.n = 0
    drawn = list(sampler(keys_of(pairs, [()] * len(pairs)), 32))
    assert sum(map(len, drawn)) <= Counted.n <= limit * len(pairs)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=20))
def test_rows_wait_in_the_order_in_which_they_came(turns: list[tuple[int, int]]) -> None:
    """As in a list, of which the first are removed and to which others are appended, within the queue's size."""
    waiting, expected, number = WaitingRows(12), list[int](), 0
    for n_removed, n_appended in turns:
        first = waiting.next(n_removed).tolist()
        assert first == expected[:n_removed]
        waiting.remove(len(first))
        expected = expected[n_removed:]
        new = list(range(number, number + min(n_appended, 12 - len(expected))))
        waiting.append(np.array(new, np.int64))
        expected, number = expected + new, number + len(new)
    assert waiting.next(99).tolist() == expected


def test_no_row_is_twice_in_an_epoch_where_all_fit() -> None:
    """Repeats are for places that no other row can take."""
    drawn = [row for batch in sampler(BatchingKeys.independent(range(1, 104)), 8) for row in batch]
    assert len(drawn) == 96 and max(Counter(drawn).values()) == 1


def test_epochs_are_shuffled_anew_and_seeds_decide() -> None:
    """Another epoch or seed is another order, the same ones the same; over epochs every row is seen."""
    keys = BatchingKeys.independent([1 + row % 9 for row in range(103)])
    batches = sampler(keys, 8)
    orders = []
    for epoch in range(6):
        batches.set_epoch(epoch)
        orders.append(list(batches))
        assert orders[-1] == list(batches)
    assert orders[0] != orders[1]
    assert orders[0] != list(sampler(keys, 8, seed=1))
    assert {row for order in orders for batch in order for row in batch} == set(range(103))


def test_a_run_resumed_within_an_epoch_goes_on_with_the_same_batches() -> None:
    """A new sampler of the same seed, set to the epoch, has the same batches from the step of the checkpoint on."""
    keys = keys_of(many_to_many(40), [()] * 480, max_pairs_per_query=5)
    first, second = sampler(keys, 16), sampler(keys, 16)
    for batches in (first, second):
        batches.set_epoch(3)
    whole = list(first)
    assert list(islice(second, 4, None)) == whole[4:] and len(whole) == 200 // 16


def test_the_most_relevant_pairs_of_a_query_are_drawn_by_hand() -> None:
    """Of relevance 3, 1, 1, 1 two are drawn: always the first, and by chance each of the others; of one, that one."""
    pairs = [(0, 0), (1, 9), (0, 1), (0, 2), (0, 3)]
    keys = keys_of(pairs, [()] * 5, relevance=[1, 1, 3, 1, 1], max_pairs_per_query=2)
    assert keys.n_rows_per_epoch == 3
    drawn = {tuple(keys.draw(np.random.default_rng([13, epoch])).tolist()) for epoch in range(40)}
    assert drawn == {(0, 1, 2), (1, 2, 3), (1, 2, 4)}


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 3)), min_size=1, max_size=30),
    st.integers(1, 5),
    st.integers(0, 9),
)
def test_each_epoch_draws_as_many_rows_none_of_them_less_relevant_than_one_left_out(
    rows: list[tuple[int, int]], max_pairs: int, seed: int
) -> None:
    """At most N of a query, all where it has fewer; the number is known beforehand."""
    queries, relevance = [query for query, _ in rows], [grade for _, grade in rows]
    keys = keys_of([(query, row) for row, query in enumerate(queries)], [()] * len(rows), relevance=relevance)
    keys = BatchingKeys(**(vars(keys) | {"max_pairs_per_query": max_pairs}))
    drawn = set(keys.draw(np.random.default_rng(seed)).tolist())
    assert len(drawn) == keys.n_rows_per_epoch
    for query in set(queries):
        own = {row for row, other in enumerate(queries) if other == query}
        assert len(own & drawn) == min(len(own), max_pairs)
        assert min(relevance[row] for row in own & drawn) >= max((relevance[row] for row in own - drawn), default=0)


def test_fills_are_those_of_the_batches_that_were_trained_on() -> None:
    """Replayed over two epochs and a half, as lengths of batches; three queries fill three of eight places."""
    keys = keys_of(many_to_many(40, 60), [()] * 480)
    batches = sampler(keys, 16, seed=4)
    lengths: list[int] = []
    for epoch in range(3):
        batches.set_epoch(epoch)
        lengths += [len(batch) for batch in batches]
    assert len(set(lengths)) > 1
    assert batch_fills(keys, 16, 4, 75) == [length / 16 for length in lengths[:75]]
    few = keys_of([(row % 3, row) for row in range(24)], [()] * 24)
    assert batch_fills(few, 8, 0, 5) == [3 / 8] * 5
    assert batch_fills(few, 8, 0, 0) == []
