"""BM25, the lexical baseline: an encoder that does not beat it is not worth its cost.

Lucene's variant (Kamphuis et al., 2020), computed by bm25s. Words are those of `words.words`, in any script; a language
adds stems and leaves out stop words (`languages.stems_in`).
"""

from collections.abc import Sequence

import bm25s
import numpy as np
from tqdm import tqdm

from attune.errors import BadInput
from attune.retrieval.words import Words, words
from attune.runtime.arrays import Float32, Float64, Int64

K1, B = 1.2, 0.75  # Lucene's defaults


class Bm25:
    """An index of documents, searched by BM25."""

    def __init__(self, documents: Sequence[str], k1: float = K1, b: float = B, words_of: Words = words) -> None:
        """Indexes documents.

        Args:
            documents: texts.
            k1: saturation of repeated words.
            b: 0..1, normalisation by the document's length.
            words_of: splits a document, or a query, into the words that are matched.

        Raises:
            BadInput: no document has a word.
        """
        tokens = [words_of(document) for document in documents]
        if not any(tokens):
            raise BadInput(f"bm25: none of the {len(documents)} documents has a word; check the corpus")
        self._n_documents, self._words_of = len(documents), words_of
        self._index = bm25s.BM25(k1=k1, b=b, method="lucene", dtype="float64", backend="numpy")
        self._index.index(tokens, show_progress=False)

    def top_k(self, queries: Sequence[str], k: int) -> tuple[Float32, Int64]:
        """Returns the k documents with the highest score for each query; equal scores go to the earlier row.

        Args:
            queries: texts.
            k: number of documents to return; all of them when there are fewer.

        Returns:
            Scores (n_queries, min(k, n_documents)), descending, and their rows. A document without a word of the query
            is never ranked: the row in its place is -1 and the score 0.
        """
        k = min(k, self._n_documents)
        scores = np.zeros((len(queries), k), dtype=np.float32)
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        for i, query in enumerate(tqdm(queries, desc="bm25", unit="query", delay=3, disable=None)):
            # by token ids: bm25s's get_scores fails on a query without words
            known = self._index.get_tokens_ids(self._words_of(query))
            all_scores = np.round(self._index.get_scores_from_ids(known), 6)
            best = _best(all_scores, k)
            scores[i, : len(best)], rows[i, : len(best)] = all_scores[best], best
        return scores, rows


def _best(scores: Float64, k: int) -> Int64:
    """Returns the rows of the k greatest positive scores, ties by ascending row; sorts only the possible ones."""
    floor = np.partition(scores, -k)[-k]
    candidates = np.flatnonzero((scores >= floor) & (scores > 0))
    best: Int64 = candidates[np.argsort(-scores[candidates], kind="stable")][:k]
    return best
