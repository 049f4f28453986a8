"""What crosses the splits: the audit that a split has to pass, and is able to fail.

A held-out text leaks when training has seen it: word for word (exact), nearly so (near, by words), or in other words
(semantic, by the embeddings of the base encoder). Each leak is named with what it matches, so that it can be looked at.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attune.data.splitting.clusters import normalise
from attune.data.splitting.similarity import Alike, alike
from attune.errors import BadInput
from attune.tables import SEEN, Leak


@dataclass(frozen=True)
class Texts:
    """The queries of all splits, or the documents that are relevant there: one row per text and split."""

    what: str  # "queries" or "documents"
    splits: NDArray[np.str_]
    ids: Sequence[str]
    texts: Sequence[str]

    def rows(self, *splits: str) -> NDArray[np.int64]:
        """The rows of some splits, ascending."""
        return np.flatnonzero(np.isin(self.splits, splits))

    def leaks(self, kind: str, split: str, matches: dict[int, tuple[int, float]]) -> list[Leak]:
        """Matches between rows as leaks of a split."""
        return [
            Leak(split, f"{kind}_{self.what}", self.ids[row], self.ids[match], similarity)
            for row, (match, similarity) in sorted(matches.items())
        ]


def same_value(
    values: Sequence[str], held_out: NDArray[np.int64], seen: NDArray[np.int64]
) -> dict[int, tuple[int, float]]:
    """For each held-out row with the same value as a seen one, the first such row, and 1.0."""
    first: dict[str, int] = {}
    for row in seen.tolist():
        first.setdefault(values[row], row)
    return {row: (first[values[row]], 1.0) for row in held_out.tolist() if values[row] in first}


def lexical_leaks(texts: Texts, width: int, threshold: float) -> list[Leak]:
    """What of dev is also in train, and of test in train or dev, by id, word for word or nearly.

    Args:
        texts: queries or documents of all splits.
        width: words per shingle.
        threshold: the Jaccard similarity of shingles from which on two texts are near-duplicates.

    Returns:
        Leaks of the kinds shared_documents (one document in two splits), exact_* and near_* (which holds the exact).
    """
    found = alike(texts.texts, width, threshold)
    normal = [normalise(text) for text in texts.texts]
    leaks = []
    for split, others in SEEN.items():
        held_out, seen = texts.rows(split), texts.rows(*others)
        if texts.what == "documents":
            leaks += texts.leaks("shared", split, same_value(texts.ids, held_out, seen))
        leaks += texts.leaks("exact", split, same_value(normal, held_out, seen))
        leaks += texts.leaks("near", split, _near(found, held_out, seen))
    return leaks


def _near(found: Alike, held_out: NDArray[np.int64], seen: NDArray[np.int64]) -> dict[int, tuple[int, float]]:
    """For each held-out row that is alike to a seen one, the most similar such row (the first of several)."""
    n = len(found.first)
    first_seen = np.full(n, n)
    np.minimum.at(first_seen, found.first[seen], seen)
    own = np.unique(found.first[held_out])
    source = np.concatenate([own, found.low, found.high])
    match = first_seen[np.concatenate([own, found.high, found.low])]
    similarity = np.concatenate([np.ones(len(own)), found.similarity, found.similarity])
    order = np.lexsort((match, -similarity, source))
    order = order[match[order] < n]
    sources, best = np.unique(source[order], return_index=True)
    row_of = dict(zip(sources.tolist(), order[best].tolist(), strict=True))
    groups = zip(held_out.tolist(), found.first[held_out].tolist(), strict=True)
    return {
        row: (int(match[row_of[group]]), float(similarity[row_of[group]])) for row, group in groups if group in row_of
    }


def count(leaks: Sequence[Leak], kinds: Sequence[str], sizes: Mapping[str, int], max_share: float) -> dict[str, int]:
    """How many held-out texts leak, by split and kind: {"dev_leaks.exact_queries": 0, ...}.

    Args:
        leaks: all that were found.
        kinds: what was looked for.
        sizes: how many texts each split has ({"queries.dev": 120, ...}).
        max_share: the largest share of a split's queries or documents that may leak.

    Raises:
        BadInput: a larger share leaks.
    """
    found = Counter((leak.split, leak.kind) for leak in leaks)
    for split in SEEN:
        for kind in kinds:
            n = sizes[f"{kind.partition('_')[2]}.{split}"]
            if found[split, kind] > max_share * n:
                first = next(leak for leak in leaks if (leak.split, leak.kind) == (split, kind))
                raise BadInput(
                    f"{found[split, kind]} {kind} of {split} ({found[split, kind] / n:.1%}) are also in the data it is "
                    f"held out from (first: {first.leaked_id!r} like {first.match_id!r}), allowed {max_share:.1%}; let "
                    "attune split (no given splits), mend your split, or raise max_leak_share and say so"
                )
    return {f"{split}_leaks.{kind}": found[split, kind] for split in SEEN for kind in kinds}
