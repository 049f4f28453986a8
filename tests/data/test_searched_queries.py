"""Queries in the held-out style of search logs: by hand, for any text, and never what training makes."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attune.data import searched_queries, typed_queries
from attune.data.searched_queries import searched
from attune.data.typed_queries import typed


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("Return the largest sum of x.", r"return (l\w{5}) sum of x|(r\w{4}) largest sum of x"),
        ("Is the number a maximum, without limits?", r"num max w/o l\w{4}"),
        ("How do I get a refund for the order", r"how do I get (r\w{4} for order|refund for o\w{3})"),
        ("Save the (old) FILE_1 to data/x, and C++ to K-means", None),
        ("Opens the (whole) FILE_1 of d/x, and C++.", r"(o\w\ws \(whole\)|opens \(w\w{3}\)) FILE_1 of d/x & C\+\+"),
        ("A matrix A is the product of B", r"(m\w{4} A product|matrix A p\w{5}) of B"),
        ("Sorts 'values' of the parameters", r"(s\w{4} 'values'|sorts 'v\w{4}') of params"),
    ],
    ids=["article", "short", "question", "nothing to misspell", "names", "capital", "plural"],
)  # fmt: skip
def test_articles_go_words_are_shortened_and_one_letter_is_dropped(query: str, expected: str | None) -> None:
    """Names, numbers, symbols and capitals inside stay; brackets and quotes, too; a plural is shortened with its s."""
    result = searched(query)
    assert result is None if expected is None else (result and re.fullmatch(expected, result)), result


@pytest.mark.parametrize(
    "query",
    ["Wie ändere ich mein Passwort?", "Return the 東京 stations", "shortest weighted path", "to the end", "???", ""],
    ids=["German", "Japanese", "no English word", "short words", "symbols", "empty"],
)
def test_texts_that_the_rules_do_not_fit_are_left_out(query: str) -> None:
    """Not English by its words or letters, or no word of five letters to misspell."""
    assert searched(query) is None


WORDS = "Return returns the of a Mean values not without passes carries x f(x) What for, and number C++ İ state".split()
TEXTS = st.text(max_size=60) | st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)


@given(TEXTS)
def test_a_searched_query_is_none_that_training_makes(query: str) -> None:
    """One word is in none of its three styles; every text always gives the same query."""
    result = searched(query)
    assert searched(query) == result
    if result is None:
        return
    made = set()
    for number in range(3):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(typed_queries, "_number", lambda _query, chosen=number: chosen)
            made |= set(typed(query).split())
    new = [word for word in result.split() if word not in made]
    assert new


@given(st.lists(st.sampled_from("returns median window columns weights filters".split()), min_size=2, max_size=6))
def test_exactly_one_word_is_misspelled_by_an_inner_letter(words: list[str]) -> None:
    """One letter less, first and last letter kept; the other words stay in their places."""
    result = searched(" ".join(["the", *words, "together"]))
    assert result is not None
    words = [*words, "together"]
    plain = [searched_queries._SHORT.get("column", "") + "s" if word == "columns" else word for word in words]
    pairs = [(old, new) for old, new in zip(plain, result.split(), strict=True) if old != new]
    assert len(pairs) == 1
    old, new = pairs[0]
    assert len(new) == len(old) - 1 and new[0] == old[0] and new[-1] == old[-1]
    assert any(old[:place] + old[place + 1 :] == new for place in range(1, len(old) - 1))


def test_words_and_letters_are_chosen_by_the_text() -> None:
    """Of 200 queries that differ in a number, each word is misspelled, at several places."""
    results = [searched(f"the median window number{number}") or "" for number in range(200)]
    spelled = [set(column) for column in zip(*(result.split()[:2] for result in results), strict=True)]
    assert [len(words) for words in spelled] == [5, 5]  # four inner letters each, and as it is
