"""General pairs among the training rows: a cure for forgetting, because the encoder goes on doing what it could do."""

from collections.abc import Mapping, Sequence

import numpy as np

from attune.errors import BadInput
from attune.tuning.general_text import Pair
from attune.tuning.training.batches import Rows

STREAM = 2  # apart from the order of the batches and the draws of distillation, which use the same seed


def mixed(
    columns: Mapping[str, Sequence[str]], batching: Rows, pairs: Sequence[Pair], share: float, seed: int
) -> tuple[dict[str, list[str]], Rows]:
    """Adds general pairs until they are a share of all rows, going round when there are too few.

    Args:
        columns: query, positive, negative_1..n: the domain's rows.
        batching: their clusters and lengths.
        pairs: general text; of those with the same query or passage, the first counts.
        share: of all rows, the added ones included; 0 adds none.
        seed: decides which pairs, and which passages are their negatives.

    Returns:
        The rows with the general ones at the end, each pair a cluster of its own, and what batching needs of them all.

    Raises:
        BadInput: there are too few pairs to give each its negatives.
    """
    n_negatives = len(columns) - 2
    n_domain = len(batching.lengths)
    unique = _unique(pairs)
    n_general = round(n_domain * share / (1 - share))
    if n_general and len(unique) <= n_negatives:
        raise BadInput(
            f"params.yaml: train.general: {len(unique)} pairs with texts of their own cannot give each "
            f"{n_negatives} negatives; add some, or set train.general_share to 0"
        )
    random = np.random.default_rng([seed, STREAM])
    order = random.permutation(len(unique))
    chosen = [int(order[place % len(unique)]) for place in range(n_general)]
    negatives = [_others(random, len(unique), own, n_negatives) for own in chosen]
    added = [
        [unique[own].query, unique[own].passage, *(unique[other].passage for other in others)]
        for own, others in zip(chosen, negatives, strict=True)
    ]
    rows = {name: [*column, *(row[place] for row in added)] for place, (name, column) in enumerate(columns.items())}
    # tuples, so that no cluster of the domain has the same name
    return rows, Rows(
        clusters=[*batching.clusters, *(("general", own) for own in chosen)],
        negative_clusters=[*batching.negative_clusters, *([("general", n) for n in others] for others in negatives)],
        # the length of some row of the domain, whatever their own: batched by it, they would come in lumps
        lengths=[*batching.lengths, *random.choice(batching.lengths, n_general).tolist()],
    )


def _unique(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs whose query and passage no earlier one has: as negatives of each other, others would be false."""
    queries: set[str] = set()
    passages: set[str] = set()
    kept = []
    for pair in pairs:
        if pair.query not in queries and pair.passage not in passages:
            kept.append(pair)
            queries.add(pair.query)
            passages.add(pair.passage)
    return kept


def _others(random: np.random.Generator, n: int, own: int, n_others: int) -> list[int]:
    drawn = random.choice(n - 1, n_others, replace=False).tolist()
    return [other + (other >= own) for other in drawn]
