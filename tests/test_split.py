"""Whole clusters, chosen by a hash without a memory, and an audit that is able to fail."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attune.errors import BadInput
from attune.leaks import Side, audit, exact_matches, near_matches
from attune.stage import call
from attune.stages.split import SplitParams, assign, position, split
from attune.tables import CLUSTERED_QUERIES, CORPUS, DOCUMENT_IDS, QRELS, read, write

PARAMS = SplitParams(
    seed=13,
    dev_share=0.2,
    test_share=0.3,
    query_shingle=1,
    document_shingle=2,
    near_query=0.8,
    near_document=0.7,
    max_leak_share=0.0,
)


def queries(cluster_ids: list[str], given_splits: list[str] | None = None) -> pl.DataFrame:
    n = len(cluster_ids)
    return pl.DataFrame(
        {
            "query_id": [f"q{i}" for i in range(n)],
            "text": [f"question number{i} of mine{i}" for i in range(n)],
            "cluster_id": cluster_ids,
            "given_split": given_splits or [""] * n,
        },
        schema=CLUSTERED_QUERIES,
    )


def prepared(folder: Path, table: pl.DataFrame) -> Path:
    """One document per query, in the query's cluster, and relevant to it."""
    ids = [f"d{i}" for i in range(table.height)]
    texts = [f"answer{i} is known{i} to all{i}" for i in range(table.height)]
    columns = {
        "document_id": ids,
        "title": [""] * len(ids),
        "text": texts,
        "duplicate_of": ids,
        "cluster_id": table["cluster_id"],
    }
    write(pl.DataFrame(columns, schema=CORPUS), folder / "corpus.parquet", CORPUS)
    write(table, folder / "queries.parquet", CLUSTERED_QUERIES)
    qrels = {"query_id": table["query_id"], "document_id": ids, "relevance": [1] * len(ids)}
    write(pl.DataFrame(qrels, schema=QRELS), folder / "qrels.parquet", QRELS)
    return folder


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
    """4,000 clusters of two: no cluster is cut, and the shares are within two points of what was asked for."""
    clusters = [f"c{i // 2}" for i in range(8000)]
    assigned = queries(clusters).with_columns(assign(queries(clusters), PARAMS))
    assert assigned.group_by("cluster_id").agg(pl.col("split").n_unique())["split"].max() == 1
    shares = dict(assigned["split"].value_counts(normalize=True).iter_rows())
    assert shares["test"] == pytest.approx(0.3, abs=0.02)
    assert shares["dev"] == pytest.approx(0.2, abs=0.02)


def test_the_position_of_a_cluster_is_fixed_for_ever() -> None:
    """sha256("13:numpy") begins with these eight bytes: a changed hash would reshuffle everybody's splits."""
    assert position(13, "numpy") == int("a3ba77b3dadb7cc7", 16) / 2**64


def test_given_splits_are_kept_and_a_missing_dev_is_cut_from_train() -> None:
    """Given test rows stay test, no train row becomes test, about dev/(train+dev) of train becomes dev."""
    table = queries([f"c{i}" for i in range(4000)], ["test"] * 1000 + ["train"] * 3000)
    assigned = assign(table, PARAMS).to_list()
    assert set(assigned[:1000]) == {"test"}
    assert set(assigned[1000:]) == {"train", "dev"}
    assert assigned[1000:].count("dev") / 3000 == pytest.approx(0.2 / 0.7, abs=0.03)


def test_every_row_lands_in_exactly_one_split(tmp_path: Path) -> None:
    """Queries and documents are partitioned, judgments follow their queries, and the receipt counts no leak."""
    import json

    table = queries([f"c{i}" for i in range(60)])
    call(
        split, PARAMS, tmp_path / "split.json", prepared=prepared(tmp_path / "prepared", table), out=tmp_path / "splits"
    )
    parts = [tmp_path / "splits" / name for name in ("train", "dev", "test")]
    for name, columns, expected in (
        ("queries", CLUSTERED_QUERIES, 60),
        ("qrels", QRELS, 60),
        ("documents", DOCUMENT_IDS, 60),
    ):
        rows = pl.concat([read(part / f"{name}.parquet", columns) for part in parts])
        assert rows.height == rows.unique().height == expected
    receipt = json.loads((tmp_path / "split.json").read_text())
    assert {value for key, value in receipt.items() if "leaks" in key} == {0}


def test_a_leak_stops_the_pipeline_and_a_higher_limit_reports_it(tmp_path: Path) -> None:
    """The same text in a given train and a given test split is refused; with max_leak_share it is counted instead."""
    import json

    table = queries([f"c{i}" for i in range(40)], ["test"] * 10 + ["train"] * 20 + ["dev"] * 10)
    texts = ["alpha beta gamma delta epsilon!", *table["text"].to_list()[1:]]
    texts[15] = "ALPHA beta gamma delta epsilon"
    folder = prepared(tmp_path / "prepared", table.with_columns(text=pl.Series(texts)))
    with pytest.raises(BadInput, match="1 exact_queries .* of test"):
        call(split, PARAMS, None, prepared=folder, out=tmp_path / "splits")
    assert not (tmp_path / "splits").exists()
    call(
        split,
        PARAMS.model_copy(update={"max_leak_share": 0.5}),
        tmp_path / "split.json",
        prepared=folder,
        out=tmp_path / "splits",
    )
    receipt = json.loads((tmp_path / "split.json").read_text())
    assert receipt["test_leaks.exact_queries"] == receipt["test_leaks.near_queries"] == 1
    assert receipt["dev_leaks.exact_queries"] == 0


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    """Three clusters cannot fill three splits for certain; the message says what to do."""
    with pytest.raises(BadInput, match="split is empty .*add data or change"):
        call(
            split,
            PARAMS,
            None,
            prepared=prepared(tmp_path / "prepared", queries(["a", "a", "a"])),
            out=tmp_path / "splits",
        )


def test_the_audit_counts_planted_leaks_by_kind() -> None:
    """Two exact queries (one differs in case only), one near query, one shared document, one near document."""
    words = "one two three four five six seven eight nine ten".split()
    train = Side(
        queries=["How to sort?", "sum of rows", " ".join(words)],
        document_ids=["d1", "d2"],
        documents=["unlike all others here", " ".join(words)],
    )
    held_out = Side(
        queries=["how to SORT", "Sum of rows", " ".join([*words[:-1], "eleven"]), "something else entirely"],
        document_ids=["d1", "d9"],
        documents=["unlike all others here", " ".join([*words, "eleven"])],
    )
    assert audit(held_out, train, (1, 2), (0.8, 0.8)) == {
        "exact_queries": 2,
        "near_queries": 3,  # nine of eleven words: .818
        "shared_documents": 1,
        "exact_documents": 1,
        "near_documents": 2,  # nine of ten bigrams: .9
    }


@given(st.lists(st.text("abc ", max_size=12), max_size=12), st.lists(st.text("abc ", max_size=12), max_size=12))
@settings(max_examples=150, deadline=None)
def test_near_matches_agree_with_the_definition_pair_by_pair(texts: list[str], others: list[str]) -> None:
    """Against a plain double loop over sets; a text without words matches nothing."""
    from attune.clusters import shingles

    def alike(one: str, other: str) -> bool:
        a, b = shingles(one, 1), shingles(other, 1)
        return bool(a and b) and len(a & b) / len(a | b) >= 0.5

    expected = sum(any(alike(text, other) for other in others) for text in texts)
    assert near_matches(texts, others, 1, 0.5) == expected
    assert exact_matches(texts, texts) == len(texts)
