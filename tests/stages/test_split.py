"""Stage split: whole clusters, assigned by a hash of their id, documents with them; a leak stops the pipeline."""

from pathlib import Path

import polars as pl
import pytest
from split_inputs import GIVEN, PARAMS, counted_leaks, prepared, queries, run_split

from attune.data.splitting.assignment import assign
from attune.errors import BadInput
from attune.tables import DOCUMENT_IDS, LEAKS, NEGATIVES, QRELS, SPLIT_QUERIES, read

SPLITS = ("train", "dev", "test")


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


def test_own_negatives_follow_the_split_of_their_document(tmp_path: Path) -> None:
    """A document of dev or test must not be seen in training, not even as a negative."""
    table = queries([f"c{i}" for i in range(40)], GIVEN)
    folder = prepared(
        tmp_path / "prepared", table, refused=(("q15", "d0"), ("q15", "d16"), ("q35", "d36"), ("q0", "d1"))
    )
    run_split(tmp_path, folder)
    negatives = {name: read(tmp_path / "splits" / name / "negatives.parquet", NEGATIVES).rows() for name in SPLITS}
    assert negatives == {"train": [("q15", "d16")], "dev": [("q35", "d36")], "test": [("q0", "d1")]}


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
