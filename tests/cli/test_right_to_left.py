"""Right-to-left texts, combining marks and joined emoji in the demo's page and in the terminal's tables."""

import io

import pytest
from directions import ARABIC, EMOJI, HEBREW, HINDI, TEXTS, THAI, adrift
from rich.console import Console
from wcwidth import wcswidth

from attune.cli.check.interface import facts_table
from attune.cli.demo.examples import QueryChange, QueryChanges
from attune.cli.demo.hits import Hit, PairedHits, SystemHits
from attune.cli.demo.page import render


def hits(*texts: tuple[str, str]) -> PairedHits:
    """Returns the same hits for base and tuned, by title and text."""
    own = [Hit(i, f"d{i}", *texts[i - 1], 0.5, i, i, i == 1) for i in range(1, len(texts) + 1)]
    return PairedHits(HEBREW, 100, [SystemHits(name, "torch", 0.1, 0.1, own) for name in ("base", "tuned")])


def hits_table(paired: PairedHits) -> object:
    """Returns what `attune search` prints."""
    (table,) = paired.shown()
    return table


def lines(table: object, width: int = 100) -> list[str]:
    """Returns the lines that a terminal of this width shows."""
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(table)
    shown: str = console.file.getvalue()  # type: ignore[attr-defined]
    return shown.splitlines()


def test_every_right_to_left_text_of_the_demo_has_its_own_direction() -> None:
    """Title, box, hits with and without a title, unfolded texts and example queries; without `dir` none has."""
    changes = QueryChanges([QueryChange(ARABIC, 0.0, 1.0)], [QueryChange(HEBREW, 1.0, 0.0)], [])
    paired = hits((HEBREW, ARABIC), ("", HEBREW), *((text, text) for text in TEXTS))
    shown = render(changes, 5, 7, paired)
    assert adrift(shown) == []
    assert all(text in shown for text in TEXTS)
    assert len(adrift(shown.replace(' dir="auto"', ""))) >= 2 * 3 * 2 + 3


@pytest.mark.parametrize("text", [HEBREW, ARABIC, THAI, EMOJI, "e\u0301" * 9, "手机怎么退货"])
def test_rules_of_tables_stand_below_each_other(text: str) -> None:
    """By wcwidth, as terminals count: all lines of a table are as wide, also where cells wrap."""
    facts = {"read_as": {"query": text * 4, "document": text}}
    for width in (40, 100):
        for table in (hits_table(hits((text, text * 3))), facts_table(facts)):
            assert len({wcswidth(line) for line in lines(table, width)}) == 1


def test_each_line_of_a_right_to_left_cell_is_isolated() -> None:
    """Both of two Hebrew cells, and each line of one that wraps; other cells have no isolates."""
    [row] = [line for line in lines(hits_table(hits((HEBREW, "text")))) if HEBREW in line]
    assert row.count(f"\u2068{HEBREW} answer\u2069") == 2
    wrapped = [line for line in lines(facts_table({"read_as": {"query": "שלום עולם " * 8}}), 40) if "עולם" in line]
    assert len(wrapped) > 1 and all(line.count("\u2068") == line.count("\u2069") == 1 for line in wrapped)
    assert not any("\u2068" in line for line in lines(hits_table(hits((HINDI, EMOJI)))))


def test_controls_in_titles_do_not_reach_the_terminal() -> None:
    """An escape sequence and a bidirectional override in a title become spaces."""
    shown = "\n".join(lines(hits_table(hits(("red \x1b[31m \u202e title", "text")))))
    assert "\x1b" not in shown and "\u202e" not in shown and "title" in shown


def test_facts_are_shown_in_words_and_percent() -> None:
    """Yes for true, grouped numbers, and several facts of one name in one cell."""
    facts = {"lengths": {"is_max_length_auto": True}, "scripts": {"Thai": {"n_documents": 1200, "unknown_share": 0.5}}}
    shown = "\n".join(lines(facts_table(facts)))
    assert "yes" in shown and "documents 1,200, unknown 50.0%" in shown
