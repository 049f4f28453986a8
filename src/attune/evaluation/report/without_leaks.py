"""Scores and gains on the test queries that do not leak."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attune.data.splitting.kinds import ALL_KINDS, role
from attune.evaluation.report.summary import Paired
from attune.evaluation.scoring.measures import HEADLINE
from attune.evaluation.statistics.holm import holm
from attune.evaluation.statistics.significance import compare
from attune.tables import LEXICAL, Leak


def leaked_queries(leaks: Iterable[Leak], answers: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    """Returns the leaked test queries, by kind of leak.

    A query is leaked if it or a relevant document of it leaks: `lexical` by the words of queries and documents, `any`
    also by meaning or through documents' other forms.

    Args:
        leaks: of all splits and kinds.
        answers: pairs (query id, relevant document id) of the test split.
    """
    answers = list(answers)
    of_test = [leak for leak in leaks if leak.split == "test"]
    leaked = {}
    for name, kinds in (("lexical", LEXICAL), ("any", ALL_KINDS)):
        own = {leak.leaked_id for leak in of_test if leak.kind in kinds and role(leak.kind) == "queries"}
        documents = {leak.leaked_id for leak in of_test if leak.kind in kinds and role(leak.kind) == "documents"}
        leaked[name] = own | {query_id for query_id, document_id in answers if document_id in documents}
    return leaked


def without_leaks(
    query_ids: Sequence[str], scores: Mapping[str, NDArray[np.float64]], leaked: Mapping[str, set[str]]
) -> dict[str, dict[str, float]]:
    """Returns mean scores over the queries without leaks, by kind of leak.

    Args:
        query_ids: of all queries.
        scores: by name, (n_queries,).
        leaked: by kind of leak, the queries to leave out.
    """
    means: dict[str, dict[str, float]] = {}
    for name, ids in leaked.items():
        clean = np.array([query_id not in ids for query_id in query_ids])
        means[name] = {"n_queries": int(clean.sum())}
        if clean.any():
            means[name] |= {key: float(values[clean].mean()) for key, values in scores.items()}
    return means


def gains_without_leaks(
    scores: Paired, leaked: Mapping[str, Collection[str]], confidence: float
) -> dict[str, dict[str, Any]]:
    """Returns recall@10 of base and tuned on the queries without leaks, by kind of leak, with interval and p-value.

    The p-values are corrected over the kinds.
    """
    sides = {"baseline": scores.base[HEADLINE], "tuned": scores.tuned[HEADLINE]}
    gains = without_leaks(scores.query_ids, sides, {name: set(ids) for name, ids in leaked.items()})
    for name, figures in gains.items():
        clean = scores.without(leaked[name])
        if clean.n_clusters > 1:
            base, tuned = ({HEADLINE: side[HEADLINE]} for side in (clean.base, clean.tuned))
            gain = compare(base, tuned, clean.clusters, confidence)[HEADLINE]
            figures |= {"delta": gain.delta, "ci_low": gain.ci_low, "ci_high": gain.ci_high, "p_holm": gain.p_value}
    compared = [figures for figures in gains.values() if "p_holm" in figures]
    for figures, p in zip(compared, holm([one["p_holm"] for one in compared]), strict=True):
        figures["p_holm"] = p
    return gains
