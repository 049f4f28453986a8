"""Which texts are so alike that they must not be told apart: by Jaccard similarity of their sets of word shingles.

Exact set-similarity search (prefix filtering, Bayardo et al., "Scaling up all pairs similarity search", WWW 2007): no
pair above the threshold is missed, and a leak audit that demands zero can be passed.
"""

import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from SetSimilaritySearch import all_pairs

# scripts that put no space between words (Chinese, Japanese, Korean, Thai): there a character counts as a word
SPACELESS = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
WORD = re.compile(rf"[{SPACELESS}]|(?:(?![{SPACELESS}])\w)+")


def normalise(text: str) -> str:
    """What counts as the same text: case, layout and the mark at the end do not; symbols do (C is not C++)."""
    words = " ".join(text.casefold().split())
    return words.rstrip(".?! ") or words


def shingles(text: str, width: int) -> frozenset[str]:
    """The set of runs of `width` words of a text; a shorter text is one shingle, an empty one has none."""
    words = WORD.findall(text.casefold())
    if not words:
        return frozenset()
    return frozenset(" ".join(words[i : i + width]) for i in range(max(1, len(words) - width + 1)))


def similar_pairs(texts: Sequence[str], width: int, threshold: float) -> list[tuple[int, int, float]]:
    """All pairs of rows (low, high, similarity) whose shingle sets have a Jaccard similarity >= threshold, sorted."""
    sets = [shingles(text, width) for text in texts]
    rows = [row for row, shingle_set in enumerate(sets) if shingle_set]  # the search refuses empty sets
    pairs = all_pairs([sets[row] for row in rows], similarity_func_name="jaccard", similarity_threshold=threshold)
    return sorted((min(rows[x], rows[y]), max(rows[x], rows[y]), s) for x, y, s in pairs) if len(rows) > 1 else []


def components(n: int, edges: Iterable[tuple[int, int]]) -> NDArray[np.int64]:
    """The connected components of n nodes: for each node the lowest node of its component, shape (n,)."""
    pairs = np.array(list(edges), dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(pairs), dtype=np.int8), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, labels = connected_components(graph, directed=False)
    _, first = np.unique(labels, return_index=True)
    lowest: NDArray[np.int64] = first[labels].astype(np.int64)
    return lowest
