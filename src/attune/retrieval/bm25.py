"""BM25, the lexical baseline: an encoder that does not beat it is not worth its cost.

Lucene's variant (Kamphuis et al., 2020), computed by bm25s. A word is a run of letters and digits, lower-cased; an
identifier is split at underscores and changes of case, and in mixed case also kept whole: `DataFrame` matches "data",
"frame" and "dataframe". No stemming and no stop words: BM25's own weights make common words cheap.
"""

import re
from collections.abc import Sequence

import bm25s
import numpy as np
from tqdm import tqdm

from attune.errors import BadInput
from attune.runtime.arrays import Float32, Float64, Int64

K1, B = 1.2, 0.75  # Lucene's defaults

WORD = re.compile(r"[^\W_]+")
CASE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def words(text: str) -> list[str]:
    """Returns the lower-cased words of a text; an identifier in mixed case gives its parts, then itself."""
    lowered: list[str] = []
    for word in WORD.findall(text):
        parts = CASE.split(word)
        lowered += [part.lower() for part in parts]
        if len(parts) > 1:
            lowered.append(word.lower())
    return lowered


def bm25_top_k(
    queries: Sequence[str], documents: Sequence[str], k: int, k1: float = K1, b: float = B
) -> tuple[Float32, Int64]:
    """Returns the k documents with the highest BM25 score for each query; equal scores go to the earlier row.

    Args:
        queries: texts.
        documents: texts.
        k: number of documents to return; all of them when there are fewer.
        k1: saturation of repeated words.
        b: 0..1, normalisation by the document's length.

    Returns:
        Scores (n_queries, min(k, n_documents)), descending, and their rows. A document without a word of the query is
        never ranked: the row in its place is -1 and the score 0.

    Raises:
        BadInput: no document has a word.
    """
    tokens = [words(document) for document in documents]
    if not any(tokens):
        raise BadInput(f"bm25: none of the {len(documents)} documents has a word; check the corpus")
    index = bm25s.BM25(k1=k1, b=b, method="lucene", dtype="float64", backend="numpy")
    index.index(tokens, show_progress=False)
    k = min(k, len(documents))
    scores = np.zeros((len(queries), k), dtype=np.float32)
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    for i, query in enumerate(tqdm(queries, desc="bm25", unit="query", delay=3, disable=None)):
        # by token ids: bm25s's get_scores fails on a query without words
        all_scores = np.round(index.get_scores_from_ids(index.get_tokens_ids(words(query))), 6)
        best = _best(all_scores, k)
        scores[i, : len(best)], rows[i, : len(best)] = all_scores[best], best
    return scores, rows


def _best(scores: Float64, k: int) -> Int64:
    """Returns the rows of the k greatest positive scores, ties by ascending row; sorts only the possible ones."""
    floor = np.partition(scores, -k)[-k]
    candidates = np.flatnonzero((scores >= floor) & (scores > 0))
    best: Int64 = candidates[np.argsort(-scores[candidates], kind="stable")][:k]
    return best
