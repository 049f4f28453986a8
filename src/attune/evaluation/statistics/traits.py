"""What sets one query apart from another, beside what it asks: the traits by which test queries are sliced.

A mean over all queries hides that long ones won and short ones lost. Each trait is one value per query, from its text,
its relevant documents and what training saw.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from attune.data.splitting.shingles import WORD
from attune.retrieval.bm25 import words as parts

Counts = NDArray[np.int64]
Shares = NDArray[np.float64]


def words(text: str) -> set[str]:
    """The distinct words of a text, as BM25 sees them; in scripts without spaces each character is one."""
    return {part for word in WORD.findall(text) for part in parts(word)}


def lengths(texts: Sequence[str]) -> Counts:
    """How many words each text has."""
    return np.array([len(WORD.findall(text)) for text in texts], dtype=np.int64)


def overlaps(texts: Sequence[str], answers: Sequence[Sequence[str]]) -> Shares:
    """Of each query's distinct words the share that a relevant document has, too; the largest where there are several.

    A query without words shares none.
    """
    shares = []
    for text, documents in zip(texts, answers, strict=True):
        asked = words(text)
        shares.append(max((len(asked & words(document)) / max(1, len(asked)) for document in documents), default=0.0))
    return np.array(shares, dtype=np.float64)


def unseen_words(texts: Sequence[str], seen: Iterable[str]) -> Counts:
    """How many distinct words of each query are in none of the texts that training saw."""
    vocabulary: set[str] = set().union(*map(words, seen))
    return np.array([len(words(text) - vocabulary) for text in texts], dtype=np.int64)


def sources(answers: Sequence[Sequence[str]]) -> list[str]:
    """Where each query's relevant documents come from: their ids up to the first slash, as in `folder/page.md`.

    "" where an id has no slash, or where the documents come from several sources.
    """
    found = [{id_.partition("/")[0] if "/" in id_ else "" for id_ in ids} for ids in answers]
    return [next(iter(source)) if len(source) == 1 else "" for source in found]
