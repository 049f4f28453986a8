"""The two protocols of stage split: what each keeps whole, shares, audits and refuses; and texts that cross roles."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from split_inputs import split_params

from attune.data.passages import PassageParams
from attune.data.splitting.assignment import assign
from attune.errors import BadInput
from attune.stage import call
from attune.stages.prepare import PrepareParams, prepare
from attune.stages.split import split
from attune.tables import (
    CLUSTERED_QUERIES,
    DOCUMENT_FORMS,
    DOCUMENT_IDS,
    LEAKS,
    LEXICAL,
    OWN_TEXTS,
    QRELS,
    SPLIT_QUERIES,
    SPLITS,
    read,
)

CLUSTERING = PrepareParams(
    document_shingle=5,
    query_shingle=1,
    identical_document=0.95,
    similar_document=0.7,
    similar_query=0.8,
    passages=PassageParams(tokens=0, overlap=0),
)
PARAMS = split_params()
Pairs = Sequence[tuple[str, str]]


def words(seed: int, n: int = 6) -> str:
    """A text that shares no word with that of another seed."""
    return " ".join(f"w{seed}x{i}" for i in range(n))


def write_raw(
    folder: Path,
    pairs: Pairs,
    splits: Sequence[str] = (),
    groups: Sequence[str] = (),
    titles: Mapping[str, str] | None = None,
) -> Path:
    """Writes data/raw from pairs of texts (query, document); equal documents are one.

    Args:
        folder: where to write.
        pairs: texts.
        splits: of each pair.
        groups: of each pair's query.
        titles: by document text; others have none.
    """
    (folder / "qrels").mkdir(parents=True)
    documents: dict[str, str] = {}
    judged: dict[str, list[str]] = {}
    queries = []
    for row, (query, document) in enumerate(pairs):
        id_ = documents.setdefault(document, f"d{len(documents)}")
        queries.append({"_id": f"q{row}", "text": query} | ({"group": groups[row]} if groups else {}))
        judged.setdefault(splits[row] if splits else "all", []).append(f"q{row}\t{id_}\t1\n")
    (folder / "queries.jsonl").write_text("".join(json.dumps(query) + "\n" for query in queries))
    rows = [{"_id": id_, "title": (titles or {}).get(text, ""), "text": text} for text, id_ in documents.items()]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, lines in judged.items():
        (folder / "qrels" / f"{name}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    return folder


def run(folder: Path, raw: Path, **changes: Any) -> dict[str, Any]:
    """Runs prepare and split, leaves folder/prepared and folder/splits, and returns the receipt of split."""
    call(prepare, CLUSTERING, folder / "prepare.json", raw=raw, out=folder / "prepared")
    near = asdict(CLUSTERING.near_duplicates())
    params = PARAMS.model_copy(update=changes)
    call(
        split,
        params,
        folder / "split.json",
        prepared=folder / "prepared",
        **near,
        out=folder / "splits",
        assignments=folder / "assignments.csv",
    )
    receipt: dict[str, Any] = json.loads((folder / "split.json").read_text())
    return receipt


def leaks(receipt: dict[str, Any]) -> dict[str, int]:
    """The kinds of leaks of test that were found, with their counts."""
    return {key[11:]: n for key, n in receipt.items() if key.startswith("test_leaks.") and n}


def clusters(folder: Path, column: str) -> list[str]:
    """The queries' clusters, in row order."""
    return read(folder / "prepared/queries.parquet", CLUSTERED_QUERIES)[column].to_list()


def one_component(folder: Path) -> Path:
    """Writes 200 queries over 40 documents, each judged relevant to three at random: one component."""
    chance = random.Random(5)
    raw = write_raw(folder, [(words(1000 + row), words(row % 40, 12)) for row in range(200)])
    with (raw / "qrels/all.tsv").open("a") as file:
        file.writelines(f"q{row}\td{chance.randrange(40)}\t1\n" for row in range(200) for _ in range(2))
    return raw


def test_one_component_is_refused_in_one_line_that_names_the_other_protocol(tmp_path: Path) -> None:
    """The line gives the component's share and limit, and the queries that dev and test would have."""
    with pytest.raises(BadInput) as error:
        run(tmp_path, one_component(tmp_path / "raw"))
    (line,) = error.value.args
    assert "holds 100.0% of the 240 rows, allowed 30.0% (" in line
    assert "split.max_cluster_share" in line
    assert "test gets 0 of the 60 queries" in line  # by this seed the component is dev
    assert "set split.by: query in params.yaml" in line
    assert "its largest cluster holds 0.5% of the queries" in line
    assert not (tmp_path / "splits").exists()


def test_by_query_splits_what_is_one_component(tmp_path: Path) -> None:
    """Shares are met, train may search the whole corpus, dev and test search their answers, and nothing leaks."""
    receipt = run(tmp_path, one_component(tmp_path / "raw"), by="query")
    assert receipt["by"] == "query"
    assert 40 <= receipt["n_test_queries"] <= 80 and 25 <= receipt["n_dev_queries"] <= 55
    assert receipt["n_train_documents"] == 40
    assert [key for key in receipt if "_leaks." in key] == [
        f"{name}_leaks.{kind}_queries" for name in ("dev", "test") for kind in ("exact", "near", "crossed")
    ]
    assert leaks(receipt) == {}
    relevant = {}
    for name in SPLITS:
        folder = tmp_path / "splits" / name
        queries = read(folder / "queries.parquet", SPLIT_QUERIES)
        judged = read(folder / "qrels.parquet", QRELS)
        assert set(judged["query_id"]) == set(queries["query_id"])
        relevant[name] = judged["document_id"]
        documents = set(read(folder / "documents.parquet", DOCUMENT_IDS)["document_id"])
        assert documents == (set(relevant[name]) if name != "train" else {f"d{i}" for i in range(40)})
        assert read(folder / "own_texts.parquet", OWN_TEXTS).is_empty()
    for name in ("dev", "test"):  # by hand: judgments whose document some train query has, too
        known = sum(document in set(relevant["train"]) for document in relevant[name]) / len(relevant[name])
        assert receipt[f"{name}_known_answers_share"] == pytest.approx(known, abs=1e-6)


def test_by_cluster_has_no_share_of_known_answers(tmp_path: Path) -> None:
    """There train knows none of them; the receipt says the protocol and all kinds of leaks."""
    receipt = run(tmp_path, write_raw(tmp_path / "raw", [(words(i), words(100 + i)) for i in range(60)]))
    assert receipt["by"] == "cluster"
    assert [key for key in receipt if key.startswith("test_leaks.")] == [f"test_leaks.{kind}" for kind in LEXICAL]
    assert not any("known" in key for key in receipt)


def test_like_queries_and_groups_stay_whole_by_query(tmp_path: Path) -> None:
    """Near-identical queries and a customer's queries share the unit, queries that share a document do not."""
    alike = "how do I sort the rows of a large table by date"
    pairs = [
        (alike, words(0)),
        (alike + " please", words(1)),
        (words(12), words(2)),
        (words(13), words(3)),
        (words(14), words(4)),
        (words(15), words(4)),
    ]
    raw = write_raw(tmp_path / "raw", pairs, groups=["", "", "ann", "ann", "", ""])
    call(prepare, CLUSTERING, None, raw=raw, out=tmp_path / "prepared")
    assert clusters(tmp_path, "query_cluster_id") == ["q0", "q0", "q2", "q2", "q4", "q5"]
    assert clusters(tmp_path, "near_group") == ["q0", "q0", "q2", "q3", "q4", "q5"]
    assert clusters(tmp_path, "cluster_id") == ["d0", "d0", "d2", "d2", "d4", "d4"]


@pytest.mark.parametrize("by", ["cluster", "query"])
def test_pairs_in_both_directions_are_one_cluster(tmp_path: Path, by: str) -> None:
    """a -> b and b -> a go to one split under either protocol, and no leak is left; the direction changes nothing."""
    one_way = [(words(i), words(100 + i)) for i in range(60)]
    receipt = run(tmp_path, write_raw(tmp_path / "raw", one_way + [(b, a) for a, b in one_way]), by=by)
    for column in ("cluster_id", "query_cluster_id"):
        ids = clusters(tmp_path, column)
        assert ids[:60] == ids[60:] and len(set(ids)) == 60
    assert clusters(tmp_path, "near_group") == [f"q{i}" for i in range(120)]
    assert leaks(receipt) == {}


@pytest.mark.parametrize("by", ["cluster", "query"])
def test_a_chain_of_questions_is_one_cluster(tmp_path: Path, by: str) -> None:
    """a -> b, b -> c: the document b is the query of the other pair."""
    chains = [(words(i), words(100 + i), words(200 + i)) for i in range(60)]
    pairs = [(a, b) for a, b, _ in chains] + [(b, c) for _, b, c in chains]
    receipt = run(tmp_path, write_raw(tmp_path / "raw", pairs), by=by)
    for column in ("cluster_id", "query_cluster_id"):
        ids = clusters(tmp_path, column)
        assert ids[:60] == ids[60:] and len(set(ids)) == 60
    assert leaks(receipt) == {}


@pytest.mark.parametrize("by", ["cluster", "query"])
def test_chains_over_titled_documents_are_one_cluster(tmp_path: Path, by: str) -> None:
    """a -> b, b -> c, where the document b has a title of its own: without it, it is the other pair's query."""
    chains = [(words(i), words(100 + i), words(200 + i)) for i in range(60)]
    pairs = [(a, b) for a, b, _ in chains] + [(b, c) for _, b, c in chains]
    titles = {b: words(300 + i) for i, (_, b, _) in enumerate(chains)}
    receipt = run(tmp_path, write_raw(tmp_path / "raw", pairs, titles=titles), by=by)
    for column in ("cluster_id", "query_cluster_id"):
        ids = clusters(tmp_path, column)
        assert ids[:60] == ids[60:] and len(set(ids)) == 60
    assert leaks(receipt) == {}


def test_a_query_that_is_a_title_joins_its_document_by_cluster_alone(tmp_path: Path) -> None:
    """Queries 0 and 1 share a document that is named by query 2: by query each of them stays apart."""
    pairs = [(words(0), words(50)), (words(1), words(50)), (words(2), words(51)), (words(3), words(52))]
    raw = write_raw(tmp_path / "raw", pairs, titles={words(50): words(2).upper(), words(52): words(2) + " and more"})
    call(prepare, CLUSTERING, None, raw=raw, out=tmp_path / "prepared")
    assert clusters(tmp_path, "cluster_id") == ["d0", "d0", "d0", "d2"]
    assert clusters(tmp_path, "query_cluster_id") == ["q0", "q1", "q2", "q3"]


def test_a_query_that_is_its_own_answer_connects_the_others_of_that_answer(tmp_path: Path) -> None:
    """Query 0 is the document of queries 0, 1 and 2: whoever knows it knows their answer's text as a query."""
    answer = words(50)
    pairs = [(answer, answer), (words(1), answer), (words(2), answer), (words(3), words(4))]
    call(prepare, CLUSTERING, None, raw=write_raw(tmp_path / "raw", pairs), out=tmp_path / "prepared")
    assert clusters(tmp_path, "query_cluster_id") == ["q0", "q0", "q0", "q3"]


@pytest.mark.parametrize("by", ["cluster", "query"])
def test_given_splits_that_turn_pairs_round_are_counted_as_crossed(tmp_path: Path, by: str) -> None:
    """10 of 20 test pairs are train pairs turned round: their queries are train documents, their documents queries."""
    train = [(words(i), words(100 + i)) for i in range(30)]
    test = [(b, a) for a, b in train[:10]] + [(words(300 + i), words(400 + i)) for i in range(10)]
    dev = [(words(500 + i), words(600 + i)) for i in range(10)]
    raw = write_raw(tmp_path / "raw", train + test + dev, ["train"] * 30 + ["test"] * 20 + ["dev"] * 10)
    with pytest.raises(
        BadInput, match=r"10 crossed_queries of test \(50.0%\) are also in train or dev .*'q30' like 'd0'"
    ):
        run(tmp_path, raw, by=by)
    receipt = run(tmp_path, raw, by=by, max_leak_share=0.5)
    found = leaks(receipt)
    assert found.pop("crossed_queries") == 10
    if by == "cluster":  # the documents are the train queries' texts
        assert found.pop("crossed_documents") == 10
    assert found == {}
    table = read(tmp_path / "splits/leaks.parquet", LEAKS).filter(pl.col("kind") == "crossed_queries")
    assert table.select("leaked_id", "match_id", "similarity").rows() == [(f"q{30 + i}", f"d{i}", 1) for i in range(10)]


def test_documents_shared_by_given_splits_are_no_leak_by_query(tmp_path: Path) -> None:
    """By cluster the message names the other protocol; there every answer of test is known."""
    pairs = [(words(i), words(100 + i % 5, 12)) for i in range(40)]
    raw = write_raw(tmp_path / "raw", pairs, ["test"] * 10 + ["train"] * 20 + ["dev"] * 10)
    with pytest.raises(BadInput, match="5 shared_documents of dev .* set .*split.by to query"):
        run(tmp_path, raw)
    receipt = run(tmp_path, raw, by="query")
    assert receipt["test_known_answers_share"] == receipt["dev_known_answers_share"] == 1.0
    assert read(tmp_path / "splits/leaks.parquet", LEAKS).is_empty()


def test_equal_queries_of_given_splits_are_a_leak_by_query(tmp_path: Path) -> None:
    """Sharing documents does not excuse it."""
    pairs = [(words(i if i != 20 else 3), words(100 + i % 5, 12)) for i in range(40)]
    raw = write_raw(tmp_path / "raw", pairs, ["test"] * 10 + ["train"] * 20 + ["dev"] * 10)
    with pytest.raises(BadInput, match=r"1 exact_queries of test .*'q3' like 'q20'\), .*; remove .* side, or raise"):
        run(tmp_path, raw, by="query")


def test_documents_with_the_text_of_the_query_are_listed_on_demand(tmp_path: Path) -> None:
    """Duplicate questions: each question is in the corpus, too; its own text is no answer, unless it is judged one."""
    pairs = [(words(i), words(100 + i)) for i in range(60)] + [
        (words(200 + i), words(i).upper() + "!") for i in range(60)
    ]
    raw = write_raw(tmp_path / "raw", pairs)
    with (raw / "qrels/all.tsv").open("a") as file:
        file.write("q7\td67\t1\n")  # this one is judged
    run(tmp_path, raw, by="query", leave_out_own_text=True)
    listed = [read(tmp_path / "splits" / name / "own_texts.parquet", OWN_TEXTS) for name in SPLITS]
    assert sorted(pl.concat(listed).rows()) == sorted((f"q{i}", f"d{60 + i}") for i in range(60) if i != 7)
    for name, table in zip(SPLITS, listed, strict=True):
        own = read(tmp_path / "splits" / name / "queries.parquet", SPLIT_QUERIES)["query_id"]
        assert set(table["query_id"]) <= set(own)
    run(tmp_path, raw, by="query")
    assert all(read(tmp_path / "splits" / name / "own_texts.parquet", OWN_TEXTS).is_empty() for name in SPLITS)


def test_other_forms_of_documents_are_kept_with_the_documents(tmp_path: Path) -> None:
    """Sorted by document; a form of a document that is not in the corpus is left out, none is an empty table."""
    raw = write_raw(tmp_path / "raw", [(words(i), words(100 + i)) for i in range(3)])
    call(prepare, CLUSTERING, None, raw=raw, out=tmp_path / "none")
    assert read(tmp_path / "none/forms.parquet", DOCUMENT_FORMS).is_empty()
    rows = [{"_id": "d2", "text": "two"}, {"_id": "d0", "text": "zero"}, {"_id": "gone", "text": "lost"}]
    (raw / "forms.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    call(prepare, CLUSTERING, tmp_path / "prepare.json", raw=raw, out=tmp_path / "some")
    assert read(tmp_path / "some/forms.parquet", DOCUMENT_FORMS).rows() == [("d0", "zero"), ("d2", "two")]
    assert json.loads((tmp_path / "prepare.json").read_text())["n_forms"] == 2


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=30),
    st.lists(st.integers(10, 19), max_size=30),
    st.sampled_from(["cluster", "query"]),
)
@settings(max_examples=60, deadline=None)
def test_added_rows_never_move_old_rows_under_either_protocol(old: list[int], new: list[int], by: str) -> None:
    """The split of a row depends on the seed and its unit's id; a unit is never cut."""

    def table(units: list[int]) -> pl.DataFrame:
        names = [f"q{row}" for row in range(len(units))]
        ids, others = [f"u{unit}" for unit in units], ["one"] * len(units)
        both = {"cluster_id": ids, "query_cluster_id": others}
        both = both if by == "cluster" else {"cluster_id": others, "query_cluster_id": ids}
        rest = {name: [""] * len(units) for name in ("near_group", "given_split", "stratum")}
        return pl.DataFrame({"query_id": names, "text": names, **both, **rest}, schema=CLUSTERED_QUERIES)

    params = PARAMS.model_copy(update={"by": by})
    after = assign(table(old + new), params).to_list()
    assert after[: len(old)] == assign(table(old), params).to_list()
    split_of: dict[int, set[str]] = {}
    for unit, name in zip(old + new, after, strict=True):
        split_of.setdefault(unit, set()).add(name)
    assert all(len(names) == 1 for names in split_of.values())
