"""The words of a text, and the set of its shingles: runs of words, by which texts are compared."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

# scripts that put no space between words (Chinese, Japanese, Korean, Thai): there a character counts as a word
SPACELESS = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
WORD = re.compile(rf"[{SPACELESS}]|(?:(?![{SPACELESS}])\w)+")
WORD_OR_SYMBOL = re.compile(rf"{WORD.pattern}|[^\w\s]")
TEXTS_AT_ONCE = 20_000  # texts whose words are in memory at one time
MIXER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: spreads hashes over all bits


@dataclass(frozen=True)
class ShingleSets:
    """The set of shingles of each text: row i holds shingles[start[i] : start[i + 1]], sorted 63-bit hashes."""

    start: Ints
    shingles: Ints

    @property
    def sizes(self) -> Ints:
        """How many shingles each text has, (n,)."""
        return np.diff(self.start)

    def take(self, rows: Ints) -> "ShingleSets":
        """The sets of some rows, in that order."""
        sizes = self.sizes[rows]
        start = np.concatenate([[0], np.cumsum(sizes)])
        shift = np.repeat(self.start[rows] - start[:-1], sizes)
        return ShingleSets(start, self.shingles[np.arange(start[-1]) + shift])


def shingle_sets(texts: Sequence[str], width: int, word: re.Pattern[str] = WORD) -> ShingleSets:
    """The sets of runs of `width` words; a shorter text is one shingle, one without words has none."""
    parts, sizes = [], []
    for begin in range(0, len(texts), TEXTS_AT_ONCE):
        words = [word.findall(text.casefold()) for text in texts[begin : begin + TEXTS_AT_ONCE]]
        # a text with fewer words than a shingle is filled up with empty ones, which no text has
        words = [row + [""] * (width - len(row)) if row else row for row in words]
        n_words = np.array([len(row) for row in words], dtype=np.int64)
        hashes = np.fromiter((hash(word) for row in words for word in row), np.int64, n_words.sum()).view(np.uint64)
        row, shingles = _windows(hashes, n_words, width)
        order = np.lexsort((shingles, row))
        row, shingles = row[order], shingles[order]
        new = np.ones(len(row), dtype=bool)
        new[1:] = (row[1:] != row[:-1]) | (shingles[1:] != shingles[:-1])
        parts.append(shingles[new])
        sizes.append(np.bincount(row[new], minlength=len(words)))
    return ShingleSets(
        np.concatenate([[0], np.cumsum(np.concatenate(sizes or [np.empty(0, np.int64)]))]).astype(np.int64),
        np.concatenate(parts or [np.empty(0, np.int64)]),
    )


def _windows(hashes: NDArray[np.uint64], n_words: Ints, width: int) -> tuple[Ints, Ints]:
    """The row and the hash (63 bits) of each run of `width` words within a row."""
    row = np.repeat(np.arange(len(n_words)), n_words)
    place = np.arange(len(row)) - np.repeat(np.cumsum(n_words) - n_words, n_words)
    starts = np.flatnonzero(place + width <= n_words[row])
    mixed = np.zeros(len(starts), dtype=np.uint64)
    for offset in range(width):
        mixed = mixed * MIXER + hashes[starts + offset]
        mixed ^= mixed >> np.uint64(29)
    return row[starts], ((mixed * MIXER) >> np.uint64(1)).astype(np.int64)


def first_of_equals(sets: ShingleSets) -> Ints:
    """For each row the first with the same set; rows without shingles stand for themselves."""
    full = np.flatnonzero(sets.sizes)
    own = np.arange(len(sets.sizes))
    if len(full):
        mixed = sets.shingles.view(np.uint64) * MIXER
        sums = np.add.reduceat(mixed ^ (mixed >> np.uint64(31)), sets.start[full])
        _, first, group = np.unique(sums + sets.sizes[full].astype(np.uint64), return_index=True, return_inverse=True)
        own[full] = full[first[group]]
    return own
