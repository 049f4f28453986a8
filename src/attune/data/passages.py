"""Cuts long documents into passages at sentence borders, before any encoder reads them.

Stage prepare cuts, so passages belong to the data and not to an encoder: base, tuned and any other encoder read the
same ones, and `base.max_length: auto` measures them. No tokenizer is known there, so tokens are estimated: a word costs
one for each 6 characters begun, a symbol one. Stage base and ATT035, which count with the tokenizer, tell of passages
that are longer than the encoder reads.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple
from unicodedata import category

from pydantic import Field, model_validator

from attune.retrieval.words import WORD_OR_SYMBOL
from attune.stage import Params
from attune.tables import full_text

LETTERS_PER_TOKEN = 6
LEAST_TOKENS = 16
# end of a sentence: a mark and what closes it, before white space; a mark of a script without spaces; an empty line
SENTENCE_END = re.compile(r"[.!?…؟۔।॥።]+[\"'”’»)\]]*\s+|[。！？｡]+[”’」』）]*\s*|\n\s*\n\s*")


class PassageParams(Params):
    """Length of passages.

    Attributes:
        tokens: longest passage, in estimated tokens; 0 cuts no document.
        overlap: most tokens at the end of a passage that the next one repeats, in whole sentences.
    """

    tokens: int = Field(ge=0, le=8192)
    overlap: int = Field(ge=0, le=4096)

    @model_validator(mode="after")
    def _is_consistent(self) -> "PassageParams":
        if 0 < self.tokens < LEAST_TOKENS:
            raise ValueError(f"passages.tokens must be 0 (off) or at least {LEAST_TOKENS}")
        if self.overlap > self.tokens // 2:
            raise ValueError("passages.overlap must be at most half of passages.tokens")
        return self


class Passage(NamedTuple):
    """A passage of a document.

    Attributes:
        start, stop: its range of characters in the document's full text.
        text: what encoders read: the range, behind the document's title where the range does not begin with it.
    """

    start: int
    stop: int
    text: str


class _Unit(NamedTuple):
    """A range of characters that no passage divides, and its tokens."""

    start: int
    stop: int
    n_tokens: int


def n_tokens(text: str) -> int:
    """Returns the estimated number of tokens of a text."""
    return sum(_cost(word) for word in WORD_OR_SYMBOL.findall(text))


def passages_of(title: str, text: str, params: PassageParams) -> list[Passage]:
    """Cuts a document; one that is not longer than a passage, and every document if passages are off, is one passage.

    A title of at most half a passage stands before each passage; a longer one is cut with the text.
    """
    whole = full_text(title, text)
    if not params.tokens or n_tokens(whole) <= params.tokens:
        return [Passage(0, len(whole), whole)]
    cost = n_tokens(title)
    if cost > params.tokens // 2 or not title.strip():
        return [Passage(start, stop, whole[start:stop].strip()) for start, stop in ranges(whole, params)]
    body = len(whole) - len(whole[len(title) :].lstrip())
    parts = ranges(whole[body:], params.model_copy(update={"tokens": params.tokens - cost}))
    starts = [0, *(body + start for start, _ in parts[1:])]
    texts = [whole[body + start : body + stop] for start, stop in parts]
    return [
        Passage(start, body + stop, full_text(title, own.strip()))
        for start, (_, stop), own in zip(starts, parts, texts, strict=True)
    ]


def ranges(text: str, params: PassageParams) -> list[tuple[int, int]]:
    """Returns ranges of characters that cover a text, each of at most `tokens` tokens unless it is a single word."""
    units = [unit for sentence in _sentences(text) for unit in _divided(sentence, text, params.tokens)]
    first, found = 0, []
    while first < len(units):
        last = _filled(units, first, params.tokens)
        found.append((units[first].start, units[last - 1].stop))
        first = last if last == len(units) else _stepped_back(units, first, last, params)
    return found


def _filled(units: Sequence[_Unit], first: int, tokens: int) -> int:
    """Returns the end of the longest run of units from a first one on that fits, at least that one."""
    last, total = first + 1, units[first].n_tokens
    while last < len(units) and total + units[last].n_tokens <= tokens:
        total += units[last].n_tokens
        last += 1
    return last


def _stepped_back(units: Sequence[_Unit], first: int, last: int, params: PassageParams) -> int:
    """Returns the first unit of the next passage: as many before `last` as the overlap, and the next one, hold."""
    begin, total = last, 0
    room = min(params.overlap, params.tokens - units[last].n_tokens)
    while begin - 1 > first and total + units[begin - 1].n_tokens <= room:
        begin -= 1
        total += units[begin].n_tokens
    return begin


def _sentences(text: str) -> Iterator[_Unit]:
    """Yields sentences with the white space behind them, which together are the text."""
    ends = [match.end() for match in SENTENCE_END.finditer(text)]
    for start, stop in pairwise(dict.fromkeys([0, *ends, len(text)])):
        yield _Unit(start, stop, n_tokens(text[start:stop]))


def _divided(sentence: _Unit, text: str, tokens: int) -> Iterator[_Unit]:
    """Yields a sentence, or, if it is too long for a passage, its words, each with what stands before the next one."""
    if sentence.n_tokens <= tokens:
        yield sentence
        return
    words = list(WORD_OR_SYMBOL.finditer(text, sentence.start, sentence.stop))
    # a vowel sign or accent stays with its letter
    starts = [word.start() for word in words[1:] if category(word.group()[0])[0] != "M"]
    for start, stop in pairwise([sentence.start, *starts, sentence.stop]):
        yield _Unit(start, stop, n_tokens(text[start:stop]))


def _cost(word: str) -> int:
    return -(-len(word) // LETTERS_PER_TOKEN)
