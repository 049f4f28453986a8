"""What the data says is shown on the page, and nothing of it is obeyed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from attune.evaluation.report.markdown import number, p_value, percent, plain, render, signed, words

PAGE = MarkdownIt("commonmark").enable(["table", "strikethrough"])
NASTY = [
    "|",
    "`",
    "*",
    "_",
    "<b>",
    "</b>",
    "<!--",
    "&amp;",
    "\\",
    "~~",
    "[x](y)",
    "![x](y)",
    "\n",
    "\r",
    "# ",
    "- ",
    "1. ",
]
NASTY += [
    "1) ",
    "+ ",
    "> ",
    "---",
    "===",
    "```",
    "    ",
    "a",
    "é",
    "\u2028",
    "\u202e",
    "\x00",
    "$",
    "http://x.y",
    "<http://x>",
]
TEXTS = st.one_of(st.text(max_size=30), st.lists(st.sampled_from(NASTY), max_size=12).map("".join))


def shown(token: Token) -> str:
    """The text that a reader sees of an inline token, which must hold nothing but text."""
    assert {child.type for child in token.children or []} <= {"text"}
    return "".join(child.content for child in token.children or [])


def one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


@given(TEXTS)
def test_any_text_in_a_table_is_shown_as_it_is_and_leaves_the_table_whole(text: str) -> None:
    tokens = PAGE.parse(f"| a | b |\n|---|---|\n| {plain(text, 500)} | last |\n")
    cells = [shown(token) for token in tokens if token.type == "inline"]
    assert cells == ["a", "b", one_line(text), "last"]


@given(TEXTS)
def test_any_text_in_a_quotation_is_shown_as_it_is(text: str) -> None:
    tokens = PAGE.parse(f"> {plain(text, 500)}\n\nafter\n")
    assert [shown(token) for token in tokens if token.type == "inline"] == [t for t in (one_line(text), "after") if t]
    assert {token.type.removesuffix("_open").removesuffix("_close") for token in tokens} <= {
        "blockquote",
        "paragraph",
        "inline",
    }


def test_long_texts_are_cut_with_an_ellipsis() -> None:
    assert plain("word " * 30, 12) == "word word w…"


@pytest.mark.parametrize(
    ("value", "expected"), [(0.1637, "+0.16"), (-0.1637, "-0.16"), (0.0, "+0.00"), (-0.001, "+0.00"), (1.0, "+1.00")]
)
def test_signed_numbers_carry_their_sign_and_no_negative_zero(value: float, expected: str) -> None:
    assert signed(value) == expected


@pytest.mark.parametrize(("value", "expected"), [(0.0002, "p < 0.001"), (0.0123, "p = 0.012"), (1.0, "p = 1.000")])
def test_p_values(value: float, expected: str) -> None:
    assert p_value(value) == expected


@pytest.mark.parametrize(
    ("value", "floor", "expected"),
    [
        (0.0036, 0.0036, "p ≤ 0.004"),
        (0.0032, 0.0032, "p ≤ 0.004"),
        (0.0038, 0.0036, "p = 0.004"),
        (1.0, 0.9, "p = 1.000"),
    ],
)
def test_p_values_at_the_floor_are_upper_bounds(value: float, floor: float, expected: str) -> None:
    """Rounded up, so that the bound holds."""
    assert p_value(value, floor) == expected


@pytest.mark.parametrize(
    ("share", "expected"), [(0.98999, "98.99%"), (0.99, "99.00%"), (0.57, "57.00%"), (1, "100.00%")]
)
def test_percentages_never_round_up_to_a_promise(share: float, expected: str) -> None:
    assert percent(share) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(12345, "12,345"), (0.5, "0.5"), (0.999999, "0.999999"), (3.0, "3"), (True, "yes"), ("a|b", r"a\|b")],
)
def test_figures_of_receipts(value: object, expected: str) -> None:
    assert number(value) == expected


def test_keys_of_receipts_in_words() -> None:
    assert words("n_near_queries") == "near queries"
    assert words("dev_leaks.exact_queries") == "dev leaks: exact queries"


def test_a_page_that_lacks_a_value_is_an_error_and_not_a_blank() -> None:
    with pytest.raises(Exception, match="undefined"):
        render("report.md.j2")
