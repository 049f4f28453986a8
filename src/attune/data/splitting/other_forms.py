"""Leaks through documents' other forms, such as a function with its docstring, which training reads for some rows.

Two functions may have unlike code and the same docstring. Forms take no part in clustering: sibling functions share
most of a docstring, so clusters by forms would grow with every such family, and splits would move whenever a source
writes another form. They are counted here instead, and the report scores the test without the queries they touch.
"""

from collections.abc import Mapping, Sequence, Set

import numpy as np

from attune.data.splitting.leaks import leaks_once, near_matches
from attune.data.splitting.similarity import alike
from attune.runtime.arrays import Int64
from attune.tables import SEEN, Leak


def form_leaks(
    texts: Mapping[str, str],
    forms: Mapping[str, str],
    relevant: Mapping[str, Set[str]],
    read: Mapping[str, Set[str]],
    width: int,
    threshold: float,
) -> list[Leak]:
    """Finds documents that are near-duplicates of a text that training or model selection reads, by another form.

    A form of the document is compared with all texts of the documents that are read, their forms included; its full
    text with their forms alone, as near_documents compares full texts. A document that is read itself is a shared one,
    and no leak of this kind.

    Args:
        texts: full text of each document, by id.
        forms: full text of each document's other form, by id.
        relevant: ids of the documents that are relevant in dev and in test.
        read: ids of the documents that train and dev may search or mine.
        width: words per shingle, of documents.
        threshold: lowest Jaccard similarity of shingles at which two documents are near-duplicates.

    Returns:
        Leaks of the kind near_forms: each document once, with its most similar match.
    """
    ids = [*forms, *texts]
    pairs = alike([*forms.values(), *texts.values()], width, threshold, n_first=len(forms))
    leaks: list[Leak] = []
    for split, others in SEEN.items():
        known: set[str] = set().union(*(read[name] for name in others))
        own, seen = _rows(ids, relevant[split] - known), _rows(ids, known)
        matches = near_matches(pairs, own[own < len(forms)], seen)
        matches |= near_matches(pairs, own[own >= len(forms)], seen[seen < len(forms)])
        leaks += leaks_once(split, "near_forms", ids, matches)
    return leaks


def _rows(ids: Sequence[str], wanted: Set[str]) -> Int64:
    return np.array([row for row, id_ in enumerate(ids) if id_ in wanted], dtype=np.int64)
