"""Texts that are a query on one side and a document on the other: pairs given in both directions, duplicate questions.

A query and a document are such a pair if their normalised texts are equal, or if their shingles are as similar as those
of near-duplicate queries. A document is read with its title and without it. Both roles are compared in one join, with
only those documents that are short enough: the Jaccard similarity of two sets is at most the ratio of their sizes.
Titles alone are compared by equality: a title names a topic, and questions on that topic are nearly it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attune.data.splitting.clusters import fold, normalise
from attune.data.splitting.similarity import SLACK, TEXTS_AT_ONCE, Alike, alike, shingle_sets
from attune.retrieval.words import WORD
from attune.runtime.arrays import Int64
from attune.tables import full_text

CHARACTERS_PER_WORD = 9  # of the beginning by which long documents are told: more than words have, as some occur twice


@dataclass(frozen=True)
class Readings:
    """Texts that are compared with queries: title and body of each document, and the body alone where it has a title.

    Attributes:
        rows: the document of each text, as a row of the table.
        texts: full texts of all documents first, in their order.
    """

    rows: Int64
    texts: Sequence[str]

    @classmethod
    def of(cls, titles: Sequence[str], bodies: Sequence[str]) -> "Readings":
        """Reads documents, given by titles ("" for none) and bodies."""
        documents = list(zip(titles, bodies, strict=True))
        alone = [row for row, (title, body) in enumerate(documents) if title.strip() and body.strip()]
        rows = np.concatenate([np.arange(len(documents)), np.array(alone, dtype=np.int64)])
        return cls(rows, [*(full_text(*document) for document in documents), *(bodies[row] for row in alone)])

    def of_documents(self, pairs: Int64) -> Int64:
        """Returns pairs (query row, row of a text) as distinct pairs (query row, document row), sorted."""
        return np.unique(np.stack([pairs[:, 0], self.rows[pairs[:, 1]]], axis=1), axis=0)


@dataclass(frozen=True)
class Roles:
    """Similar texts among queries and the documents that are short enough to be similar to a query.

    Attributes:
        n_queries: number of queries.
        documents: rows of the compared documents, ascending.
        texts: of the queries, then of these documents.
        both: similar pairs among these texts, without those of two documents.
    """

    n_queries: int
    documents: Int64
    texts: Sequence[str]
    both: Alike

    @property
    def queries(self) -> Alike:
        """Similar pairs among the queries alone."""
        return self.both.among_first(self.n_queries)

    def crossings(self) -> Int64:
        """Returns pairs (query row, document row), (n_pairs, 2), that connect each document with the queries like it.

        Of several documents with the same shingles, the first has a pair with every distinct query that is similar, the
        others have one pair: their number stays linear, and the connected components are those of all pairs.
        """
        first, low, high = self.both.first, self.both.low, self.both.high
        rows = np.arange(self.n_queries, len(first))
        equal = rows[first[rows] < self.n_queries]
        crossed = (low < self.n_queries) & (high >= self.n_queries)
        partner = np.full(len(first), -1)
        of_query, place = np.unique(high[crossed], return_index=True)
        partner[of_query] = low[crossed][place]  # the first query of each document
        copies = rows[(first[rows] != rows) & (partner[first[rows]] >= 0)]
        pairs = [
            np.stack([first[equal], equal], axis=1),
            np.stack([low[crossed], high[crossed]], axis=1),
            np.stack([partner[first[copies]], copies], axis=1),
            self._wordless(),
        ]
        found = np.concatenate(pairs)
        return np.stack([found[:, 0], self.documents[found[:, 1] - self.n_queries]], axis=1)

    def _wordless(self) -> Int64:
        """Returns pairs of rows of a query and a document that are equal and hold symbols only: they share no word."""
        wordless = [row for row, text in enumerate(self.texts) if not WORD.search(text)]
        rows_of: dict[str, list[int]] = {}
        for row in wordless:
            if row < self.n_queries:
                rows_of.setdefault(normalise(self.texts[row]), []).append(row)
        documents = [row for row in wordless if row >= self.n_queries]
        pairs = [(query, row) for row in documents for query in rows_of.get(normalise(self.texts[row]), [])]
        return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def equal_titles(queries: Sequence[str], titles: Sequence[str]) -> Int64:
    """Returns pairs (query row, document row), (n_pairs, 2), of a query that is the title of a document."""
    rows_of: dict[str, list[int]] = {}
    for row, text in enumerate(queries):
        rows_of.setdefault(normalise(text), []).append(row)
    titled = ((row, normalise(title)) for row, title in enumerate(titles) if title.strip())
    pairs = [(query, row) for row, title in titled for query in rows_of.get(title, [])]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def compare_roles(queries: Sequence[str], documents: Sequence[str], width: int, threshold: float) -> Roles:
    """Finds the similar texts among queries and documents.

    Args:
        queries: texts of queries.
        documents: texts of documents; those of `Readings` count the body alone, too.
        width: words per shingle, of queries.
        threshold: lowest Jaccard similarity of shingles at which two queries are near-duplicates.
    """
    rows = _short_enough(queries, documents, width, threshold)
    texts = [*queries, *(documents[row] for row in rows)]
    return Roles(len(queries), rows, texts, alike(texts, width, threshold, n_first=len(queries)))


def _short_enough(queries: Sequence[str], documents: Sequence[str], width: int, threshold: float) -> Int64:
    """Returns the rows of documents whose number of shingles allows a similarity to some query, or that have none."""
    sizes = np.unique(_sizes(queries, width))
    if not len(sizes):
        return np.empty(0, dtype=np.int64)
    allowed = np.zeros(int(sizes[-1] / threshold + SLACK) + 1, dtype=bool)
    for size in sizes.tolist():
        allowed[int(np.ceil(threshold * size - SLACK)) : int(size / threshold + SLACK) + 1] = True
    most = len(allowed) - 1
    rows: Int64 = np.array([row for row, text in enumerate(documents) if _may_be_short(text, most, width)], np.int64)
    own = _sizes([documents[row] for row in rows], width)
    return rows[(own <= most) & allowed[np.minimum(own, most)]]


def _may_be_short(text: str, most: int, width: int) -> bool:
    """Returns False if the beginning of a text alone shows that it has more than `most` shingles.

    The first occurrence of each word but the first `width` - 1 ends a new shingle; the last word may be cut.
    """
    beginning = fold(text[: CHARACTERS_PER_WORD * (most + width + 1)])
    return len(set(WORD.findall(beginning))) - width <= most


def _sizes(texts: Sequence[str], width: int) -> Int64:
    """Returns the number of shingles of each text, (n,)."""
    blocks = range(0, len(texts), TEXTS_AT_ONCE)
    sizes = [shingle_sets(texts[begin : begin + TEXTS_AT_ONCE], width).sizes for begin in blocks]
    return np.concatenate([np.empty(0, dtype=np.int64), *sizes])
