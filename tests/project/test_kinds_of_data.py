"""Kinds of data that people bring, each from `attune check` over the settings that it proposes to the report.

The inputs are those of ../shared/cases, as its make.py writes them, and Cranfield; skipped where they are not. The
pipeline is the miniature's, with the default encoder's first layer, on all of the data.
"""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import miniature
import polars as pl
import pytest
from branches import attune
from ruamel.yaml import YAML
from shipped_params import make_shipped
from warm_python import UNREHEARSED

from attune.stage import all_params

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("warm_stages")]

DATASETS = Path(os.environ.get("ATTUNE_DATASETS", miniature.ROOT.parent / "shared" / "datasets"))
CRANFIELD = DATASETS / "cranfield"
MAKE = DATASETS.parent / "cases" / "make.py"
NOTHING_LEARNT = ("No change: ", "Cannot tell: ")  # of a verdict, where texts of train say nothing of those of test

needs_cases = pytest.mark.skipif(
    not MAKE.is_file(), reason=f"no {MAKE}: set ATTUNE_DATASETS to the folder of data sets that stands beside cases"
)
needs_cranfield = pytest.mark.skipif(
    not CRANFIELD.is_dir(), reason=f"no {CRANFIELD}: set ATTUNE_DATASETS to a folder that holds it"
)

Changes = dict[str, dict[str, Any]]
SHIPPED_SHARES: Changes = {"split": {"dev_share": 0.1, "test_share": 0.2}}
Facts = dict[str, Any]


class Project:
    """A miniature pipeline over somebody's data.

    Args:
        folder: of the pipeline, written here.
        changes: of its parameters.
        data: file or folder.
        columns: options --column of `attune check`.
    """

    def __init__(self, folder: Path, changes: Changes, data: Path, columns: Sequence[str] = ()) -> None:
        self.folder, self.data = folder, data
        self.columns = [word for column in columns for word in ("--column", column)]
        make_shipped(folder, {"collect": {"max_documents": 0}})
        self.change(changes)

    def change(self, changes: Changes) -> None:
        """Changes parameters of the pipeline."""
        miniature.change(self.folder, changes)

    def check(self) -> Facts:
        """Returns what `attune check --json` says; the pipeline reads the data as it proposes from here on."""
        done = attune(self.folder, "check", str(self.data), "--json", *self.columns)
        assert done.returncode == 0, done.stderr
        facts: Facts = json.loads(done.stdout)
        to_set = YAML(typ="safe").load("\n".join(facts["to_set"]))
        columns = all_params(self.folder / "params.yaml")["collect"]["columns"] | to_set.pop("columns", {})
        self.change({"collect": to_set | {"columns": columns}})
        return facts

    def refusal(self, stage: str = "split") -> str:
        """Returns the one line with which a stage stops."""
        done = miniature.dvc(self.folder, "repro", stage, check=False)
        assert done.returncode and "Traceback" not in done.stdout + done.stderr
        (line,) = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("attune")]
        return line

    def report(self, facts: Facts) -> Facts:
        """Runs the pipeline to its report, which has the queries, leaks and split that the check foretold."""
        miniature.dvc(self.folder, "repro", "report")
        report, split = self.receipt("report"), self.receipt("split")
        n_test = report["n_test_queries"]
        assert n_test == facts["split"]["n_test_queries"] == self.receipt("base")["n_queries"] > 0
        foretold = {key: value for key, value in facts["split"].items() if key in split}
        assert {key: split[key] for key in foretold} == pytest.approx(foretold, abs=5e-7)  # receipts hold six digits
        assert report["new_in_test"] == facts["split"]["new_in_test"]
        page = (self.folder / "metrics" / "report.md").read_text(encoding="utf-8")
        assert report["verdict"].split(":")[0] + ":" in page
        return report

    def receipt(self, name: str) -> Facts:
        """Reads a receipt of metrics/."""
        figures: Facts = json.loads((self.folder / "metrics" / f"{name}.json").read_text(encoding="utf-8"))
        return figures

    def leaks(self) -> dict[str, int]:
        """Returns the leaks by words that stage split counted, by kind, but for those that are 0."""
        return {key: n for key, n in self.receipt("split").items() if "_leaks." in key and n}

    def texts(self, split: str) -> set[str]:
        """Returns all texts of a split, queries and relevant documents."""
        queries = pl.read_parquet(self.folder / "data" / "splits" / split / "queries.parquet")
        corpus = pl.read_parquet(self.folder / "data" / "prepared" / "corpus.parquet")
        documents = pl.read_parquet(self.folder / "data" / "splits" / split / "documents.parquet")
        return {*queries["text"], *corpus.join(documents, on="document_id", how="semi")["text"]}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with the inputs of ../shared/cases."""
    folder = tmp_path_factory.mktemp("cases")
    subprocess.run([sys.executable, str(MAKE), str(folder)], check=True)
    both = [(folder / f"{name}.jsonl").read_text(encoding="utf-8") for name in ("two_way", "chain")]
    (folder / "both.jsonl").write_text("".join(both), encoding="utf-8")
    return folder


@pytest.fixture
def changes(quick: Changes, monkeypatch: pytest.MonkeyPatch) -> Changes:
    """Returns the parameters of the encoder, with which the miniature has rehearsed."""
    monkeypatch.setenv(UNREHEARSED, "1")
    return quick


def status(facts: Facts, code: str) -> str:
    said: str = facts["checks"][code]["status"]
    return said


def sentence(facts: Facts, code: str) -> str:
    said: str = facts["checks"][code]["sentence"]
    return said


def split_by_query(project: Project) -> Facts:
    """Sets split.by: query, which the check has to propose; returns what it then says."""
    facts = project.check()
    assert status(facts, "ATT031") == "failed" and "set split.by: query" in sentence(facts, "ATT031")
    assert "set split.by: query" in project.refusal()
    project.change({"split": {"by": "query"}})
    facts = project.check()
    assert status(facts, "ATT031") == status(facts, "ATT032") == status(facts, "ATT034") == "passed"
    return facts


@needs_cases
def test_many_to_many_gains(cases: Path, tmp_path: Path, changes: Changes) -> None:
    """Refused by cluster; by query a fifth and more is tested, batches are full, all is mined from, nDCG@10 rises."""
    project = Project(tmp_path / "project", changes | SHIPPED_SHARES, cases / "many_to_many")
    facts = split_by_query(project)
    assert 0.15 < facts["split"]["n_test_queries"] / facts["data"]["n_queries"] < 0.25
    assert facts["split"]["test_known_answers_share"] > 0.99
    most = facts["training"]["suggested_max_pairs_per_query"]
    assert f"set train.max_pairs_per_query: {most}" in sentence(facts, "ATT040")
    # fewer than it proposes, which is what a laptop can afford
    project.change({"train": {"max_pairs_per_query": 4, "epochs": 2, "learning_rate": 5e-4}})
    report = project.report(project.check())
    gain, trained = report["paired"]["ndcg@10"], project.receipt("train")
    assert 0 < gain["ci_low"] < gain["delta"] and not report["verdict"].startswith("Worse")
    assert report["systems"]["tuned"]["ndcg@10"] > report["systems"]["base"]["ndcg@10"]
    assert trained["mean_batch_fill"] > 0.99 and not project.leaks()
    mined = pl.read_parquet(project.folder / "data" / "mined" / "r1" / "triplets.parquet")
    judged = pl.read_parquet(project.folder / "data" / "splits" / "train" / "qrels.parquet")
    negatives = mined.explode("negative_ids").select("query_id", document_id="negative_ids")
    assert negatives.join(judged, on=["query_id", "document_id"]).is_empty()
    assert negatives["document_id"].n_unique() > 500  # of 1,500


@needs_cranfield
def test_cranfield_loses_nothing(tmp_path: Path, changes: Changes) -> None:
    """Real graded judgments, half of them one cluster: by query dev and test have their shares, and no loss."""
    project = Project(tmp_path / "project", changes, CRANFIELD)
    facts = split_by_query(project)
    assert facts["data"]["n_queries"] == 225 and facts["split"]["n_dev_queries"] > 30
    assert status(facts, "ATT033") == "failed" and "only a large gain" in sentence(facts, "ATT033")
    report = project.report(facts)
    assert report["n_test_queries"] > 50 and not project.leaks()
    assert not report["verdict"].startswith("Worse")
    assert report["paired"]["ndcg@10"]["delta"] >= 0
    assert project.receipt("train")["mean_batch_fill"] > 0.99


@needs_cases
def test_intents_say_what_is_new(cases: Path, tmp_path: Path, changes: Changes) -> None:
    """Thirty labels are the documents: the check leaves the choice to the user; check and report say what it means."""
    project = Project(tmp_path / "project", changes, cases / "labels.jsonl")
    by_cluster = project.check()
    assert status(by_cluster, "ATT038") == "undecided"
    assert sentence(by_cluster, "ATT038").startswith("30 documents of 2 words answer 600 queries: they look like")
    assert by_cluster["split"]["new_in_test"].startswith("new queries and new documents")
    documents = [by_cluster["split"][f"n_{split}_documents"] for split in ("train", "dev", "test")]
    assert sum(documents) == 30 and min(documents) > 0
    project.change({"split": {"by": "query"}})
    facts = project.check()
    assert status(facts, "ATT038") == "undecided"
    assert sentence(facts, "ATT038").endswith("params.yaml has the second")
    assert facts["split"]["n_train_documents"] == facts["split"]["n_test_documents"] == 30
    report = project.report(facts)
    assert report["new_in_test"].startswith("new queries over known documents; training knew 100% of the answers")
    assert report["verdict"].startswith(NOTHING_LEARNT) and not project.leaks()


@needs_cases
def test_queries_that_are_documents_leak_nowhere(cases: Path, tmp_path: Path, changes: Changes) -> None:
    """Pairs in both directions, and chains: counted; no text of test is one of train or dev, in either role."""
    project = Project(tmp_path / "project", changes, cases / "both.jsonl")
    for name, n_queries, n_turned in (("two_way", 480, 240), ("chain", 200, 0), ("both", 680, 240)):
        project.data = cases / f"{name}.jsonl"
        facts = project.check()
        assert status(facts, "ATT039") == "failed"
        assert sentence(facts, "ATT039").startswith(f"{n_queries:,} of {facts['data']['n_queries']:,} queries are also")
        assert f"; {n_turned:,} pairs are given in both directions" in sentence(facts, "ATT039")
    assert "set split.leave_out_own_text: true" in sentence(facts, "ATT039")
    project.change({"split": {"leave_out_own_text": True}})
    facts = project.check()
    assert status(facts, "ATT039") == "passed"
    report = project.report(facts)
    assert report["verdict"].startswith(NOTHING_LEARNT) and not project.leaks()
    train, dev, test = (project.texts(split) for split in ("train", "dev", "test"))
    assert test and not test & (train | dev) and not train & dev
    # no query finds itself: its own text, which is a document, is none of its first hundred
    corpus = pl.read_parquet(project.folder / "data" / "prepared" / "corpus.parquet").select("document_id", own="text")
    queries = pl.read_parquet(project.folder / "data" / "splits" / "test" / "queries.parquet")
    run = pl.read_parquet(project.folder / "data" / "runs" / "base" / "run.parquet")
    found = run.join(queries, on="query_id").join(corpus, on="document_id")
    assert not found.is_empty() and found.filter(pl.col("text") == pl.col("own")).is_empty()


@needs_cases
def test_empty_cells_are_named_and_left_out(cases: Path, tmp_path: Path, changes: Changes) -> None:
    """One query *nan* with 40 answers: the check names it; with the cells empty, 40 rows are left out and counted."""
    project = Project(tmp_path / "project", changes, cases / "nan_queries.csv")
    facts = project.check()
    assert status(facts, "ATT037") == "failed"
    assert sentence(facts, "ATT037").startswith("40 of 200 pairs have queries that read like empty cells: 'nan' (40 a")
    with project.data.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    project.data = tmp_path / "mended.csv"
    with project.data.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *(["" if cell == "nan" else cell for cell in row] for row in rows)])
    facts = project.check()
    assert status(facts, "ATT037") == "passed" and facts["data"]["n_judgments"] == 160
    report = project.report(facts)
    assert project.receipt("collect")["n_dropped_query_blank"] == 40
    assert report["verdict"].startswith(NOTHING_LEARNT) and not project.leaks()


@needs_cases
def test_words_find_answers_without_spaces(cases: Path, tmp_path: Path, changes: Changes) -> None:
    """Chinese, which the check says the encoder cannot read: mine finds no negatives, BM25 nearly all answers."""
    project = Project(tmp_path / "project", changes, cases / "spaceless.jsonl")
    facts = project.check()
    assert status(facts, "ATT045") == status(facts, "ATT048") == "failed"
    assert "cannot read Han (200 of 200 documents and 200 of 200 queries)" in sentence(facts, "ATT045")
    assert "set release.languages: [zh]" in sentence(facts, "ATT048")
    project.change({"release": {"languages": ["zh"]}})
    facts = project.check()
    assert status(facts, "ATT048") == "passed"
    # all texts look alike to the encoder, so that any may answer any query
    assert "0 train documents that may be its negatives, 1 needed; lower mine.n_negatives" in project.refusal("mine@r1")
    project.change({"mine": {"n_negatives": 0}})
    report = project.report(facts)
    assert report["systems"]["bm25"]["recall@10"] > 0.95 and not project.leaks()
    assert report["systems"]["base"]["recall@10"] < report["systems"]["bm25"]["recall@10"]


@needs_cases
def test_decomposed_letters_are_the_same_letters(cases: Path, tmp_path: Path, changes: Changes) -> None:
    """30 test queries repeat train's in another form of Unicode: counted, stopped, and no verdict where let on."""
    project = Project(tmp_path / "project", changes, cases / "composed.jsonl")
    own = project.check()["split"]  # attune's own split has no such leak
    assert own["made_by"] == "attune" and not any(n for key, n in own.items() if "_leaks." in key)
    project.columns = ["--column", "split=split"]
    facts = project.check()
    assert status(facts, "ATT034") == "failed" and "(30 exact queries, 30 near queries)" in sentence(facts, "ATT034")
    assert "raise split.max_leak_share" in sentence(facts, "ATT034")
    assert "30 exact_queries of test (100.0%) are also in train" in project.refusal()
    project.change({"split": {"max_leak_share": 1.0}, "release": {"languages": ["de"]}})
    facts = project.check()
    assert facts["split"]["test_leaks.exact_queries"] == facts["split"]["n_test_queries"] == 30
    report = project.report(facts)
    assert project.leaks()["test_leaks.exact_queries"] == 30
    assert report["verdict"].startswith("Not measurable: fewer than two clusters of test queries are without leaks")
    assert report["systems"]["bm25"]["recall@5"] == 1


@needs_cases
def test_own_negatives_and_odd_line_ends_train(cases: Path, tmp_path: Path, changes: Changes) -> None:
    """A query with four negatives among 300 keeps its own; general text with U+2028, U+2029 and U+0085 is read."""
    columns = ["negatives=negative_0,negative_1,negative_2,negative_3"]
    project = Project(tmp_path / "project", changes, cases / "uneven_negatives.jsonl", columns)
    facts = project.check()
    assert facts["data"]["n_own_negatives"] == 4 and status(facts, "ATT041") == "failed"
    assert sentence(facts, "ATT041").startswith("1 of 300 queries bring negatives of their own, up to 4; ")
    assert "mine.n_negatives (1)" in sentence(facts, "ATT041")
    project.change({"mine": {"n_negatives": 4}, "train": {"general": str(cases / "separators.jsonl")}})
    facts = project.check()
    assert status(facts, "ATT041") == "passed"
    report = project.report(facts)
    assert report["verdict"].startswith(NOTHING_LEARNT) and not project.leaks()
    assert project.receipt("mine")["n_given_by_user"] == 4
    row = json.loads(project.data.read_text(encoding="utf-8").split("\n")[0])
    mined = pl.read_parquet(project.folder / "data" / "mined" / "r1" / "triplets.parquet")
    corpus = pl.read_parquet(project.folder / "data" / "prepared" / "corpus.parquet")
    ids = mined.filter(pl.col("text") == row["query"]).explode("negative_ids")["negative_ids"]
    own = corpus.filter(pl.col("document_id").is_in(ids.implode()))["text"]
    assert len(ids) == 4 and set(own) == {row[f"negative_{k}"] for k in range(4)}
    assert mined["negative_ids"].list.len().unique().to_list() == [4]  # the others have mined ones
    assert project.receipt("merge")["n_general_queries"] == 2  # of three pairs; one may be trained on


@needs_cases
@pytest.mark.parametrize(
    ("name", "columns", "n_rows"), [("lone_quotes.tsv", [], 4), ("separators.jsonl", ["document=passage"], 3)]
)
def test_too_few_rows_are_read_whole_and_refused(
    cases: Path, tmp_path: Path, changes: Changes, name: str, columns: Sequence[str], n_rows: int
) -> None:
    """No lone quotation mark, U+2028, U+2029 or U+0085 ends a row; check and stage split say that there are too few."""
    project = Project(tmp_path / "project", changes | SHIPPED_SHARES, cases / name, columns)
    facts = project.check()
    assert facts["data"]["n_queries"] == facts["data"]["n_documents"] == n_rows
    assert status(facts, "ATT032") == "failed" and "the dev split is empty: add data" in sentence(facts, "ATT032")
    assert "split is empty" in project.refusal()
    collected = project.receipt("collect")
    assert (collected["n_queries"], collected["n_documents"]) == (n_rows, n_rows)
