"""Texts without judgments from which token vectors learn what their encoder says: lines of train's documents.

A line of a docstring, of code or of a page is as short as a query, and holds the domain's words in more neighbourhoods
than the queries of train do.
"""

import hashlib
import re
from collections.abc import Iterable

from attune.data.passages import SENTENCE_END

LEAST_WORDS, MOST_WORDS = 3, 40
_WORD = re.compile(r"[^\W\d_]{2,}")
_WORDS = re.compile(r"\S+")


def lines_of(texts: Iterable[str]) -> list[str]:
    """Returns the distinct lines of texts, long ones cut at sentence ends, without those of fewer than three words."""
    found = {line for text in texts for line in _lines(text) if len(_WORD.findall(line)) >= LEAST_WORDS}
    return sorted(found)


def _lines(text: str) -> Iterable[str]:
    for line in text.splitlines():
        parts = [line] if len(_WORDS.findall(line)) <= MOST_WORDS else SENTENCE_END.split(line)
        yield from (" ".join(part.split()) for part in parts)


def drawn(lines: Iterable[str], n: int, seed: int) -> list[str]:
    """Returns at most n of the lines, those with the lowest hashes, so that added documents replace few."""
    return sorted(lines, key=lambda line: hashlib.sha256(f"{seed}:{line}".encode()).digest())[:n]
