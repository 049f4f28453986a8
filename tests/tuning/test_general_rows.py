"""General pairs among the rows: their share, judgments and negatives, all decided by the seed."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attune.errors import BadInput
from attune.tuning.general_text import Pair
from attune.tuning.training.batches import PairBatchSampler
from attune.tuning.training.conflicts import BatchingKeys
from attune.tuning.training.forgetting import with_general_rows


def domain(n: int, n_negatives: int) -> tuple[dict[str, list[str]], BatchingKeys]:
    names = ["query", "positive", *(f"negative_{place}" for place in range(1, n_negatives + 1))]
    columns = {name: [f"{name} {row}" for row in range(n)] for name in names}
    return columns, BatchingKeys.independent([10] * n)


def pairs(n: int) -> list[Pair]:
    return [Pair(f"where is {i}", f"{i} is here") for i in range(n)]


@given(st.integers(1, 60), st.integers(0, 3), st.integers(4, 20), st.floats(0, 0.9), st.integers(0, 5))
def test_general_rows_are_the_given_share_and_true_pairs(
    n: int, n_negatives: int, n_pairs: int, share: float, seed: int
) -> None:
    """The domain's rows stay first and untouched; each added row is a pair with other pairs' passages as negatives."""
    columns, keys = domain(n, n_negatives)
    rows, all_keys = with_general_rows(columns, keys, pairs(n_pairs), share, seed)
    added = len(rows["query"]) - n
    assert abs(added - share * (n + added)) <= 0.5
    assert {name: column[:n] for name, column in rows.items()} == columns
    answers = dict(pairs(n_pairs))
    for row in range(n, n + added):
        query, passage, *negatives = (column[row] for column in rows.values())
        assert answers[query] == passage
        assert len({passage, *negatives}) == 1 + n_negatives and set(negatives) <= set(answers.values())
        assert all_keys.lengths[row] in keys.lengths
    # a pair is a query with one relevant document, and a text has one number
    numbers = [
        (row, text, number)
        for row in range(n, n + added)
        for text, number in zip(list(rows.values())[1:], all_keys.documents[row], strict=True)
    ]
    number_of = {column[row]: number for row, column, number in numbers}
    assert all(number_of[column[row]] == number for row, column, number in numbers)
    assert len(set(number_of.values())) == len(number_of)
    assert not set(number_of.values()) & {number for own in keys.documents for number in own}
    for row in range(n, n + added):
        assert all_keys.relevant[all_keys.near_groups[row]] == {all_keys.documents[row][0]}
    assert len(set(all_keys.queries)) == all_keys.n_rows_per_epoch == n + added


def test_the_share_is_that_of_an_epoch_s_rows() -> None:
    """Of forty rows of ten queries an epoch draws ten; half of its rows are then ten general ones, in every epoch."""
    columns, keys = domain(40, 0)
    keys = replace(keys, queries=[row // 4 for row in range(40)], max_pairs_per_query=1)
    rows, all_keys = with_general_rows(columns, keys, pairs(20), 0.5, 1)
    assert (len(rows["query"]), all_keys.n_rows_per_epoch) == (50, 20)
    for epoch in range(2):
        drawn = all_keys.draw(np.random.default_rng(epoch))
        assert set(range(40, 50)) <= set(drawn.tolist())


def test_each_pair_is_used_before_one_is_used_again() -> None:
    """Four pairs for ten rows: none three times before each has been used twice."""
    columns, keys = domain(10, 1)
    rows, _ = with_general_rows(columns, keys, pairs(4), 0.5, 3)
    assert len(set(rows["query"][10:14])) == len(set(rows["query"][14:18])) == 4


def test_the_seed_decides_which_pairs_and_negatives() -> None:
    """The same seed gives the same rows, another seed others."""
    columns, keys = domain(10, 1)
    one, again, other = (with_general_rows(columns, keys, pairs(20), 0.3, seed)[0] for seed in (1, 1, 2))
    assert one == again != other


def test_pairs_with_the_same_query_or_passage_count_once() -> None:
    """They would be false negatives of each other."""
    columns, keys = domain(20, 0)
    doubled = [Pair("a", "b"), Pair("a", "c"), Pair("d", "b"), Pair("e", "f")]
    rows, _ = with_general_rows(columns, keys, doubled, 0.5, 0)
    assert {*zip(rows["query"][20:], rows["positive"][20:], strict=True)} == {("a", "b"), ("e", "f")}


def test_no_batch_has_a_pair_twice_or_beside_its_negative() -> None:
    """Nor a passage that is the answer of another pair there."""
    columns, keys = domain(40, 1)
    rows, all_keys = with_general_rows(columns, keys, pairs(12), 0.5, 1)
    sampler = PairBatchSampler(range(len(rows["query"])), all_keys, batch_size=8, drop_last=False, seed=0)
    for batch in sampler:
        queries = [rows["query"][row] for row in batch]
        assert len(set(queries)) == len(queries)
        negatives = {rows["negative_1"][row] for row in batch}
        assert not negatives & {rows["positive"][row] for row in batch}


def test_too_few_pairs_for_the_negatives_are_bad_input() -> None:
    """Both numbers are named."""
    columns, keys = domain(10, 2)
    with pytest.raises(BadInput, match=r"train\.general: 2 pairs .* 2 negatives"):
        with_general_rows(columns, keys, pairs(2), 0.2, 0)


def test_general_rows_are_spread_over_the_batches_however_short_they_are() -> None:
    """A quarter of general rows among long documents of the domain: no batch is without them, none is full of them."""
    columns, _ = domain(1200, 0)
    keys = BatchingKeys.independent([500 + row % 700 for row in range(1200)])
    rows, all_keys = with_general_rows(columns, keys, pairs(400), 0.25, seed=1)
    sampler = PairBatchSampler(range(len(rows["query"])), all_keys, batch_size=32, drop_last=True, seed=1)
    shares = [sum(row >= 1200 for row in batch) / len(batch) for batch in sampler]
    assert min(shares) > 0 and max(shares) < 0.6
