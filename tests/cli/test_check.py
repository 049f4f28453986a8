"""`attune check`: facts of a data set before any run, the split that the pipeline will make, and checks."""

import csv
import json
import os
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import miniature
import numpy as np
import polars as pl
import pytest
from command_lines import Finished, run_here
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from shipped_params import PANEL, write_shipped
from tiny_encoders import in_own_folder

from attune.cli.check import profile as profiling
from attune.cli.check import reader
from attune.cli.check.source import guess_source, source_params, with_names, yaml_value
from attune.cli.main import main
from attune.data.lengths import Lengths
from attune.errors import BadInput
from attune.evaluation.checks.catalogue import findings
from attune.evaluation.checks.data import long_texts
from attune.evaluation.checks.facts import Facts
from attune.evaluation.checks.limits import GateParams
from attune.stage import all_params, load_params
from attune.stages.base import BaseParams
from attune.stages.collect import CollectParams

ROOT = Path(__file__).resolve().parents[2]


def check(folder: Path, *arguments: str, **base: object) -> Finished:
    """Runs the command in a folder with the parameters that attune ships, some of section base changed."""
    write_params(folder, "base", **base)
    return run_here(main, folder, "check", *arguments)


def write_params(folder: Path, section: str = "split", **changes: object) -> None:
    """Writes the parameters that attune ships to a folder, with some of a section changed."""
    write_shipped(folder)
    miniature.change(folder, {section: changes})


def write_csv(path: Path, rows: Sequence[tuple[str, ...]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def notes(facts: dict[str, Any]) -> list[str]:
    """Returns the sentences of the checks that did not pass."""
    return [row["sentence"] for row in facts["checks"].values() if row["status"] in ("failed", "undecided")]


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Facts of 60 good pairs, two identical queries, one near-duplicate, one Russian and one long pair."""
    folder = tmp_path_factory.mktemp("check")
    rows = [("question", "answer", "url")]
    rows += [(f"how is topic{i} handled by team{i}", f"by rule{i} of chapter{i} in book{i}", "x") for i in range(60)]
    rows += [("How is topic0 handled by team0?", "as topic0 demands of everyone in town", "x")]
    rows += [("where is everything kept in the house", "by rule1 of chapter1 in book1 as everybody knows", "x")]
    rows += [("как вернуть заказ", "верните посылку в течение месяца", "x"), ("the long one", "word " * 300, "x")]
    write_csv(folder / "faq.csv", rows)
    done = check(folder, "faq.csv", "--column", "query=question", "--column", "document=answer", "--json")
    assert done.returncode == 0, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def test_counts_duplicates_and_lengths_by_hand(facts: dict[str, Any]) -> None:
    """Sizes, merged queries, words, tokens, the share that is cut, and scripts."""
    assert (facts["data"]["n_documents"], facts["data"]["n_queries"], facts["data"]["n_judgments"]) == (64, 63, 64)
    assert facts["data"]["relevant_per_query_max"] == 2
    assert facts["alike"]["n_queries_merged"] == 1
    assert facts["documents"]["words_median"] == 6
    assert facts["documents"]["tokens_max"] == 302  # 300 words and two special tokens
    assert facts["documents"]["cut_at_max_length_share"] == pytest.approx(1 / 64)
    assert facts["lengths"]["is_max_length_auto"] and facts["lengths"]["max_length"] == 32
    latin, cyrillic = facts["scripts"]["Latin"], facts["scripts"]["Cyrillic"]
    assert (latin["n_documents"], latin["n_queries"]) == (63, 62)
    assert (cyrillic["n_documents"], cyrillic["n_queries"]) == (1, 1)
    assert latin["unknown_share"] == 0 and latin["apart_share"] < 0.05


def test_the_split_is_the_one_that_the_pipeline_makes(facts: dict[str, Any]) -> None:
    """Sizes add up, nothing leaks from a split that attune makes, and a small test set is called small."""
    split = facts["split"]
    assert split["made_by"] == "attune"
    assert sum(split[f"n_{name}_queries"] for name in ("train", "dev", "test")) == 63
    assert not any(n for key, n in split.items() if key.startswith("test_leaks"))
    assert [note for note in notes(facts) if "test queries: only a large gain" in note]


def test_it_prints_a_table_and_the_lines_to_set_in_params(tmp_path: Path) -> None:
    """Lines of params.yaml for source, path, query and document."""
    write_csv(tmp_path / "faq.csv", [("q", "a")] + [(f"what is thing{i}", f"it is{i} that{i}") for i in range(5)])
    done = check(tmp_path, "faq.csv", "--column", "query=q", "--column", "document=a")
    assert done.returncode == 0, done.stderr
    assert "largest cluster" in done.stdout and "cut at max length" in done.stdout
    lines = "  source: pairs\n  path: faq.csv\n  columns:\n    query: q\n    document: a\nthen: make repro\n"
    assert done.stdout.endswith(f"\nTo use this data, set in params.yaml, section collect:\n{lines}")


def test_a_tokenizer_is_found_where_the_transformer_lies(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder of its own, as tokenizer.json or as a vocabulary alone: tokens and scripts are the same."""
    rows = [(f"sort the rows {i}", f"by the norm of row {i}") for i in range(5)]
    write_csv(tmp_path / "faq.csv", [("query", "document"), *rows])
    vocabulary = json.loads((tiny_encoder / "tokenizer.json").read_text())["model"]["vocab"]
    seen = []
    for name in ("today", "0_Transformer", "vocabulary"):
        encoder = Path(shutil.copytree(tiny_encoder, tmp_path / "encoders" / name))
        if name != "today":
            in_own_folder(encoder, name)
        if name == "vocabulary":
            (encoder / name / "tokenizer.json").unlink()
            (encoder / name / "vocab.txt").write_text("".join(f"{w}\n" for w in sorted(vocabulary, key=vocabulary.get)))
        monkeypatch.setattr(reader, "locate", lambda _, encoder=encoder: encoder)
        done = check(tmp_path, "faq.csv", "--json")
        assert done.returncode == 0, done.stderr
        facts = json.loads(done.stdout)
        seen.append([facts[key] for key in ("documents", "queries", "lengths", "scripts", "read_as")])
    assert seen[0] == seen[1] == seen[2]


def test_the_lines_have_the_columns_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only names that differ from params.yaml; lists as YAML; without a path there is nothing to set."""
    monkeypatch.chdir(PANEL.parent)
    _, lines = source_params(Path("data/own"), "pairs", ["query=query", "group=customer", "negatives=a,b"])
    assert lines == ["source: pairs", "path: data/own", "columns:", '  negatives: ["a", "b"]', "  group: customer"]
    assert source_params(None, "", [])[1] == []


@pytest.mark.parametrize(
    "name", ["q", "Frage: kurz", "Antwort #1", "yes", "- x", "7", "[a]", "ü", 'it\'s "so"', "~", ".5"]
)
def test_the_lines_are_yaml_whatever_the_columns_are_called(name: str) -> None:
    """Names with quotes, colons and hashes, and names that YAML reads as another type."""
    assert YAML(typ="safe").load(f"query: {yaml_value(name)}") == {"query": name}
    assert YAML(typ="safe").load(f"negatives: {yaml_value([name])}") == {"negatives": [name]}


def test_a_leaking_split_and_texts_that_will_be_cut_are_named(tmp_path: Path) -> None:
    """The advice counts the leaks of a given split and the documents above base.max_length, and prices a longer one."""
    rows = [("query", "document", "split")]
    rows += [(f"what of matter{i} there", f"word{i} " * 200, "test" if i < 3 else "train") for i in range(12)]
    rows += [("What of matter0 there?", "its own answer here", "train")]
    write_csv(tmp_path / "own.csv", rows)
    done = check(tmp_path, "own.csv", "--column", "split=split", "--json", max_length=96)
    facts = json.loads(done.stdout)
    assert facts["split"]["made_by"] == "you" and facts["split"]["test_leaks.exact_queries"] == 1
    told = "\n".join(notes(facts))
    assert "the given test split leaks (1 exact queries, 1 near queries)" in told
    read = "88% of train's documents are longer than the encoder reads (base.max_length: 96; auto takes 512)"
    ratio = facts["lengths"]["whole_run_ratio"]
    assert facts["lengths"]["n_whole_run_tokens"] / facts["lengths"]["n_run_tokens"] == ratio > 3
    price = f"reads {ratio:.1f} times as many tokens, so that training takes about {ratio:.1f} times as long"
    assert f"{read}: 512 cuts 0% and {price}; or cut them into passages (prepare.passages)" in told


def cut_texts(lengths: Lengths, n_positions: int, **base: object) -> str:
    """Returns the sentences of ATT035 for lengths of texts, under some parameters of section base."""
    params = load_params(BaseParams, "base", PANEL).model_copy(update=base)
    facts = profiling.length_facts(lengths, params, n_positions)
    limits = load_params(GateParams, "gate", PANEL)
    return "; ".join(outcome.sentence for outcome in long_texts.judge(Facts({"base_encoder": facts}), limits))


def test_the_price_of_longer_texts_by_hand() -> None:
    """4,000 rows of 10 + 2 x 128 tokens are affordable, or are not; 512 would hold 19 of 20 whole."""
    lengths = Lengths(np.array([400] * 19 + [900]), np.array([10] * 20), 1000)
    cut = "100% of train's documents are longer than the encoder reads (base.max_length:"
    price = "reads {0} times as many tokens, so that training takes about {0} times as long"
    queries = "; or cut them into passages (prepare.passages); 0% of train's queries are longer than that"
    # 10 + 2 x (19 x 400 + 512) / 20 = 821.2 tokens a row, of 202 at 96 and 394 at 192
    said = cut_texts(lengths, 512, max_length="auto", run_tokens=1_063_999)
    assert said == f"{cut} auto takes 96): 512 cuts 5% and {price.format(4.1)}{queries}"
    said = cut_texts(lengths, 512, max_length=192, run_tokens=1_064_000)
    assert said == f"{cut} 192; auto takes 128): 512 cuts 5% and {price.format(2.1)}{queries}"
    # nothing is longer: the encoder has 64 positions
    said = cut_texts(lengths, 64, max_length="auto", run_tokens=10**6)
    assert said.startswith(f"{cut} auto takes 64): cut them into passages (prepare.passages); 0% of train's queries")


def test_the_length_is_that_of_train(tmp_path: Path) -> None:
    """Long documents of the test split that you bring have no say in auto; the table of all documents has them."""
    rows = [("query", "document", "split")]
    rows += [(f"what of matter{i} there", f"rule{i} of book{i}", "train") for i in range(20)]
    rows += [(f"where is thing{i} now", f"word{i} " * 200, "test") for i in range(20)]
    write_csv(tmp_path / "own.csv", rows)
    facts = json.loads(check(tmp_path, "own.csv", "--column", "split=split", "--json").stdout)
    assert (facts["lengths"]["max_length"], facts["lengths"]["documents_cut_share"]) == (32, 0)
    assert facts["documents"]["cut_at_max_length_share"] == 0.5


def test_what_an_endpoint_would_be_sent_is_counted_and_priced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """20 queries of 15 bytes and 20 documents of 14, 4 tokens each; nothing is asked and no cache is made."""
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path)
    yaml = YAML(typ="safe")
    advanced = yaml.load((tmp_path / "advanced.yaml").read_text(encoding="utf-8"))
    advanced["base"]["endpoint"] |= {"url": "http://127.0.0.1:9/v1", "price": 50.0, "most_tokens": 159}
    YAML().dump(advanced, tmp_path / "advanced.yaml")
    rows = [("query", "document")] + [(f"what is thing{i:02}", f"it is{i:02} that{i:02}") for i in range(20)]
    facts = profiling.profile(source_params(write_csv(tmp_path / "own.csv", rows), "", [])[0])
    assert facts["endpoint"] == {
        "url": "http://127.0.0.1:9/v1",
        "n_texts_to_send": 40,
        "n_tokens_to_send": 160,
        "tokens_are": "estimated",
        "price": pytest.approx(160 / 1e6 * 50),
        "is_within_most_tokens": False,
    }
    assert "scripts" not in facts and not (tmp_path / "data").exists()
    assert facts["checks"]["ATT045"]["status"] == "not applicable"


@pytest.fixture
def profiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Returns the facts of pairs (query, document, further columns) under some parameters."""
    monkeypatch.chdir(tmp_path)

    def facts_of(rows: Sequence[tuple[str, ...]], *columns: str, **split: object) -> dict[str, Any]:
        write_params(tmp_path, "split", **split)
        names = [name for column in columns for name in column.partition("=")[2].split(",")]
        path = write_csv(tmp_path / "own.csv", [("query", "document", *names), *rows])
        return profiling.profile(source_params(path, "", columns)[0])

    return facts_of


def sentences(n: int, seed: int = 0) -> list[str]:
    """Returns texts of eight words that share next to none."""
    random_ = random.Random(seed)
    return [" ".join(f"w{random_.randrange(10**6)}" for _ in range(8)) for _ in range(n)]


def many_to_many(n_queries: int = 120, n_documents: int = 60) -> list[tuple[str, ...]]:
    """Returns pairs of six documents to a query, so that all rows hang together."""
    queries, documents, random_ = sentences(n_queries, 1), sentences(n_documents, 2), random.Random(3)
    return [(query, document) for query in queries for document in random_.sample(documents, 6)]


def test_all_texts_are_measured_where_train_is_empty(profiled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too few rows may leave none to train: ATT032 says so, and ATT035 is judged by what there is."""
    monkeypatch.setattr(profiling, "assign", lambda queries, _: pl.Series("split", ["test"] * queries.height))
    facts = profiled([(f"where is thing{i} now", f"word{i} " * 200) for i in range(20)])
    assert (facts["lengths"]["max_length"], facts["lengths"]["documents_cut_share"]) == (512, 0)
    assert "the train split is empty" in "\n".join(notes(facts))


def test_a_single_test_query_is_named_before_anything_is_trained(
    profiled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interval needs two; the report would stop after an hour of training."""

    def one_of_test(queries: pl.DataFrame, _: object) -> pl.Series:
        return pl.Series("split", ["test", "dev", *["train"] * (queries.height - 2)])

    monkeypatch.setattr(profiling, "assign", one_of_test)
    facts = profiled([(f"where is thing{i} now", f"word{i} other{i}") for i in range(20)])
    assert "a single test query compares nothing: add data" in "\n".join(notes(facts))


def test_data_that_clusters_cannot_split_is_named_and_all_else_printed(profiled: Any) -> None:
    """Where every row is in one cluster the first note says so and names split.by: query; the facts are there."""
    facts = profiled(many_to_many())
    assert facts["alike"]["largest_cluster_share"] == 1.0
    assert facts["split"]["n_train_queries"] == 120
    assert notes(facts)[0].startswith("the split stage will stop: the largest cluster")
    assert "set split.by: query" in notes(facts)[0]
    assert not [note for note in notes(facts) if "split is empty" in note]
    # the pairs to train on are those of split.by: query, which leaves dev and test queries out
    assert facts["training"]["n_pairs"] < facts["data"]["n_judgments"] == 720


def test_strata_that_test_misses_are_counted(profiled: Any) -> None:
    """60 strata of one query each: those that test lacks are all but its queries."""
    rows = [(*pair, f"s{i}") for i, pair in enumerate(zip(sentences(60, 4), sentences(60, 5), strict=True))]
    split = profiled(rows, "stratum=product")["split"]
    assert split["n_strata"] == 60 and split["n_strata_without_test"] == 60 - split["n_test_queries"] < 60


def test_by_query_splits_such_data_and_says_what_is_new(profiled: Any) -> None:
    """Dev and test have their shares, document kinds are no leaks, and the known answers are a share."""
    facts = profiled(many_to_many(), by="query")
    split = facts["split"]
    assert split["n_test_queries"] > 10 and split["n_dev_queries"] > 4
    assert split["n_train_documents"] == 60
    assert split["test_known_answers_share"] == 1.0
    assert split["new_in_test"] == (
        "new queries over known documents; training knew 100% of the answers from other queries, and mined negatives "
        "may answer test queries (split.by: query)"
    )
    assert [key for key in split if key.startswith("test_leaks.")] == [
        f"test_leaks.{kind}_queries" for kind in ("exact", "near", "crossed")
    ]
    assert not [note for note in notes(facts) if "will stop" in note]


def test_a_graded_collection_cannot_be_split_by_clusters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cranfield: queries share documents, so that one cluster holds nearly all; by query each split has its share."""
    folder = Path(os.environ.get("ATTUNE_DATASETS", ROOT.parent / "shared" / "datasets")) / "cranfield"
    if not folder.is_dir():
        pytest.skip("cranfield is not there; set ATTUNE_DATASETS to the folder of the data sets")
    monkeypatch.chdir(tmp_path)
    facts = {}
    for by in ("cluster", "query"):
        write_params(tmp_path, by=by)
        facts[by] = profiling.profile(source_params(folder, "", [])[0])
    assert notes(facts["cluster"])[0].startswith("the split stage will stop: the largest cluster")
    assert "set split.by: query" in notes(facts["cluster"])[0]
    split = facts["query"]["split"]
    assert 30 <= split["n_test_queries"] <= 60 and 12 <= split["n_dev_queries"] <= 34
    assert 0.5 < split["test_known_answers_share"] < 0.7
    assert not [note for note in notes(facts["query"]) if "will stop" in note]


def test_empty_cells_that_were_written_as_text_are_named(profiled: Any) -> None:
    """A query "nan" is named with its answers, "N/A" too, and a document "-" with its queries."""
    texts = sentences(60)
    rows = [("nan" if i % 5 == 0 else texts[i], texts[30 + i]) for i in range(30)]
    rows += [("N/A", "an answer of its own to nothing"), ("which dash stands here alone", "-")]
    facts = profiled(rows)
    assert facts["peculiar"]["n_pairs_of_placeholder_queries"] == 7
    assert facts["peculiar"]["placeholder_queries"] == "'nan' (6 answers), 'N/A' (1 answers)"
    assert facts["peculiar"]["placeholder_documents"] == "'-' (1 queries)"
    (note,) = [note for note in notes(facts) if "have queries that read like empty cells" in note]
    assert note.startswith("7 of 32 pairs have queries that read like empty cells: 'nan' (6 answers)")


def test_labels_as_documents_leave_the_choice_to_the_user(profiled: Any) -> None:
    """Few short documents with many queries each: both protocols are named, and the one that is set."""
    rows = [(text, f"label {i % 6}") for i, text in enumerate(sentences(120))]
    for by, which in (("cluster", "first"), ("query", "second")):
        (note,) = [note for note in notes(profiled(rows, by=by)) if "labels" in note]
        assert note.startswith("6 documents of 2 words answer 120 queries: they look like labels. split.by: cluster")
        assert note.endswith(f"params.yaml has the {which}")
    long = [(text, " ".join(sentences(3, i % 6))) for i, text in enumerate(sentences(120, 9))]
    assert not [note for note in notes(profiled(long)) if "labels" in note]


def test_pairs_in_both_directions_and_queries_that_are_documents_are_counted(profiled: Any) -> None:
    """(a, b) and (b, a) are one pair of texts; a chain a, b, c has a query b that is a document of a."""
    a = sentences(40)
    both = [(a[i], a[20 + i]) for i in range(20)] + [(a[20 + i], a[i].upper()) for i in range(12)]
    facts = profiled(both)
    assert facts["peculiar"]["n_pairs_in_both_directions"] == 12
    # a[20..31] are queries and documents; so are a[0..11], whose documents are in capitals
    assert facts["peculiar"]["n_queries_that_are_other_documents"] == 24
    told = "\n".join(notes(facts))
    assert "12 pairs are given in both directions" in told
    assert "24 of 32 queries are also documents" in told and "set split.leave_out_own_text: true" in told
    assert not any(facts["split"][key] for key in facts["split"] if key.startswith("test_leaks"))
    chain = profiled([pair for i in range(12) for pair in ((a[i], a[12 + i]), (a[12 + i], a[24 + i]))])
    assert chain["peculiar"]["n_pairs_in_both_directions"] == 0
    assert chain["peculiar"]["n_queries_that_are_other_documents"] == 12


def test_uneven_negatives_name_the_key_that_decides(profiled: Any) -> None:
    """One query with three negatives of its own among 20: how many a row holds is mine.n_negatives."""
    a = sentences(80)
    rows = [(a[i], a[20 + i], *(a[40 + k] if i == 0 else "" for k in range(3))) for i in range(20)]
    facts = profiled(rows, "negatives=n0,n1,n2")
    assert facts["peculiar"]["n_queries_with_own_negatives"] == 1
    assert facts["peculiar"]["own_negatives_per_query_max"] == 3
    (note,) = [note for note in notes(facts) if "mine.n_negatives" in note]
    assert note.startswith("1 of 20 queries bring negatives of their own, up to 3; a training row holds mine.n_neg")


def counted(n_pairs: list[int]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Returns judgments and queries: one train query for each number of pairs, and a test query that does not count."""
    ids = [f"q{i}" for i in range(len(n_pairs))]
    qrels = [(id_, f"d{k}", 1) for id_, n in zip(ids, n_pairs, strict=True) for k in range(n)]
    queries = pl.DataFrame({"query_id": [*ids, "t"], "split": ["train"] * len(ids) + ["test"]})
    return pl.DataFrame([*qrels, ("t", "d0", 1)], ["query_id", "document_id", "relevance"], orient="row"), queries


def test_a_number_of_pairs_per_query_is_suggested_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """10, 4 and 1 pairs, 8 affordable: 3 of each query leave 3 + 3 + 1; what is affordable brings no advice."""
    monkeypatch.setattr(profiling, "AFFORDABLE_ROWS", 8)
    facts = profiling.training_facts(*counted([10, 4, 1]), 0)
    assert facts["n_pairs"] == facts["n_rows_per_epoch"] == 15
    assert (facts["suggested_max_pairs_per_query"], facts["n_rows_per_epoch_then"]) == (3, 7)
    assert "suggested_max_pairs_per_query" not in profiling.training_facts(*counted([10, 4, 1]), 3)
    assert "suggested_max_pairs_per_query" not in profiling.training_facts(*counted([4, 4]), 0)


@given(n_pairs=st.lists(st.integers(1, 12), min_size=1, max_size=12), affordable=st.integers(1, 60))
def test_the_suggested_number_is_the_largest_that_is_affordable(n_pairs: list[int], affordable: int) -> None:
    """One more pair per query would be too many; one is the least, whatever it costs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profiling, "AFFORDABLE_ROWS", affordable)
        facts = profiling.training_facts(*counted(n_pairs), 0)
    n = facts.get("suggested_max_pairs_per_query")
    if n is None:
        assert sum(n_pairs) <= affordable or max(n_pairs) == 1
    else:
        assert facts["n_rows_per_epoch_then"] == sum(min(k, n) for k in n_pairs) < sum(n_pairs)
        assert n == 1 or facts["n_rows_per_epoch_then"] <= affordable
        assert sum(min(k, n + 1) for k in n_pairs) > affordable


def test_the_suggestion_names_the_parameter_and_what_remains(profiled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The note holds the number to set and the rows of an epoch then."""
    monkeypatch.setattr(profiling, "AFFORDABLE_ROWS", 200)
    facts = profiled(many_to_many(), by="query")
    n, rows = facts["training"]["suggested_max_pairs_per_query"], facts["training"]["n_rows_per_epoch_then"]
    assert 0 < n < 6 and rows <= 200
    assert f"set train.max_pairs_per_query: {n} for {rows}; each epoch draws others" in "\n".join(notes(facts))


def test_a_near_domain_task_is_proposed_where_there_is_none(profiled: Any) -> None:
    """Not where the data has other forms of its documents, nor where section probe names a near-domain task."""
    facts = profiled([(f"how is topic{i} kept", f"by rule{i} of book{i}") for i in range(12)])
    proposed = "counts_as: near_domain (data/tasks/README.md)"
    assert proposed in "\n".join(notes(facts))
    params = all_params(PANEL)
    tasks = {"probe": {"tasks": {"ours": {"counts_as": "near_domain"}}}}
    limits = load_params(GateParams, "gate", PANEL)
    for data, sections in (({"n_other_forms": 3}, params), ({}, params | tasks)):
        known = facts | {"data": facts["data"] | data, "split": facts["split"] | {"unusable": ""}, "params": sections}
        told = {each.check.code: str(each.status) for each in findings(Facts(known), limits, ["data"])}
        assert told["ATT042"] == "passed"


@pytest.mark.parametrize(("share", "unusable"), [(0.25, ""), (0.9, ""), (0.1, "dev gets 0 of the 20 queries")])
def test_clusters_fail_where_the_split_stage_stops(profiled: Any, share: float, unusable: str) -> None:
    """Whatever share the largest cluster holds: the stage's own limit decides, and a given split is never cut."""
    facts = profiled([(f"how is topic{i} kept", f"by rule{i} of book{i}") for i in range(12)])
    known = facts | {"alike": {"largest_cluster_share": share}, "split": facts["split"] | {"unusable": unusable}}
    limits = load_params(GateParams, "gate", PANEL)
    (found,) = [each for each in findings(Facts(known), limits, ["data"]) if each.check.code == "ATT031"]
    assert str(found.status) == ("failed" if unusable else "passed")
    assert found.sentence == (
        f"the split stage will stop: {unusable}" if unusable else f"the largest cluster holds {share:.0%} of all rows"
    )


def test_bad_data_is_one_line_per_problem_and_no_facts(tmp_path: Path) -> None:
    """File and row in each line, their number at the end, exit code 1."""
    (tmp_path / "bad.csv").write_bytes(b"query,document\na,b,c\nx\nfine words here,good answer\nbad \xff,z\n")
    done = check(tmp_path, "bad.csv")
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["bad.csv:2", "bad.csv:3", "bad.csv:5", "3 problems"]


def test_the_source_is_guessed_from_files_and_columns(tmp_path: Path) -> None:
    """BEIR by its corpus or qrels, documents by text files, tables by their columns; otherwise one line."""
    columns = load_params(CollectParams, "collect", PANEL).columns
    (tmp_path / "beir").mkdir()
    (tmp_path / "beir" / "corpus.jsonl.gz").touch()
    (tmp_path / "wiki" / "deep").mkdir(parents=True)
    (tmp_path / "wiki" / "deep" / "page.md").touch()
    pairs = write_csv(tmp_path / "pairs.csv", [("query", "document", "bad")])
    corpus = write_csv(tmp_path / "corpus.csv", [("document",)])
    assert guess_source(tmp_path / "beir", columns) == "beir"
    assert guess_source(tmp_path / "wiki", columns) == "documents"
    assert guess_source(pairs, columns) == "pairs"
    assert guess_source(pairs, with_names(columns, ["negatives=bad"])) == "triplets"
    assert guess_source(corpus, columns) == "documents"
    with pytest.raises(BadInput, match="name those of query and document: --column query=NAME"):
        guess_source(corpus, with_names(columns, ["document=text"]))
    with pytest.raises(BadInput, match="not found"):
        guess_source(tmp_path / "absent", columns)


@pytest.mark.parametrize(("source", "column"), [("sheet", "query=a"), ("pairs", "question=a"), ("pairs", "query")])
def test_unknown_sources_and_columns_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, column: str
) -> None:
    """One line with got and expected."""
    monkeypatch.chdir(PANEL.parent)
    with pytest.raises(BadInput, match="got .* expected"):
        source_params(tmp_path, source, [column])


def test_a_query_and_a_document_are_shown_as_the_encoder_reads_them() -> None:
    """Prompt and text of the first, its tokens; a long one is cut, what a terminal would obey is escaped."""
    texts = {"query": (["find\x1b it", "other"], np.array([7, 9])), "document": (["a" * 500], np.array([1500]))}
    shown = profiling.read_as({"query": "query: ", "document": ""}, texts)
    assert shown["query"] == "'query: find\\x1b it' (7 tokens)"
    assert shown["document"] == f"'{'a' * 120}...' (1,500 tokens)"
