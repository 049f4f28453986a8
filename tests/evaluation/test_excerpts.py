"""Texts of any script are shown on one line, whole letters only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attune.evaluation.page.html import excerpt
from attune.evaluation.report.excerpts import cut, line, visible
from attune.evaluation.report.markdown import plain


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("short", 5, "short"),
        ("cut here", 6, "cut h…"),
        ("cut here", 5, "cut…"),
        ("没有空格的中文句子", 5, "没有空格…"),
        ("e\u0301e\u0301", 3, "e\u0301…"),  # two letters with accents of their own
        ("ne\u0301e", 3, "n…"),
        ("कि कि कि", 6, "कि कि…"),
        ("ab\U0001f469\u200d\U0001f4bbc", 5, "ab…"),  # a family of emoji is one
        ("\u0301\u0301\u0301", 2, "\u0301…"),  # marks alone
    ],
)
def test_a_cut_keeps_letters_whole(text: str, limit: int, expected: str) -> None:
    """By hand: an accent, a vowel sign or a joined emoji is kept with its letter or left out with it."""
    assert cut(text, limit) == expected


@given(st.text(), st.integers(2, 20))
def test_a_cut_is_a_beginning_that_fits(text: str, limit: int) -> None:
    """Never longer than the limit; all but the ellipsis is the text's beginning."""
    shown = cut(text, limit)
    assert len(shown) <= limit
    assert shown == text or (shown.endswith("…") and text.startswith(shown[:-1]))


def test_joiners_stay_and_controls_go() -> None:
    """Persian's non-joiner is part of a word; an escape sequence and a bidirectional override are not shown."""
    assert visible("می\u200cخواهم") == "می\u200cخواهم"
    assert line("a\x1b[31m\u202e b\nc") == "a [31m b c"
    assert excerpt("می\u200cخواهم", 20) == "می\u200cخواهم"
    assert plain("می\u200cخواهم") == "\u2068می\u200cخواهم\u2069"
