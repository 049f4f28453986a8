"""BM25, the baseline that knows no meaning: an encoder that cannot beat it is not worth its cost.

Lucene's variant (Kamphuis et al., 2020) by bm25s. A word is a run of letters and digits, lower-cased; an
identifier is split at underscores and where its case changes, and in mixed case also kept whole: `DataFrame`
answers to "data", "frame" and "dataframe". Neither stemming nor stop words: BM25's own weights make common words
cheap.
"""

import re
from collections.abc import Sequence

import bm25s
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from attune.errors import BadInput

WORD = re.compile(r"[^\W_]+")
CASE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def words(text: str) -> list[str]:
    """The lower-cased words of a text; an identifier in mixed case gives its parts, then itself."""
    found: list[str] = []
    for word in WORD.findall(text):
        parts = CASE.split(word)
        found += [part.lower() for part in parts]
        if len(parts) > 1:
            found.append(word.lower())
    return found


def bm25_top_k(
    queries: Sequence[str], documents: Sequence[str], k: int, k1: float, b: float
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Finds the k documents with the highest BM25 score for each query; equal scores go to the earlier row.

    Returns:
        Scores (n_queries, min(k, n_documents)), descending, and their rows. A document that shares no word with the
        query is never ranked: where such documents would stand, the row is -1 and the score 0.

    Raises:
        BadInput: no document holds a word.
    """
    tokens = [words(document) for document in documents]
    if not any(tokens):
        raise BadInput(f"bm25: none of the {len(documents)} documents holds a word; check the corpus")
    index = bm25s.BM25(k1=k1, b=b, method="lucene", dtype="float64", backend="numpy")
    index.index(tokens, show_progress=False)
    k = min(k, len(documents))
    scores = np.zeros((len(queries), k), dtype=np.float32)
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    for i, query in enumerate(tqdm(queries, desc="bm25", unit="query", delay=3, disable=None)):
        # by ids: bm25s's own entrance for words fails on a query without any
        found = np.round(index.get_scores_from_ids(index.get_tokens_ids(words(query))), 6)
        best = _best(found, k)
        scores[i, : len(best)], rows[i, : len(best)] = found[best], best
    return scores, rows


def _best(scores: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """Rows of the k greatest positive scores, ties by ascending row; sorts only what can be among them."""
    floor = np.partition(scores, -k)[-k]
    candidates = np.flatnonzero((scores >= floor) & (scores > 0))
    best: NDArray[np.int64] = candidates[np.argsort(-scores[candidates], kind="stable")][:k]
    return best
