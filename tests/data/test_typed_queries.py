"""Queries as people type them: the three styles by hand, and what holds for any text."""

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attune.data import typed_queries
from attune.data.typed_queries import typed


@pytest.fixture
def style(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Sets a style's number (0 lower case, 1 keywords, 2 how to) with style.setattr."""
    return monkeypatch


def rewritten(style: pytest.MonkeyPatch, number: int, query: str) -> str:
    style.setattr(typed_queries, "_number", lambda _query: number)
    return typed(query)


@pytest.mark.parametrize(
    ("query", "lower", "keywords", "how_to"),
    [
        (
            "Returns the sum of a vector (or of two).",
            "returns the sum of a vector (or of two)",
            "returns sum vector two",
            "how to return the sum of a vector (or of two)",
        ),
        ("Apply f(x) to all rows", "apply f(x) to all rows", "apply f(x) all rows", "how to apply f(x) to all rows"),
        ("Do not sort the keys!", "do not sort the keys", "not sort keys", "not sort keys"),
        ("Sum of all parts", "sum of all parts", "sum all parts", "sum all parts"),
        ("What is (are) Coma ?", "what is (are) coma", "what is (are) coma", "what is (are) coma"),
        ("How do I get a refund?", "how do i get a refund", "get refund", "get refund"),
        ('Save "XXX-" to a file', 'save "xxx-" to a file', "save xxx- file", 'how to save "xxx-" to a file'),
        ("Copies a file", "copies a file", "copies file", "how to copy a file"),
    ],
)
def test_each_style_rewrites_english(
    style: pytest.MonkeyPatch, query: str, lower: str, keywords: str, how_to: str
) -> None:
    """Keywords where no verb comes first, lower case where fewer than two words remain."""
    assert [rewritten(style, number, query) for number in range(3)] == [lower, keywords, how_to]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("Wie ändere ich mein Passwort?", "wie ändere ich mein passwort"),
        ("Как вернуть товар?", "как вернуть товар"),
        ("如何退货？", "如何退货"),
        ("Return the 東京 data", "return the 東京 data"),
        ("shortest path", "shortest path"),
        ("???", "???"),
        ("", ""),
        ("  ", "  "),
    ],
)
def test_other_languages_and_scripts_only_become_lower_case(
    style: pytest.MonkeyPatch, query: str, expected: str
) -> None:
    """In every style; a text without words, or with nothing to change, is returned as it is."""
    assert {rewritten(style, number, query) for number in range(3)} == {expected}


TEXTS = st.text(max_size=60) | st.lists(
    st.sampled_from("Return Returns the of a mean Values not without (x) f(x) What is for , . ? C++ 东京 İ".split())
).map(" ".join)


@given(TEXTS)
def test_a_query_stays_a_query_and_every_word_is_its_own(query: str) -> None:
    """Never empty, never without a word where it had one; only "how to" and a verb's ending are new."""
    result = typed(query)
    assert typed(query) == result
    assert bool(re.search(r"\w", result)) == bool(re.search(r"\w", query))
    if result == query:
        return
    assert result == result.strip() == " ".join(result.split())
    words = result.removeprefix("how to ").split()
    own = " ".join(query.lower().split())
    assert all(word in own for word in words)
    assert len(words) <= len(query.split())


@given(st.sampled_from(["not", "without", "no", "except", "between", "before", "after"]))
def test_words_that_turn_a_meaning_around_stay(word: str) -> None:
    """In every style."""
    assert word in typed(f"Return the values {word} the given limits of the range").split()


def test_the_styles_are_about_equally_frequent() -> None:
    """Of 600 sentences that all styles fit, each style rewrites a third, give or take five standard deviations."""
    results = [typed(f"Return the value of item{number}") for number in range(600)]
    kinds = Counter("how" if r.startswith("how to") else "lower" if " the " in r else "keywords" for r in results)
    assert set(kinds) == {"how", "lower", "keywords"}
    assert all(abs(n - 200) < 5 * (600 * 2 / 9) ** 0.5 for n in kinds.values())
