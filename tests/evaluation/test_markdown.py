"""Texts of the data are shown on Markdown pages and never become markup."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from attune.evaluation.report.markdown import number, p_value, percent, plain, render, signed, table, words

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
    """The visible text of an inline token, which must hold text only."""
    assert {child.type for child in token.children or []} <= {"text"}
    return "".join(child.content for child in token.children or [])


def one_line(text: str) -> str:
    """A text on one line, without unprintable characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


@given(TEXTS)
def test_any_text_in_a_table_cell_is_shown_as_text(text: str) -> None:
    """The text is unchanged and the table keeps its cells."""
    tokens = PAGE.parse(f"| a | b |\n|---|---|\n| {plain(text, 500)} | last |\n")
    cells = [shown(token) for token in tokens if token.type == "inline"]
    assert cells == ["a", "b", one_line(text), "last"]


@given(TEXTS)
def test_any_text_in_a_quotation_is_shown_as_text(text: str) -> None:
    """The text is unchanged and ends with the quotation."""
    tokens = PAGE.parse(f"> {plain(text, 500)}\n\nafter\n")
    assert [shown(token) for token in tokens if token.type == "inline"] == [t for t in (one_line(text), "after") if t]
    assert {token.type.removesuffix("_open").removesuffix("_close") for token in tokens} <= {
        "blockquote",
        "paragraph",
        "inline",
    }


def test_long_texts_are_cut_with_an_ellipsis() -> None:
    """The limit counts the ellipsis; without a limit nothing is cut."""
    assert plain("word " * 30, 12) == "word word w…"
    assert len(plain("word " * 300, None)) == 1499


def test_nobody_is_mentioned_where_a_host_would_notify() -> None:
    """An @ that begins a word is followed by a zero-width space; recall@10 stays as it is."""
    assert plain("@someone recall@10", can_mention=False) == "@\u200bsomeone recall@10"
    assert plain("@someone") == "@someone"


def test_a_table_aligns_numbers_right_and_has_equal_rows() -> None:
    """Columns after the text columns are aligned right; a row of another length is an error."""
    rows = [("a", "1"), ("b", "2")]
    assert table(("name", "n"), rows, 1) == "| name | n |\n| --- | ---: |\n| a | 1 |\n| b | 2 |"
    assert table(("name", "n"), rows[:1]).splitlines()[1] == "| --- | --- |"
    with pytest.raises(ValueError, match=r"row \['a'\] has 1 cells, expected 2"):
        table(("name", "n"), [("a",)])


@pytest.mark.parametrize(
    ("value", "expected"), [(0.1637, "+0.16"), (-0.1637, "-0.16"), (0.0, "+0.00"), (-0.001, "+0.00"), (1.0, "+1.00")]
)
def test_signed_numbers_have_a_sign(value: float, expected: str) -> None:
    """Numbers that round to 0 are +0.00, never -0.00."""
    assert signed(value) == expected


@pytest.mark.parametrize(("value", "expected"), [(0.0002, "p < 0.001"), (0.0123, "p = 0.012"), (1.0, "p = 1.000")])
def test_p_values_are_printed_as_in_papers(value: float, expected: str) -> None:
    """Below 0.001 as a bound, else with three digits."""
    assert p_value(value) == expected


@pytest.mark.parametrize(
    ("share", "expected"), [(0.98999, "98.99%"), (0.99, "99.00%"), (0.57, "57.00%"), (1, "100.00%")]
)
def test_percentages_are_rounded_down(share: float, expected: str) -> None:
    """98.999% never reads as the 99% that is required."""
    assert percent(share) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(12345, "12,345"), (0.5, "0.5"), (0.999999, "0.999999"), (3.0, "3"), (True, "yes"), ("a|b", r"a\|b")],
)
def test_figures_of_receipts(value: object, expected: str) -> None:
    """Numbers are grouped and rounded, booleans are words, texts are escaped."""
    assert number(value) == expected


def test_keys_of_receipts_in_words() -> None:
    """Prefix n_ and punctuation of keys are dropped."""
    assert words("n_near_queries") == "near queries"
    assert words("dev_leaks.exact_queries") == "dev leaks: exact queries"


def test_a_page_that_lacks_a_value_is_an_error() -> None:
    """An undefined value never renders as a blank."""
    with pytest.raises(Exception, match="undefined"):
        render("report.md.j2")
