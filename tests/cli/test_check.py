"""`attune check`: facts of a data set before any run, the split that the pipeline will make, and advice."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from attune.cli.check import guess_source, source_params, with_names, yaml_value
from attune.errors import BadInput
from attune.stage import load_params
from attune.stages.collect import CollectParams

ROOT = Path(__file__).resolve().parents[2]


def check(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command in a folder with this project's parameters."""
    for name in ("params.yaml", "advanced.yaml"):
        shutil.copy(ROOT / name, folder)
    command = [sys.executable, "-c", "from attune.cli.main import main; main()", "check", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def write_csv(path: Path, rows: list[tuple[str, ...]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


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
    assert facts["documents"]["script_cyrillic_share"] == pytest.approx(1 / 64)
    assert facts["queries"]["script_latin_share"] == pytest.approx(62 / 63)


def test_the_split_is_the_one_that_the_pipeline_makes(facts: dict[str, Any]) -> None:
    """Sizes add up, nothing leaks from a split that attune makes, and a small test set is called small."""
    split = facts["split"]
    assert split["made_by"] == "attune"
    assert sum(split[f"n_{name}_queries"] for name in ("train", "dev", "test")) == 63
    assert not any(n for key, n in split.items() if key.startswith("test_leaks"))
    assert [note for note in facts["notes"] if "test queries: only a large gain" in note]


def test_it_prints_a_table_and_the_lines_to_set_in_params(tmp_path: Path) -> None:
    """Lines of params.yaml for source, path, query and document."""
    write_csv(tmp_path / "faq.csv", [("q", "a")] + [(f"what is thing{i}", f"it is{i} that{i}") for i in range(5)])
    done = check(tmp_path, "faq.csv", "--column", "query=q", "--column", "document=a")
    assert done.returncode == 0, done.stderr
    assert "largest cluster" in done.stdout and "cut at max length" in done.stdout
    lines = "  source: pairs\n  path: faq.csv\n  columns:\n    query: q\n    document: a\nthen: make repro\n"
    assert done.stdout.endswith(f"\nTo use this data, set in params.yaml, section collect:\n{lines}")


def test_the_lines_have_the_columns_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only names that differ from params.yaml; lists as YAML; without a path there is nothing to set."""
    monkeypatch.chdir(ROOT)
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
    """The advice counts the leaks of a given split and the documents above base.max_length."""
    rows = [("query", "document", "split")]
    rows += [(f"what of matter{i} there", f"word{i} " * 200, "test" if i < 3 else "train") for i in range(12)]
    rows += [("What of matter0 there?", "its own answer here", "train")]
    write_csv(tmp_path / "own.csv", rows)
    done = check(tmp_path, "own.csv", "--column", "split=split", "--json")
    facts = json.loads(done.stdout)
    assert facts["split"]["made_by"] == "you" and facts["split"]["test_leaks.exact_queries"] == 1
    notes = "\n".join(facts["notes"])
    assert "the given test split leaks (1 exact queries, 1 near queries)" in notes
    assert "92% of the documents are longer than the encoder reads" in notes


def test_bad_data_is_one_line_per_problem_and_no_facts(tmp_path: Path) -> None:
    """File and row in each line, their number at the end, exit code 1."""
    (tmp_path / "bad.csv").write_bytes(b"query,document\na,b,c\nx\nfine words here,good answer\nbad \xff,z\n")
    done = check(tmp_path, "bad.csv")
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["bad.csv:2", "bad.csv:3", "bad.csv:5", "3 problems"]


def test_the_source_is_guessed_from_files_and_columns(tmp_path: Path) -> None:
    """BEIR by its corpus or qrels, documents by text files, tables by their columns; otherwise one line."""
    columns = load_params(CollectParams, "collect", ROOT / "params.yaml").columns
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
    monkeypatch.chdir(ROOT)
    with pytest.raises(BadInput, match="got .* expected"):
        source_params(tmp_path, source, [column])
