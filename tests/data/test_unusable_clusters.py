"""Clusters that no split can be made of are refused in one line, and only those."""

from collections.abc import Sequence

import polars as pl
import pytest
from split_inputs import split_params

from attune.data.splitting.assignment import assign, unusable_clusters
from attune.tables import CLUSTERED_QUERIES, CORPUS

PARAMS = split_params()


def prepared_queries(sizes: Sequence[int]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Queries in clusters of these sizes, each with a document, none alike; returns (queries, corpus)."""
    ids = [f"c{cluster}" for cluster, size in enumerate(sizes) for _ in range(size)]
    names = [f"q{i}" for i in range(len(ids))]
    columns = {
        "query_id": names,
        "text": names,
        "cluster_id": ids,
        "query_cluster_id": names,
        "near_group": names,
        "given_split": [""] * len(ids),
        "stratum": [""] * len(ids),
    }
    corpus = {"document_id": names, "title": names, "text": names, "duplicate_of": names, "cluster_id": ids}
    return pl.DataFrame(columns, schema=CLUSTERED_QUERIES), pl.DataFrame(corpus, schema=CORPUS)


@pytest.mark.parametrize(
    ("sizes", "refused"),
    [
        ([100, *[1] * 100], "holds 50.0% of the 400 rows, allowed 30.0%"),
        ([29, *[1] * 71], ""),  # below the limit
        ([19, 1, 1, 1, 1], ""),  # too small to judge
        ([25, *[1] * 25], "holds 50.0% of the 100 rows"),
        ([1] * 2000, ""),
        ([2] * 500, ""),
    ],
)
def test_only_clusters_that_ruin_the_split_are_refused(sizes: list[int], refused: str) -> None:
    """By the share of the largest one, where it has at least 20 queries."""
    message = unusable_clusters(*prepared_queries(sizes), PARAMS)
    assert refused in message if refused else message == ""
    assert unusable_clusters(*prepared_queries(sizes), PARAMS.model_copy(update={"by": "query"})) == ""


def test_a_split_that_misses_half_its_share_is_refused() -> None:
    """Ten clusters of 30: by some seeds dev has none of the 60 queries that are its share, by others it has all."""
    queries, corpus = prepared_queries([30] * 10)
    messages = {}
    for seed in range(20):
        params = PARAMS.model_copy(update={"seed": seed})
        n_dev = int((assign(queries, params) == "dev").sum())
        n_test = int((assign(queries, params) == "test").sum())
        messages[seed] = unusable_clusters(queries, corpus, params)
        assert bool(messages[seed]) == (n_dev < 30 or n_test < 45)
        assert (f"dev gets {n_dev} of the 60 queries" in messages[seed]) == (n_dev < 30)
    assert 0 < sum(map(bool, messages.values())) < 20
    # strata that are cut exactly, by count: each has its share
    stratified = queries.with_columns(stratum=pl.lit("one"))
    assert unusable_clusters(stratified, corpus, PARAMS.model_copy(update={"strata": "exact"})) == ""


def test_splits_that_are_given_in_full_are_never_refused() -> None:
    """They cut no cluster; a dev that is cut from train is looked at."""
    queries, corpus = prepared_queries([100, *[1] * 100])
    by_hand = pl.Series("given_split", ["train", "dev", "test", "train"] * 50)
    assert unusable_clusters(queries.with_columns(by_hand), corpus, PARAMS) == ""
    no_dev = by_hand.replace("dev", "train")
    assert "allowed 30.0%" in unusable_clusters(queries.with_columns(no_dev), corpus, PARAMS)


def test_where_queries_hang_together_too_the_other_protocol_is_not_advised() -> None:
    """Queries that are documents of one another percolate under either protocol: bring a split."""
    queries, corpus = prepared_queries([100, *[1] * 100])
    queries = queries.with_columns(query_cluster_id="cluster_id")
    for by in ("cluster", "query"):
        message = unusable_clusters(queries, corpus, PARAMS.model_copy(update={"by": by}))
        assert "bring a split of your own" in message and "set split.by" not in message
