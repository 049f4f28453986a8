"""Hybrids: the run of BM25 fused with that of an encoder; dev chooses how.

Candidates are reciprocal rank fusion and weighted sums of scaled scores, at several weights of the encoder. The runs
are those that stage evaluate has written, so nothing is ranked again.
"""

from collections.abc import Mapping

import numpy as np
import polars as pl

from attune.evaluation.scoring.judgments import Split
from attune.evaluation.scoring.measures import measure
from attune.retrieval.fusion import Ranking, fused, reciprocal_ranks, scaled
from attune.runtime.arrays import Float32, Int64

WEIGHTS = tuple(round(0.05 * n, 2) for n in range(1, 20))  # of the encoder's scores; BM25's have the rest
RANKS = 0.0  # in place of a weight: reciprocal rank fusion
CHOSEN_BY = "ndcg@10"


def ranking_of(run: pl.DataFrame, split: Split, corpus: pl.DataFrame) -> Ranking:
    """Returns the rankings of a split's queries in a run; row -1 where it holds no document."""
    queries = pl.DataFrame({"query_id": split.query_ids}).with_row_index("query_row")
    table = run.join(queries, on="query_id").join(corpus.select("document_id").with_row_index("row"), on="document_id")
    place = table["query_row"].to_numpy(), table["rank"].to_numpy() - 1
    shape = len(split.texts), int(place[1].max(initial=0)) + 1
    scores, rows = np.zeros(shape), np.full(shape, -1, dtype=np.int64)
    scores[place], rows[place] = table["score"].to_numpy(), table["row"].to_numpy()
    return scores, rows


def fuse(lexical: Ranking, dense: Ranking, weight: float) -> tuple[Float32, Int64]:
    """Returns the fused ranking.

    Args:
        lexical: of BM25, whose lowest score is 0.
        dense: of an encoder; the cosine of each query's last document becomes 0.
        weight: of the encoder; `RANKS` for reciprocal rank fusion.
    """
    if weight == RANKS:
        return fused([reciprocal_ranks(lexical), reciprocal_ranks(dense)], (1, 1))
    return fused([scaled(lexical, lowest=0.0), scaled(dense)], (1 - weight, weight))


def chosen_weight(lexical: Ranking, dense: Ranking, dev: Split) -> tuple[float, Mapping[str, float | str]]:
    """Returns the weight with the best nDCG@10 on dev, of equals the first, `RANKS` first; and dev's figures."""
    means = {}
    for weight in (RANKS, *WEIGHTS):
        scores, rows = fuse(lexical, dense, weight)
        means[weight] = float(measure(rows, dev.judgments, scores)[CHOSEN_BY].mean())
    best = max(means, key=lambda weight: means[weight])
    best_sum = max(WEIGHTS, key=lambda weight: means[weight])
    return best, {
        "fusion": "reciprocal ranks" if best == RANKS else "weighted scores",
        "weighted_scores_dense_weight": best_sum,
        f"reciprocal_ranks_dev_{CHOSEN_BY}": means[RANKS],
        f"weighted_scores_dev_{CHOSEN_BY}": means[best_sum],
    }
