"""Texts from data as they are shown: on one line, without control characters, cut to a length."""

from unicodedata import category

JOINERS = "\u200c\u200d"  # no glyphs of their own: they shape letters of Persian and Hindi, and join emoji


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
