"""Assignment of clusters to splits: a hash of the id, shares met, given splits kept, documents with their queries."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from split_inputs import PARAMS, queries, split_params

from attune.data.splitting.assignment import SplitParams, assign, by_hash, position, split_documents
from attune.tables import QRELS

EXACT = split_params(max_cluster_share=0.5, strata="exact")


@given(
    st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=30),
    st.lists(st.text(min_size=1, max_size=5), max_size=30),
)
@settings(max_examples=60, deadline=None)
def test_adding_rows_never_moves_old_rows(old: list[str], new: list[str]) -> None:
    """The split of a row depends on its cluster's id and the seed alone."""
    before = assign(queries(old), PARAMS).to_list()
    after = assign(queries(old + new), PARAMS).to_list()
    assert after[: len(old)] == before


def test_clusters_stay_whole_and_shares_are_met() -> None:
    """4,000 clusters of two: no cluster is cut, and the shares are within two points of the parameters."""
    clusters = [f"c{i // 2}" for i in range(8000)]
    assigned = queries(clusters).with_columns(assign(queries(clusters), PARAMS))
    assert assigned.group_by("cluster_id").agg(pl.col("split").n_unique())["split"].max() == 1
    shares = dict(assigned["split"].value_counts(normalize=True).iter_rows())
    assert shares["test"] == pytest.approx(0.3, abs=0.02)
    assert shares["dev"] == pytest.approx(0.2, abs=0.02)


def test_exact_strata_have_the_same_shares_of_dev_and_test() -> None:
    """Of 40 rare and 960 common clusters .3 go to test and .2 to dev, to within one cluster."""
    strata = ["rare"] * 40 + ["common"] * 960
    table = queries([f"c{i}" for i in range(1000)], strata=strata)
    counts = table.with_columns(assign(table, EXACT)).group_by("stratum", "split").len().rows()
    for stratum, split_of, n in counts:
        share = {"test": 0.3, "dev": 0.2, "train": 0.5}[split_of]
        assert abs(n - share * strata.count(stratum)) <= 1


@given(st.integers(1, 60), st.integers(1, 10))
@settings(max_examples=60, deadline=None)
def test_rows_added_to_an_exact_stratum_move_only_clusters_at_its_borders(n_old: int, n_new: int) -> None:
    """Two borders, and each passes at most as many old clusters as are new; other strata stay as they are."""
    old = queries([f"c{i}" for i in range(n_old)] + [f"o{i}" for i in range(20)], strata=["a"] * n_old + ["b"] * 20)
    new = queries([f"n{i}" for i in range(n_new)], strata=["a"] * n_new)
    before = assign(old, EXACT).to_list()
    after = assign(pl.concat([old, new]), EXACT).to_list()[: old.height]
    assert after[n_old:] == before[n_old:]
    assert sum(x != y for x, y in zip(before, after, strict=True)) <= 2 * n_new


def test_splits_do_not_depend_on_columns_that_bear_their_names() -> None:
    """polars reads a bare string as a column: none named train, dev or test is taken for the split."""
    table = queries([f"c{i}" for i in range(200)], ["test"] * 5 + [""] * 195)
    others = table.with_columns(pl.lit("wrong").alias(name) for name in ("train", "dev", "test", "split"))
    assert assign(others, PARAMS).to_list() == assign(table, PARAMS).to_list()
    clusters = pl.DataFrame({"at": [0.1, 0.4, 0.9]})
    wrong = clusters.with_columns(pl.lit("wrong").alias(name) for name in ("train", "dev", "test", "split"))
    for frame in (clusters, wrong):
        assert by_hash(frame, {"test": 0.3, "dev": 0.2})["split"].to_list() == ["test", "dev", "train"]


def test_a_cluster_of_several_strata_stays_whole() -> None:
    """It counts for its most common stratum: the split is the one in which all of it is in that."""

    def split_of(*of_cluster: str, params: SplitParams = EXACT) -> list[str]:
        strata = [*of_cluster, *["a"] * 20]
        return assign(queries(["c"] * 3 + [f"x{i}" for i in range(20)], strata=strata), params).to_list()

    for params in (PARAMS, EXACT):
        assert len(set(split_of("b", "a", "a", params=params)[:3])) == 1
    assert split_of("b", "a", "a") == split_of("a", "a", "a") != split_of("b", "b", "b")


def test_the_position_of_a_cluster_never_changes() -> None:
    """sha256("13:numpy") begins with these eight bytes: a changed hash would reshuffle everybody's splits."""
    assert position(13, "numpy") == int("a3ba77b3dadb7cc7", 16) / 2**64


def test_given_splits_are_kept_and_a_missing_dev_is_cut_from_train() -> None:
    """Given test rows stay test; of train's rows none becomes test and about dev/(train+dev) become dev."""
    table = queries([f"c{i}" for i in range(4000)], ["test"] * 1000 + ["train"] * 3000)
    assigned = assign(table, PARAMS).to_list()
    assert set(assigned[:1000]) == {"test"}
    assert set(assigned[1000:]) == {"train", "dev"}
    assert assigned[1000:].count("dev") / 3000 == pytest.approx(0.2 / 0.7, abs=0.03)


def test_a_missing_test_is_cut_from_train() -> None:
    """About test/(train+test) of train's rows become test; given dev rows stay dev."""
    table = queries([f"c{i}" for i in range(4000)], ["dev"] * 1000 + ["train"] * 3000)
    assigned = assign(table, PARAMS).to_list()
    assert set(assigned[:1000]) == {"dev"}
    assert set(assigned[1000:]) == {"train", "test"}
    share = PARAMS.test_share / (1 - PARAMS.dev_share)
    assert assigned[1000:].count("test") / 3000 == pytest.approx(share, abs=0.03)


def test_documents_of_a_cluster_that_given_splits_divide() -> None:
    """Each goes where it is relevant, to test before dev before train; the unlabelled one goes to train.

    Under `query` train may search all of them, dev and test those that are relevant there.
    """
    ids = ["in_test", "in_dev", "in_train", "in_all", "in_dev_and_train", "unlabelled"]
    corpus = pl.DataFrame({"document_id": ids, "cluster_id": ["cut"] * 6})
    table = pl.DataFrame(
        {"query_id": ["test", "dev", "train"], "split": ["test", "dev", "train"], "cluster_id": ["cut"] * 3}
    )
    pairs = [("test", ids[0]), ("dev", ids[1]), ("train", ids[2]), ("train", ids[4]), ("dev", ids[4])]
    pairs += [(name, ids[3]) for name in ("train", "dev", "test")]
    qrels = pl.DataFrame([(*pair, 1) for pair in pairs], QRELS, orient="row")
    tables = {by: split_documents(corpus, table, qrels, by) for by in ("cluster", "query")}
    for own, _ in tables.values():
        assert own["split"].to_list() == ["test", "dev", "train", "test", "dev", "train"]
    documents = {by: {name: set(own["document_id"]) for name, own in each.items()} for by, (_, each) in tables.items()}
    assert documents["cluster"] == {"test": {ids[0], ids[3]}, "dev": {ids[1], ids[4]}, "train": {ids[2], ids[5]}}
    assert documents["query"] == {"test": {ids[0], ids[3]}, "dev": {ids[1], ids[3], ids[4]}, "train": set(ids)}
