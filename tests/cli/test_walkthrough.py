"""First use: a csv with two columns becomes a tuned model by the README's three steps."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import miniature
import pytest
from ruamel.yaml import YAML

from attune.runtime import verify
from attune.stage import load_params
from attune.stages.collect import CollectParams, read_source

README = (miniature.ROOT / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("## Your own data")[2].partition("\n## ")[0]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the README's csv in place, filled with pairs of the miniature's kind."""
    folder = tmp_path_factory.mktemp("walkthrough") / "project"
    miniature.make(folder, {"collect": {"max_documents": 0}} | miniature.ONE_THREAD)
    params = load_params(CollectParams, "collect", folder / "params.yaml")
    raw = read_source(params.model_copy(update={"max_documents": 160}))
    queries = {query.query_id: query.text for query in raw.queries}
    texts = {document.document_id: document.text for document in raw.documents}
    header = re.search(r"```csv\n(.+)\n", SECTION)
    assert header is not None
    with (folder / "data" / "own" / "faq.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(header[1].split(","))
        rows.writerows((queries[qrel.query_id], texts[qrel.document_id]) for qrel in raw.qrels["all"])
    return folder


def test_the_check_of_step_1_prints_the_lines_of_step_2(project: Path) -> None:
    """The README's command, run in the project's folder."""
    command = re.search(r"\$ attune (check .+)\n", SECTION)
    assert command is not None
    program = [sys.executable, "-c", "from attune.cli.main import main; main()", *command[1].split()]
    done = subprocess.run(program, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    printed = YAML(typ="safe").load(done.stdout.partition("section collect:\n")[2].partition("then:")[0])
    assert printed == changes()["collect"]


def changes() -> dict[str, dict[str, Any]]:
    """Returns the parameters that the README says to set."""
    block = re.search(r"```yaml\n(.*?)```", SECTION, re.DOTALL)
    assert block is not None
    parameters: dict[str, dict[str, Any]] = YAML(typ="safe").load(block[1])
    return parameters


def test_the_csv_becomes_a_tuned_model_and_a_report(project: Path, warm_stages: None) -> None:
    """Steps 2 and 3: only those lines are set, the pipeline runs, and the shipped model verifies."""
    edits = changes()["collect"]
    yaml = YAML()
    params = yaml.load((project / "params.yaml").read_text())
    params["collect"]["columns"] |= edits.pop("columns")
    params["collect"] |= edits
    with (project / "params.yaml").open("w") as file:
        yaml.dump(params, file)
    miniature.dvc(project, "repro")
    report = json.loads((project / "metrics" / "report.json").read_text())
    assert report["n_test_queries"] > 20
    assert report["tuned_recall@10"] > report["baseline_recall@10"]
    collected = json.loads((project / "metrics" / "collect.json").read_text())
    assert collected["source"] == "pairs" and collected["n_documents"] > 100
    split = json.loads((project / "metrics" / "split.json").read_text())
    assert not any(n for key, n in split.items() if "leaks" in key)
    verify(project / "models" / "onnx")
