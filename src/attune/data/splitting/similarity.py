"""Exact all-pairs similarity join over millions of texts: Jaccard similarity of word shingles above a threshold.

Prefix filtering (Chaudhuri et al., "A primitive operator for similarity joins in data cleaning", ICDE 2006; Bayardo et
al., "Scaling up all pairs similarity search", WWW 2007): shingles are ordered from rare to frequent; two similar sets
share a shingle among the rarest few of each. Only texts with such a shared shingle are compared, so the cost grows with
the number of texts and of similar pairs, not with the square, and no pair is missed. Where shingles are single words,
even rare ones are common, and texts must share two of them (the extended prefixes of Wang et al., "Can we beat the
prefix filtering?", SIGMOD 2012).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from attune.data.splitting.clusters import components, fold
from attune.retrieval.words import WORD, WORD_OR_SYMBOL
from attune.runtime.arrays import Float64, Int64

TEXTS_AT_ONCE = 20_000  # texts whose words are in memory at one time
MIXER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: spreads hashes over all bits


@dataclass(frozen=True)
class ShingleSets:
    """Sets of shingles, one a text: row i holds shingles[start[i] : start[i + 1]], sorted 63-bit hashes."""

    start: Int64
    shingles: Int64

    @property
    def sizes(self) -> Int64:
        """Number of shingles of each text, (n,)."""
        return np.diff(self.start)

    def take(self, rows: Int64) -> "ShingleSets":
        """Returns the sets of some rows, in that order."""
        sizes = self.sizes[rows]
        start = np.concatenate([[0], np.cumsum(sizes)])
        shift = np.repeat(self.start[rows] - start[:-1], sizes)
        return ShingleSets(start, self.shingles[np.arange(start[-1]) + shift])


def shingle_sets(texts: Sequence[str], width: int, word: re.Pattern[str] = WORD) -> ShingleSets:
    """Returns the sets of runs of `width` words; a shorter text is one shingle, a text without words has none."""
    parts, sizes = [], []
    for begin in range(0, len(texts), TEXTS_AT_ONCE):
        words = [word.findall(fold(text)) for text in texts[begin : begin + TEXTS_AT_ONCE]]
        # a text with fewer words than a shingle is padded with empty words, which no text contains
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


def _windows(hashes: NDArray[np.uint64], n_words: Int64, width: int) -> tuple[Int64, Int64]:
    """Returns the row and the 63-bit hash of each run of `width` words within a row."""
    row = np.repeat(np.arange(len(n_words)), n_words)
    place = np.arange(len(row)) - np.repeat(np.cumsum(n_words) - n_words, n_words)
    starts = np.flatnonzero(place + width <= n_words[row])
    mixed = np.zeros(len(starts), dtype=np.uint64)
    for offset in range(width):
        mixed = mixed * MIXER + hashes[starts + offset]
        mixed ^= mixed >> np.uint64(29)
    return row[starts], ((mixed * MIXER) >> np.uint64(1)).astype(np.int64)


def first_of_equals(sets: ShingleSets) -> Int64:
    """Returns for each row the first row with the same set, (n,); rows without shingles equal no other row."""
    full = np.flatnonzero(sets.sizes)
    own = np.arange(len(sets.sizes))
    if len(full):
        mixed = sets.shingles.view(np.uint64) * MIXER
        sums = np.add.reduceat(mixed ^ (mixed >> np.uint64(31)), sets.start[full])
        _, first, group = np.unique(sums + sets.sizes[full].astype(np.uint64), return_index=True, return_inverse=True)
        own[full] = full[first[group]]
    return own


SETS_AT_ONCE = 20_000  # sets whose shingles are ordered at one time
CANDIDATES_AT_ONCE = 5_000_000  # pairs of texts with a shared key that are in memory at one time
SHINGLES_AT_ONCE = 10_000_000  # shingles compared at one time
FREQUENCY_BITS = 22  # shingles are counted in 2^22 buckets; counts only order shingles, so a collision costs time only
SLACK = 1e-9  # similarities are ratios of integers: 4/5 passes a threshold of 0.8


@dataclass(frozen=True)
class Alike:
    """Similar pairs among n texts.

    Attributes:
        first: (n,) for each text the first one with the same set of shingles, which represents it in the pairs.
        low, high: (m,) rows of similar texts with different sets, low < high, sorted.
        similarity: (m,) their Jaccard similarities.
    """

    first: Int64
    low: Int64
    high: Int64
    similarity: Float64

    def edges(self, threshold: float = 0.0) -> Int64:
        """Returns edges between rows, (n_edges, 2), that connect texts of at least this similarity, equal sets too."""
        rows = np.arange(len(self.first))
        same = rows[self.first != rows]
        enough = self.similarity >= threshold - SLACK
        pairs = np.stack([self.low[enough], self.high[enough]], axis=1)
        return np.concatenate([np.stack([self.first[same], same], axis=1), pairs])

    def among_first(self, n: int) -> "Alike":
        """Returns the pairs among the first n texts alone."""
        own = self.high < n  # a set is represented by the first text that has it, so no pair of theirs is lost
        return Alike(self.first[:n], self.low[own], self.high[own], self.similarity[own])


def alike(
    texts: Sequence[str], width: int, threshold: float, word: re.Pattern[str] = WORD, n_first: int | None = None
) -> Alike:
    """Finds all pairs of texts whose sets of shingles have a Jaccard similarity >= threshold.

    Args:
        texts: to compare.
        width: words per shingle.
        threshold: lowest similarity, above 0 and at most 1.
        word: what a word is.
        n_first: leaves out pairs without any of this many first texts, and their cost; None for all pairs.
    """
    sets = shingle_sets(texts, width, word)
    first = first_of_equals(sets)
    rows = np.flatnonzero((first == np.arange(len(first))) & (sets.sizes > 0))
    distinct = sets.take(rows)
    del sets  # the largest object in memory
    # single words are common; above one half, similar sets of two and more words share at least two of them
    n_shared = 2 if width == 1 and threshold > 0.5 else 1
    keys = _keys(distinct, threshold, n_shared)
    n_low = len(rows) if n_first is None else int(np.searchsorted(rows, n_first))
    candidates = _candidates(keys, distinct.sizes, threshold, n_low)
    blocks = [_compare(distinct, low, high, threshold) for low, high in candidates]
    low, high, similarity = (
        np.concatenate(column) if blocks else np.empty(0, kind)
        for column, kind in zip(zip(*blocks, strict=True) if blocks else [()] * 3, "iif", strict=True)
    )
    order = np.lexsort((high, low))
    return Alike(first, rows[low[order]], rows[high[order]], similarity[order].astype(np.float64))


def alike_with_symbols(texts: Sequence[str], in_words: Alike, width: int, threshold: float) -> Int64:
    """Returns pairs of rows, (n_pairs, 2), of texts that are similar both in words and with their symbols.

    Texts that differ in symbols alone are near-duplicates, but do not answer the same query: `find -name x` and
    `find ! -name x`.
    """
    edges = in_words.edges(threshold)
    rows, group = np.unique(edges), components(len(texts), edges)
    pairs = rows[alike([texts[row] for row in rows], width, threshold, WORD_OR_SYMBOL).edges()]
    of_one_group: Int64 = pairs[group[pairs[:, 0]] == group[pairs[:, 1]]]
    return of_one_group


def _keys(sets: ShingleSets, threshold: float, n_shared: int) -> csr_array:
    """Prefix keys, (n sets, n keys): each set's rarest shingles, or pairs of them; any two similar sets share a key."""
    rows, keys = [], []
    bucket = (1 << FREQUENCY_BITS) - 1
    frequency = np.bincount(sets.shingles & bucket, minlength=bucket + 1)
    for begin in range(0, len(sets.sizes), SETS_AT_ONCE):
        block = slice(sets.start[begin], sets.start[min(begin + SETS_AT_ONCE, len(sets.sizes))])
        sizes = sets.sizes[begin : begin + SETS_AT_ONCE]
        row, shingles = np.repeat(np.arange(len(sizes)), sizes), sets.shingles[block]
        count = frequency[shingles & bucket]
        order = np.lexsort((shingles, count, row))
        place = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        length = sizes - np.ceil(threshold * sizes - SLACK).astype(np.int64) + n_shared
        kept = order[place < length[row]]
        kept = kept[count[kept] > 1]  # a shingle that occurs once is shared with no other set
        row, key = row[kept], shingles[kept]
        for row_of, key_of in _pairs(row, key) if n_shared == 2 else [(row, key)]:
            rows.append(row_of + begin)
            keys.append(key_of)
    row, key = (np.concatenate(part or [np.empty(0, np.int64)]) for part in (rows, keys))
    _, column, n = np.unique(key, return_inverse=True, return_counts=True)
    shared = n[column] > 1
    return csr_array(
        (np.ones(shared.sum(), dtype=np.int32), (row[shared], column[shared])), shape=(len(sets.sizes), len(n))
    )


def _pairs(row: Int64, shingles: Int64) -> Iterator[tuple[Int64, Int64]]:
    """Yields all pairs of shingles of the same row, in their order, as one hash each."""
    mixed = shingles.view(np.uint64) * MIXER
    for gap in range(1, len(row)):
        both = np.flatnonzero(row[gap:] == row[:-gap])
        if not len(both):
            return
        pair = (mixed[both] ^ (mixed[both] >> np.uint64(31))) * MIXER + mixed[both + gap]
        yield row[both], (pair >> np.uint64(1)).astype(np.int64)


def _candidates(keys: csr_array, sizes: Int64, threshold: float, n_low: int) -> Iterator[tuple[Int64, Int64]]:
    """Yields pairs of rows (low < n_low, high) that share a key and whose sizes allow the threshold."""
    transposed = keys.T.tocsr()
    work = keys[:n_low] @ np.diff(transposed.indptr)
    blocks = np.cumsum(work) // CANDIDATES_AT_ONCE
    for block in np.unique(blocks[work > 0]):
        begin, end = np.searchsorted(blocks, block), np.searchsorted(blocks, block, side="right")
        shared = (keys[begin:end] @ transposed).tocoo()
        low, high = shared.row.astype(np.int64) + begin, shared.col.astype(np.int64)
        near = (low < high) & (
            np.minimum(sizes[low], sizes[high]) >= threshold * np.maximum(sizes[low], sizes[high]) - SLACK
        )
        yield low[near], high[near]


def _compare(sets: ShingleSets, low: Int64, high: Int64, threshold: float) -> tuple[Int64, Int64, Float64]:
    """Returns the pairs at or above the threshold and their Jaccard similarities."""
    shared = np.zeros(len(low), dtype=np.int64)
    blocks = np.cumsum(sets.sizes[low] + sets.sizes[high]) // SHINGLES_AT_ONCE
    for block in np.unique(blocks):
        pairs = np.flatnonzero(blocks == block)
        sides = [_matrix(sets.take(rows[pairs])) for rows in (low, high)]
        shared[pairs] = sides[0].multiply(sides[1]).sum(axis=1)
    similarity = shared / (sets.sizes[low] + sets.sizes[high] - shared)
    enough = similarity >= threshold - SLACK
    return low[enough], high[enough], similarity[enough]


def _matrix(sets: ShingleSets) -> csr_array:
    ones = np.ones(len(sets.shingles), dtype=np.int32)
    shape = (len(sets.sizes), np.iinfo(np.int64).max)
    return csr_array((ones, sets.shingles, sets.start), shape=shape)
