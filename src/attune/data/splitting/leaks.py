"""Leak audit by words: texts of dev or test that training or model selection has seen.

A query or document leaks if its id, its text (exact) or nearly its text (near, Jaccard similarity of word shingles)
also occurs in an earlier split; or if it is there in the other role (crossed): a query that is or nearly is a relevant
document of an earlier split, a relevant document that is a query there. Stage audit adds leaks through documents' other
forms (`forms.py`) and by meaning (semantic, cosine of base embeddings). Each leak names the text that it matches, so
that a person can check it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attune.data.splitting.clusters import normalise
from attune.data.splitting.crossing import compare_roles
from attune.data.splitting.kinds import role
from attune.data.splitting.similarity import Alike, alike
from attune.errors import BadInput
from attune.runtime.arrays import Int64
from attune.stage import named
from attune.tables import SEEN, Leak

Matches = dict[int, tuple[int, float]]  # row of the leaked text: row of its match, similarity


@dataclass(frozen=True)
class NearDuplicates:
    """Definition of near-duplicates: words per shingle and the lowest Jaccard similarity, parameters of prepare."""

    query_shingle: int
    document_shingle: int
    similar_query: float
    similar_document: float


@dataclass(frozen=True)
class Texts:
    """The queries of all splits, or the documents that are relevant there: one row per text and split."""

    what: str  # "queries" or "documents"
    splits: NDArray[np.str_]
    ids: Sequence[str]
    texts: Sequence[str]

    def rows(self, *splits: str) -> Int64:
        """Returns the rows of some splits, ascending."""
        return np.flatnonzero(np.isin(self.splits, splits))

    def take(self, rows: Sequence[int], texts: Sequence[str] | None = None) -> "Texts":
        """Returns some rows, in that order, with other texts where these are given."""
        own = [self.texts[row] for row in rows] if texts is None else texts
        return Texts(self.what, self.splits[list(rows)], [self.ids[row] for row in rows], own)

    def leaks(self, kind: str, split: str, matches: Matches) -> list[Leak]:
        """Returns matches between rows as leaks of a split."""
        return [
            Leak(split, f"{kind}_{self.what}", self.ids[row], self.ids[match], similarity)
            for row, (match, similarity) in sorted(matches.items())
        ]


def same_value(values: Sequence[str], own: Int64, seen: Int64) -> Matches:
    """Matches rows of dev or test to the first row of the earlier splits with the same value, at similarity 1.

    Args:
        values: of all rows.
        own: rows of the audited split.
        seen: rows of the earlier splits, with which it must not share texts.
    """
    first: dict[str, int] = {}
    for row in seen.tolist():
        first.setdefault(values[row], row)
    return {row: (first[values[row]], 1.0) for row in own.tolist() if values[row] in first}


def lexical_leaks(texts: Texts, width: int, threshold: float) -> list[Leak]:
    """Finds texts of dev that are also in train, and texts of test that are also in train or dev.

    Args:
        texts: queries or documents of all splits.
        width: words per shingle.
        threshold: lowest Jaccard similarity of shingles at which two texts are near-duplicates.

    Returns:
        Leaks of the kinds shared_documents (one document in two splits), exact_* and near_* (which includes exact).
    """
    return _leaks(texts, alike(texts.texts, width, threshold))


def query_leaks(queries: Texts, documents: Texts, titles: Texts, width: int, threshold: float) -> list[Leak]:
    """Finds leaks of queries, and texts that are a query on one side and a relevant document on the other.

    Args:
        queries: of all splits.
        documents: that are relevant in the splits; one may have several texts, such as those of `Readings`.
        titles: of those documents whose title alone counts as their text; compared by equality.
        width: words per shingle, of queries.
        threshold: lowest Jaccard similarity of shingles at which two texts are near-duplicates.

    Returns:
        Leaks of the kinds exact_queries, near_queries, crossed_queries and crossed_documents (each includes equal
        texts). A text that is crossed is listed once, with its most similar match.
    """
    roles = compare_roles(queries.texts, documents.texts, width, threshold)
    leaks = _leaks(queries, roles.queries)
    n, short = roles.n_queries, documents.take(roles.documents.tolist())
    ids = [*queries.ids, *short.ids, *titles.ids]
    normal = [normalise(text) for text in (*queries.texts, *short.texts, *titles.texts)]
    for split, others in SEEN.items():
        own, seen = queries.rows(split), queries.rows(*others)
        own_near, seen_near = (n + short.rows(*names) for names in ((split,), others))
        own_titles, seen_titles = (len(roles.texts) + titles.rows(*names) for names in ((split,), others))
        of_queries = same_value(normal, own, np.append(seen_near, seen_titles))
        of_documents = same_value(normal, np.append(own_near, own_titles), seen)
        leaks += leaks_once(split, "crossed_queries", ids, near_matches(roles.both, own, seen_near) | of_queries)
        leaks += leaks_once(split, "crossed_documents", ids, near_matches(roles.both, own_near, seen) | of_documents)
    return leaks


def leaks_once(split: str, kind: str, ids: Sequence[str], matches: Matches) -> list[Leak]:
    """Returns matches between rows as leaks of a split, of each id the most similar one, in the order of the rows."""
    best: dict[str, tuple[str, float]] = {}
    for row, (match, similarity) in sorted(matches.items()):
        if similarity > best.get(ids[row], ("", 0.0))[1]:
            best[ids[row]] = ids[match], similarity
    return [Leak(split, kind, leaked, *match) for leaked, match in best.items()]


def _leaks(texts: Texts, pairs: Alike) -> list[Leak]:
    """Returns the leaks among texts of one role, given their similar pairs."""
    normal = [normalise(text) for text in texts.texts]
    leaks = []
    for split, others in SEEN.items():
        own, seen = texts.rows(split), texts.rows(*others)
        if texts.what == "documents":
            leaks += texts.leaks("shared", split, same_value(texts.ids, own, seen))
        leaks += texts.leaks("exact", split, same_value(normal, own, seen))
        leaks += texts.leaks("near", split, near_matches(pairs, own, seen))
    return leaks


def near_matches(pairs: Alike, own: Int64, seen: Int64) -> Matches:
    """Matches rows of dev or test to the most similar row of the earlier splits, the first of equally similar ones."""
    n = len(pairs.first)
    first_seen = np.full(n, n)
    np.minimum.at(first_seen, pairs.first[seen], seen)
    groups = np.unique(pairs.first[own])
    source = np.concatenate([groups, pairs.low, pairs.high])
    match = first_seen[np.concatenate([groups, pairs.high, pairs.low])]
    similarity = np.concatenate([np.ones(len(groups)), pairs.similarity, pairs.similarity])
    order = np.lexsort((match, -similarity, source))
    order = order[match[order] < n]
    sources, best = np.unique(source[order], return_index=True)
    best_of = dict(zip(sources.tolist(), order[best].tolist(), strict=True))
    return {
        row: (int(match[best_of[group]]), float(similarity[best_of[group]]))
        for row, group in zip(own.tolist(), pairs.first[own].tolist(), strict=True)
        if group in best_of
    }


def count(
    leaks: Sequence[Leak], kinds: Sequence[str], sizes: Mapping[str, int], max_share: float, limit: str
) -> dict[str, int]:
    """Counts the leaks of dev and test by kind: {"dev_leaks.exact_queries": 0, ...}.

    Args:
        leaks: all leaks of these kinds.
        kinds: the kinds that were audited; each gets a count.
        sizes: number of texts of each split ({"queries.dev": 120, ...}).
        max_share: the largest share of a split's queries or documents that may leak.
        limit: the parameter that sets max_share, for the message.

    Raises:
        BadInput: a larger share leaks.
    """
    counts = Counter((leak.split, leak.kind) for leak in leaks)
    for split, others in SEEN.items():
        for kind in kinds:
            n = sizes[f"{role(kind)}.{split}"]
            if counts[split, kind] > max_share * n:
                first = next(leak for leak in leaks if (leak.split, leak.kind) == (split, kind))
                raise BadInput(
                    f"{counts[split, kind]} {kind} of {split} ({counts[split, kind] / n:.1%}) are also in "
                    f"{' or '.join(others)} (first: {first.leaked_id!r} like {first.match_id!r}), allowed "
                    f"{max_share:.1%} ({named(limit)}); remove these texts from one side, "
                    + (f"set {named('split.by')} to query, " if role(kind) == "documents" else "")
                    + "or raise the limit"
                )
    return {f"{split}_leaks.{kind}": counts[split, kind] for split in SEEN for kind in kinds}
