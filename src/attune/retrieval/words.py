"""Words in any script: for counting, for shingles, and for search.

A word is a run of letters, digits and their marks. Scripts such as Chinese, Japanese, Thai and Khmer put no space
between words: there each character with its marks is one for counting and shingles, and each pair of neighbours is one
for search, as in Lucene's analysis of such scripts. So are Korean syllables, because endings stick to words. Tibetan
needs no rule: it parts its syllables by a dot.
"""

import re
from collections.abc import Callable
from itertools import pairwise
from unicodedata import category, normalize

Words = Callable[[str], list[str]]  # splits a text into words to search by

# Thai and Lao, Myanmar, Khmer, Japanese and its repetition mark, Chinese, Korean
_RANGES = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3005, 0x3007), (0x3040, 0x30FF), (0x31F0, 0x31FF)),
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F), (0xAC00, 0xD7AF), (0xF900, 0xFAFF)),
    (0x20000, 0x3FFFF),
)
SPACELESS = "".join(f"{chr(first)}-{chr(last)}" for first, last in _RANGES)


def _marks(spaceless: bool) -> str:
    """Returns the characters that continue a word though Python's \\w lacks them: vowel signs, accents (category M).

    Args:
        spaceless: the marks of scripts without spaces, instead of all others.
    """
    of_spaceless = re.compile(f"[{SPACELESS}]")
    # the basic plane, all living scripts: with characters beyond it the class is three times as slow
    marks = (c for c in map(chr, range(0x300, 0x10000)) if category(c)[0] == "M")
    return "".join(c for c in marks if bool(of_spaceless.match(c)) == spaceless)


_ACCENTS, _SIGNS = _marks(False), _marks(True)
# [^\W...]: a word character that is none of ...
_SPACED = rf"[^\W{SPACELESS}]+(?:[{_ACCENTS}]+[^\W{SPACELESS}]*)*"
_LETTER = rf"(?:(?![\W_])[{SPACELESS}]|[{_SIGNS}])[{_SIGNS}{_ACCENTS}]*"
WORD = re.compile(rf"{_LETTER}|{_SPACED}")
WORD_OR_SYMBOL = re.compile(rf"{WORD.pattern}|[^\w\s]")

_LETTERS = re.compile(_LETTER)
_RUN = re.compile(rf"(?P<spaceless>(?:{_LETTER})+)|{_SPACED}")
_CASE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def n_words(text: str) -> int:
    """Returns the number of words of a text."""
    return sum(1 for _ in WORD.finditer(text))


def words(text: str) -> list[str]:
    """Returns the words of a text to search by.

    Case is folded, and so are characters that Unicode calls compatible (NFKC): composed and decomposed letters, full
    width. An identifier is split at underscores and changes of case, and in mixed case also kept whole: `DataFrame`
    gives "data", "frame" and "dataframe". In a script without spaces each pair of neighbours is a word, and a single
    character where it stands alone.
    """
    found: list[str] = []
    for run in _RUN.finditer(text if text.isascii() else normalize("NFKC", text)):
        if run["spaceless"]:
            found += _pairs(_LETTERS.findall(run[0]))
            continue
        for word in filter(None, run[0].split("_")):
            parts = _CASE.split(word)
            found += map(_fold, parts)
            if len(parts) > 1:
                found.append(_fold(word))
    return found


def _pairs(letters: list[str]) -> list[str]:
    """Returns all pairs of neighbours; a single letter stays."""
    return [first + second for first, second in pairwise(letters)] or letters


def _fold(word: str) -> str:
    """Folds case as Unicode's caseless matching does: decomposed first, as some marks change with their case."""
    return word.lower() if word.isascii() else normalize("NFKC", normalize("NFKD", word).casefold())
