"""Texts from data as they are shown: on one line, without control characters, cut to a length, in their direction."""

import re
from unicodedata import category

JOINERS = "\u200c\u200d"  # no glyphs of their own: they shape letters of Persian and Hindi, and join emoji
OPEN, CLOSE = "\u2068", "\u2069"  # isolate a text, in the direction of its first letter, from what is around it
_RANGES = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff"  # Hebrew to Adlam
RIGHT_TO_LEFT = re.compile(f"[{_RANGES}]")
_WORDS = re.compile(rf"[{_RANGES}]+(?:[\d .,%/-]+[{_RANGES}]+)*")


def visible(text: str) -> str:
    """Returns a text with a space for each character that does not print, such as controls and bidirectional marks."""
    return "".join(c if c.isprintable() or c in JOINERS else " " for c in text)


def line(text: str) -> str:
    """Returns a text on one line, its white space single spaces."""
    return " ".join(visible(text).split())


def cut(text: str, limit: int) -> str:
    """Returns a text of at most `limit` characters, the last one an ellipsis where it was longer.

    No accent or vowel sign is parted from its letter, and nothing that a joiner holds together.
    """
    if len(text) <= limit:
        return text
    stop = limit - 1
    while stop and (category(text[stop])[0] == "M" or text[stop] in JOINERS or text[stop - 1] in JOINERS):
        stop -= 1
    return text[: stop or limit - 1].rstrip() + "…"


def isolated(text: str) -> str:
    """Returns a text from data that keeps its own direction wherever it is put; one without right-to-left as it is."""
    return f"{OPEN}{text}{CLOSE}" if RIGHT_TO_LEFT.search(text) else text


def isolated_words(sentence: str) -> str:
    """Returns an English sentence in which right-to-left words, such as a slice's name, reorder nothing but themselves.

    Without isolates, a number or a comma beside such a word would move to its other side.
    """
    return _WORDS.sub(rf"{OPEN}\g<0>{CLOSE}", sentence)
