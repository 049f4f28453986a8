"""Stage split: whole clusters, assigned by a hash of their id, documents with them; a leak stops the pipeline."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from split_inputs import GIVEN, PARAMS, counted_leaks, prepared, queries, run_split, split_params

from attune.errors import BadInput
from attune.stages.split import SplitParams, assign, assign_documents, by_hash, position
from attune.tables import DOCUMENT_IDS, LEAKS, NEGATIVES, QRELS, SPLIT_QUERIES, read

SPLITS = ("train", "dev", "test")
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


def test_strata_by_hash_change_nothing_and_keep_their_shares_on_average(tmp_path: Path) -> None:
    """The split is that of data without strata; 2,000 clusters of a stratum get .3 of test; what is missed is told."""
    strata = ["large"] * 2000 + ["small"]
    table = queries([f"c{i}" for i in range(2001)], strata=strata)
    assigned = assign(table, PARAMS)
    assert assigned.to_list() == assign(table.with_columns(stratum=pl.lit("")), PARAMS).to_list()
    assert (assigned[:2000] == "test").mean() == pytest.approx(0.3, abs=0.03)
    receipt = run_split(tmp_path, prepared(tmp_path / "prepared", table[-60:]))
    missed = {name: int(assigned[-1] != name) for name in ("dev", "test")}
    assert {key: n for key, n in receipt.items() if "strata" in key} == {
        "n_strata": 2,
        **{f"n_strata_without_{name}": n for name, n in missed.items()},
    }


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


def test_own_negatives_follow_the_split_of_their_document(tmp_path: Path) -> None:
    """A document of dev or test must not be seen in training, not even as a negative."""
    table = queries([f"c{i}" for i in range(40)], GIVEN)
    folder = prepared(
        tmp_path / "prepared", table, refused=(("q15", "d0"), ("q15", "d16"), ("q35", "d36"), ("q0", "d1"))
    )
    run_split(tmp_path, folder)
    negatives = {name: read(tmp_path / "splits" / name / "negatives.parquet", NEGATIVES).rows() for name in SPLITS}
    assert negatives == {"train": [("q15", "d16")], "dev": [("q35", "d36")], "test": [("q0", "d1")]}


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


def test_every_row_lands_in_exactly_one_split(tmp_path: Path) -> None:
    """Queries and documents are partitioned, judgments follow their queries, and the receipt counts no leak."""
    table = queries([f"c{i}" for i in range(60)])
    receipt = run_split(tmp_path, prepared(tmp_path / "prepared", table))
    parts = [tmp_path / "splits" / name for name in ("train", "dev", "test")]
    for name, columns, expected in (
        ("queries", SPLIT_QUERIES, 60),
        ("qrels", QRELS, 60),
        ("documents", DOCUMENT_IDS, 60),
    ):
        rows = pl.concat([read(part / f"{name}.parquet", columns) for part in parts])
        assert rows.height == rows.unique().height == expected
    assert {value for key, value in receipt.items() if "leaks" in key} == {0}


def splits_of_documents(folder: Path) -> dict[str, str]:
    """The split of each document, as written."""
    return {
        id_: name
        for name in ("train", "dev", "test")
        for id_ in read(folder / name / "documents.parquet", DOCUMENT_IDS)["document_id"]
    }


def test_unlabelled_documents_follow_their_cluster(tmp_path: Path) -> None:
    """Mining sees no document of a cluster of dev or test; documents of a cluster without queries go to train."""
    table = queries([f"c{i}" for i in range(60)])
    folder = prepared(tmp_path / "prepared", table, unlabelled=(*table["cluster_id"], "alone"))
    run_split(tmp_path, folder)
    of_documents = splits_of_documents(tmp_path / "splits")
    of_queries = assign(table, PARAMS).to_list()
    assert set(of_queries) == {"train", "dev", "test"}
    assert [of_documents[f"d{i}"] for i in range(120)] == of_queries * 2
    assert of_documents["d120"] == "train"


def test_documents_of_a_cluster_that_given_splits_divide() -> None:
    """Each goes where it is relevant, to test before dev before train; the unlabelled one goes to train."""
    ids = ["in_test", "in_dev", "in_train", "in_all", "in_dev_and_train", "unlabelled"]
    corpus = pl.DataFrame({"document_id": ids, "cluster_id": ["cut"] * 6})
    table = pl.DataFrame(
        {"query_id": ["test", "dev", "train"], "split": ["test", "dev", "train"], "cluster_id": ["cut"] * 3}
    )
    pairs = [("test", ids[0]), ("dev", ids[1]), ("train", ids[2]), ("train", ids[4]), ("dev", ids[4])]
    pairs += [(name, ids[3]) for name in ("train", "dev", "test")]
    qrels = pl.DataFrame([(*pair, 1) for pair in pairs], QRELS, orient="row")
    assert assign_documents(corpus, table, qrels).to_list() == ["test", "dev", "train", "test", "dev", "train"]


@pytest.mark.parametrize(("leaking", "known", "name"), [(0, 15, "test"), (0, 35, "test"), (35, 15, "dev")])
def test_a_leak_stops_the_pipeline_and_a_higher_limit_reports_it(
    tmp_path: Path, leaking: int, known: int, name: str
) -> None:
    """An equal query in test and train, test and dev, or dev and train is an error; max_leak_share lets it pass."""
    table = queries([f"c{i}" for i in range(40)], GIVEN)
    texts = table["text"].to_list()
    texts[leaking], texts[known] = "alpha beta gamma delta epsilon!", "ALPHA beta gamma delta epsilon"
    folder = prepared(tmp_path / "prepared", table.with_columns(text=pl.Series(texts)))
    with pytest.raises(BadInput, match=f"1 exact_queries of {name}"):
        run_split(tmp_path, folder)
    assert not (tmp_path / "splits").exists()
    assert counted_leaks(tmp_path, folder) == {f"{name}_leaks.exact_queries": 1, f"{name}_leaks.near_queries": 1}
    named = [(name, kind, f"q{leaking}", f"q{known}", 1.0) for kind in ("exact_queries", "near_queries")]
    assert read(tmp_path / "splits" / "leaks.parquet", LEAKS).rows() == named


@pytest.mark.parametrize(("document", "known"), [("d15", "q15"), ("d35", "q35")])
def test_a_document_that_test_shares_with_train_or_dev_is_a_leak(tmp_path: Path, document: str, known: str) -> None:
    """q0 of test is answered by a document that answers a query of train, or of dev, too."""
    table = queries([f"c{i}" for i in range(40)], GIVEN)
    folder = prepared(tmp_path / "prepared", table, judged=(("q0", document),))
    with pytest.raises(BadInput, match="1 shared_documents of test"):
        run_split(tmp_path, folder)
    kinds = ("shared_documents", "exact_documents", "near_documents")
    assert counted_leaks(tmp_path, folder) == {f"test_leaks.{kind}": 1 for kind in kinds}


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    """One cluster cannot fill three splits; the message says what to do."""
    folder = prepared(tmp_path / "prepared", queries(["a", "a", "a"]))
    with pytest.raises(BadInput, match="split is empty .*add data or change"):
        run_split(tmp_path, folder)


def test_usable_paraphrases_are_a_split_and_the_rest_is_counted(tmp_path: Path) -> None:
    """q0 to q9 are test, q10 to q29 train: a paraphrase of d12 is dropped, and so is one that repeats q15."""
    rows = (
        ("p0", "the third thing that one might want", ["d3"]),
        ("p1", "another thing that one might want", ["d12"]),
        ("p2", "question number15 of mine15", ["d4"]),
    )
    source = prepared(tmp_path / "prepared", queries([f"d{i}" for i in range(40)], GIVEN), paraphrases=rows)
    receipt = run_split(tmp_path, source)
    kept = read(tmp_path / "splits/paraphrases/queries.parquet", SPLIT_QUERIES)
    assert kept.select("query_id", "cluster_id").rows() == [("p0", "d3")]
    assert read(tmp_path / "splits/paraphrases/qrels.parquet", QRELS).rows() == [("p0", "d3", 1)]
    counts = {key: n for key, n in receipt.items() if "paraphrase" in key}
    assert counts == {
        "n_paraphrases": 1,
        "n_dropped_paraphrase_not_test": 1,
        "n_dropped_paraphrase_near_seen_query": 1,
        "n_dropped_paraphrase_near_test_query": 0,
        "n_dropped_paraphrase_in_document": 0,
    }
