"""What crosses the splits: the audit that a split has to pass, and is able to fail.

It shares the definition of likeness with the clustering (Jaccard similarity of word shingles) but not the algorithm:
here every pair of texts is compared by a sparse matrix product, so a fault in one is seen by the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer

from attune.clusters import normalise, shingles

ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class Side:
    """One split's texts: its queries, and the documents relevant to them (ids and texts in the same order)."""

    queries: list[str]
    document_ids: list[str]
    documents: list[str]


def exact_matches(texts: Sequence[str], others: Sequence[str]) -> int:
    """How many of the texts read the same as one of the others."""
    known = {normalise(other) for other in others}
    return sum(normalise(text) in known for text in texts)


def near_matches(texts: Sequence[str], others: Sequence[str], width: int, threshold: float) -> int:
    """How many of the texts have one among the others with a Jaccard similarity of shingles >= threshold."""
    sets = CountVectorizer(analyzer=lambda text: shingles(text, width), binary=True, dtype=np.int32)
    try:
        counts = sets.fit_transform([*texts, *others])
    except ValueError:  # sklearn's way to say that there is not one shingle
        return 0
    left, right = counts[: len(texts)], counts[len(texts) :].T.tocsc()
    right_sizes = counts[len(texts) :].sum(axis=1)
    n_matches = 0
    for start in range(0, len(texts), ROWS_AT_ONCE):
        block = left[start : start + ROWS_AT_ONCE]
        shared = (block @ right).tocoo()
        unions = (
            np.asarray(block.sum(axis=1)).ravel()[shared.row]
            + np.asarray(right_sizes).ravel()[shared.col]
            - shared.data
        )
        # the similarity is a ratio of integers; the slack keeps 4/5 at a threshold of 0.8
        n_matches += len(np.unique(shared.row[shared.data >= threshold * unions - 1e-9]))
    return n_matches


def audit(held_out: Side, train: Side, widths: tuple[int, int], thresholds: tuple[float, float]) -> dict[str, int]:
    """Counts the held-out queries and relevant documents that training may have seen.

    Args:
        held_out: dev or test.
        train: what it must not share anything with.
        widths: words per shingle, of queries and of documents.
        thresholds: the Jaccard similarity from which on two queries, two documents count as near-duplicates.

    Returns:
        Counts of held-out rows: shared_documents by id, exact_* by normalised text, near_* by likeness.
    """
    known = set(train.document_ids)
    return {
        "exact_queries": exact_matches(held_out.queries, train.queries),
        "near_queries": near_matches(held_out.queries, train.queries, widths[0], thresholds[0]),
        "shared_documents": sum(document_id in known for document_id in held_out.document_ids),
        "exact_documents": exact_matches(held_out.documents, train.documents),
        "near_documents": near_matches(held_out.documents, train.documents, widths[1], thresholds[1]),
    }
