"""First use: a csv with two columns becomes a tuned model by the README's two commands."""

import csv
import json
import re
import shlex
from pathlib import Path
from typing import Any

import miniature
import pytest
from branches import git
from command_lines import run_here
from ruamel.yaml import YAML

from attune.cli.main import main
from attune.runtime import verify
from attune.stage import load_params
from attune.stages.collect import CollectParams, read_source

SECTION = (
    (miniature.ROOT / "README.md").read_text(encoding="utf-8").partition("## Your own data")[2].partition("\n## ")[0]
)
COMMANDS = re.findall(r"^\$ (.+)$", SECTION, re.MULTILINE)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, quick: dict[str, dict[str, Any]]) -> Path:
    """The repository that the README's first command makes of its csv, filled with pairs of the miniature's kind."""
    folder = tmp_path_factory.mktemp("walkthrough")
    recipe = YAML(typ="safe").load(miniature.MINIATURE.read_text())
    miniature.write_params(folder, {"collect": recipe["collect"] | {"max_documents": 160}})
    raw = read_source(load_params(CollectParams, "collect", folder / "params.yaml"))
    queries = {query.query_id: query.text for query in raw.queries}
    texts = {document.document_id: document.text for document in raw.documents}
    header = re.search(r"```csv\n(.+)\n", SECTION)
    assert header is not None
    with (folder / "faq.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(header[1].split(","))
        rows.writerows((queries[qrel.query_id], texts[qrel.document_id]) for qrel in raw.qrels["all"])
    program, *arguments = shlex.split(COMMANDS[0])
    done = run_here(main, folder, *arguments)
    assert (program, done.returncode) == ("attune", 0), done.stderr
    del recipe["collect"]  # the data are those of the csv
    miniature.change(folder / "shop", recipe)
    miniature.change(folder / "shop", quick)
    return folder / "shop"


def test_there_are_two_commands(project: Path) -> None:
    """Nothing has to be written between the first command and the run: parameters are set, files are committed."""
    assert len(COMMANDS) == 2 and COMMANDS[1] == "cd shop && make repro"
    params = load_params(CollectParams, "collect", project / "params.yaml")
    assert (params.source, params.path, params.columns.query) == ("pairs", "data/own/faq.csv", "question")
    assert set(git(project, "diff", "--name-only", "HEAD").split()) <= {"params.yaml", "advanced.yaml"}
    assert git(project, "ls-files", "--others", "--exclude-standard") == ""


def test_the_csv_becomes_a_tuned_model_and_a_report(
    project: Path, warm_stages: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pipeline runs, the shipped model verifies, and the repository's README shows its results."""
    monkeypatch.setenv("PYTHONPATH", str(miniature.ROOT / "src"))
    miniature.dvc(project, "repro")
    report = json.loads((project / "metrics" / "report.json").read_text())
    assert report["n_test_queries"] > 20
    assert report["tuned_recall@10"] > report["baseline_recall@10"]
    collected = json.loads((project / "metrics" / "collect.json").read_text())
    assert collected["source"] == "pairs" and collected["n_documents"] > 100
    split = json.loads((project / "metrics" / "split.json").read_text())
    assert not any(n for key, n in split.items() if "leaks" in key)
    verify(project / "models" / "onnx")
    assert run_here(main, project, "results", "--write", "README.md").returncode == 0
    assert "| tuned minus base |" in (project / "README.md").read_text()
    assert "Stage 'train@r1' didn't change" in miniature.dvc(project, "repro").stdout
