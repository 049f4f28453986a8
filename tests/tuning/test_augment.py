"""Other forms of training rows: which rows are drawn, and what becomes of them."""

import random

from hypothesis import given
from hypothesis import strategies as st

from attune.data.typed_queries import typed
from attune.tuning.training.augment import augmented

N = 400
COLUMNS = {
    "query": [f"Returns the value of item{n}." for n in range(N)],
    "positive": [f"positive {n}" for n in range(N)],
    "negative_1": [f"negative {n}" for n in range(N)],
}
IDS = {"positive": [f"d{n}" for n in range(N)], "negative_1": [f"d{(n + 1) % N}" for n in range(N)]}
FORMS = {f"d{n}": f"other form of d{n}" for n in range(N) if n % 5}
SPREAD = 5 * (N * 0.25) ** 0.5  # five standard deviations of a count, at most


def is_other(columns: dict[str, list[str]], name: str) -> list[bool]:
    return [text.startswith("other form") for text in columns[name]]


def is_typed(columns: dict[str, list[str]]) -> list[bool]:
    return [new != old for new, old in zip(columns["query"], COLUMNS["query"], strict=True)]


def test_shares_of_zero_return_the_rows_as_they_are() -> None:
    """In the order of the columns."""
    result = augmented(COLUMNS, IDS, FORMS, 0.0, 0.0, 13)
    assert result == COLUMNS and list(result) == list(COLUMNS)


def test_shares_of_one_rewrite_every_row() -> None:
    """Every query is typed; every document that has another form is read in it, the others stay."""
    result = augmented(COLUMNS, IDS, FORMS, 1.0, 1.0, 13)
    assert result["query"] == [typed(query) for query in COLUMNS["query"]]
    for name, ids in IDS.items():
        assert result[name] == [FORMS.get(id_, text) for id_, text in zip(ids, COLUMNS[name], strict=True)]


def test_a_row_is_read_in_one_form_throughout() -> None:
    """Positive and negative alike where both have another form, so that the form does not tell which is which."""
    result = augmented(COLUMNS, IDS, FORMS, 0.0, 0.5, 13)
    both = [positive in FORMS and negative in FORMS for positive, negative in zip(*IDS.values(), strict=True)]
    drawn = zip(is_other(result, "positive"), is_other(result, "negative_1"), both, strict=True)
    assert all(positive == negative for positive, negative, has in drawn if has)
    assert abs(sum(is_other(result, "positive")) - len(FORMS) / 2) < SPREAD


def test_shares_are_met_and_drawn_apart() -> None:
    """Within five standard deviations: a quarter typed, half in another form, and an eighth both."""
    result = augmented(COLUMNS, IDS, {id_: f"other form of {id_}" for id_ in IDS["positive"]}, 0.25, 0.5, 13)
    typed_rows, other_rows = is_typed(result), is_other(result, "positive")
    both = sum(map(all, zip(typed_rows, other_rows, strict=True)))
    assert abs(sum(typed_rows) - N / 4) < SPREAD
    assert abs(sum(other_rows) - N / 2) < SPREAD
    assert abs(both - N / 8) < SPREAD


def test_another_seed_draws_other_rows() -> None:
    """Rows of one seed are the same in every call."""
    first, again, other = (augmented(COLUMNS, IDS, FORMS, 0.25, 0.5, seed) for seed in (13, 13, 14))
    assert first == again
    assert is_typed(first) != is_typed(other) and is_other(first, "positive") != is_other(other, "positive")


@given(st.randoms(use_true_random=False), st.integers(1, 30), st.floats(0, 1), st.floats(0, 1))
def test_a_row_does_not_depend_on_its_neighbours(chance: random.Random, n: int, queries: float, forms: float) -> None:
    """Any rows in any order become what they become among all rows."""
    rows = chance.sample(range(N), n)
    part = {name: [texts[row] for row in rows] for name, texts in COLUMNS.items()}
    ids = {name: [of_column[row] for row in rows] for name, of_column in IDS.items()}
    whole = augmented(COLUMNS, IDS, FORMS, queries, forms, 13)
    assert augmented(part, ids, FORMS, queries, forms, 13) == {
        name: [texts[row] for row in rows] for name, texts in whole.items()
    }


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_keeps_the_rows_of_a_smaller_one(one: float, other: float) -> None:
    """So that runs with other shares differ by the added rows alone."""
    low, high = sorted((one, other))
    few, many = (augmented(COLUMNS, IDS, FORMS, share, share, 13) for share in (low, high))
    assert all(not small or large for small, large in zip(is_typed(few), is_typed(many), strict=True))
