"""First use: a csv with two columns becomes a tuned model by the README's two commands, and by an agent's page."""

import csv
import json
import re
import shlex
from pathlib import Path
from typing import Any

import miniature
import pytest
from branches import git
from command_lines import Finished, run_here
from growing import miniature_pairs
from pydantic import TypeAdapter
from ruamel.yaml import YAML
from warm_python import UNREHEARSED

from attune.cli.answers import answer_of
from attune.cli.main import COMMANDS as REGISTERED
from attune.cli.main import main
from attune.cli.repository.product import template
from attune.runtime import verify
from attune.stage import load_params
from attune.stages.collect import CollectParams

SECTION = (
    (miniature.ROOT / "README.md").read_text(encoding="utf-8").partition("## Your own data")[2].partition("\n## ")[0]
)
COMMANDS = re.findall(r"^\$ (.+)$", SECTION, re.MULTILINE)
PAGE = (miniature.ROOT / "docs" / "agents.md").read_text(encoding="utf-8")
STEPS = re.split(r"^## \d+\. ", PAGE.partition("\n## What each command")[0], flags=re.MULTILINE)[1:]
COMMIT = ("git add -A", 'git commit -m "A first run"')
# so that one run shows both a user's way and that passages go from prepare to report and release
IN_PASSAGES = {"prepare": {"passages": {"tokens": 24, "overlap": 0}}}


def commands(text: str) -> list[str]:
    """Returns the commands of the console blocks."""
    return re.findall(r"^\$ (.+)$", text, re.MULTILINE)


def keys(content: object) -> set[str]:
    """Returns the keys of an object at any depth."""
    if isinstance(content, list):
        return set().union(*map(keys, content))
    return set(content) | set().union(*map(keys, content.values())) if isinstance(content, dict) else set()


def answer(command: str, done: Finished) -> dict[str, Any]:
    """Returns what a command printed, which its schema must allow, with the exit code that the page promises."""
    content: dict[str, Any] = json.loads(done.stdout)
    functions = {function.__name__: function for function in REGISTERED}
    adapter = TypeAdapter(answer_of(functions[shlex.split(command)[1]]))
    assert adapter.dump_python(adapter.validate_json(done.stdout), mode="json") == content
    assert done.returncode == (not content.get("may_merge", True)), done.stderr
    return content


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, quick: dict[str, dict[str, Any]]) -> tuple[Path, Finished]:
    """The repository that the pages' first command makes of the README's csv, filled with pairs like the miniature's.

    The README's command is the agents' page's without --json, so that one repository serves both.
    """
    folder = tmp_path_factory.mktemp("walkthrough")
    recipe = YAML(typ="safe").load(miniature.MINIATURE.read_text())
    header = re.search(r"```csv\n(.+)\n", SECTION)
    assert header is not None
    with (folder / "faq.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(header[1].split(","))
        rows.writerows(miniature_pairs(folder, 160))
    program, *arguments = shlex.split(commands(STEPS[0])[0])
    done = run_here(main, folder, *arguments)
    assert (program, done.returncode) == ("attune", 0), done.stderr
    del recipe["collect"]  # the data are those of the csv
    miniature.change(folder / "shop", recipe)
    miniature.change(folder / "shop", quick | IN_PASSAGES)
    return folder / "shop", done


@pytest.fixture
def project(made: tuple[Path, Finished]) -> Path:
    """The repository."""
    return made[0]


def test_there_are_two_commands(project: Path) -> None:
    """Nothing has to be written between the first command and the run: parameters are set, files are committed."""
    assert len(COMMANDS) == 2 and COMMANDS[1] == "cd shop && make repro"
    assert commands(STEPS[0]) == [f"{COMMANDS[0]} --json"]
    params = load_params(CollectParams, "collect", project / "params.yaml")
    assert (params.source, params.path, params.columns.query) == ("pairs", "data/own/faq.csv", "question")
    assert set(git(project, "diff", "--name-only", "HEAD").split()) <= {"params.yaml", "advanced.yaml"}
    assert git(project, "ls-files", "--others", "--exclude-standard") == ""


def test_the_csv_becomes_a_tuned_model_and_a_report(
    project: Path, warm_stages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pipeline runs, on passages, the shipped model verifies, and the repository's README shows its results."""
    monkeypatch.setenv("PYTHONPATH", str(miniature.ROOT / "src"))
    monkeypatch.setenv(UNREHEARSED, "1")  # the miniature rehearses with this encoder
    miniature.dvc(project, "repro")
    report = json.loads((project / "metrics" / "report.json").read_text())
    assert report["n_test_queries"] > 20
    assert report["tuned_recall@10"] > report["baseline_recall@10"]
    base = json.loads((project / "metrics" / "base.json").read_text())
    assert base["n_passages"] > 2 * base["n_documents"]
    assert report["baseline_recall@10"] == pytest.approx(base["recall@10"], abs=1e-6)
    collected = json.loads((project / "metrics" / "collect.json").read_text())
    assert collected["source"] == "pairs" and collected["n_documents"] > 100
    split = json.loads((project / "metrics" / "split.json").read_text())
    assert not any(n for key, n in split.items() if "leaks" in key)
    verify(project / "models" / "onnx")
    assert run_here(main, project, "results", "--write", "README.md").returncode == 0
    assert "| tuned minus base |" in (project / "README.md").read_text()
    assert "Stage 'train@r1' didn't change" in miniature.dvc(project, "repro").stdout


def test_an_agent_goes_from_the_csv_to_a_verdict_by_its_page(
    made: tuple[Path, Finished], warm_stages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its commands run in their order; each answer is as its schema says and has the keys that its step reads."""
    monkeypatch.setenv("PYTHONPATH", str(miniature.ROOT / "src"))
    monkeypatch.setenv(UNREHEARSED, "1")  # the miniature rehearses with this encoder
    project, first = made
    answers: dict[str, dict[str, Any]] = {}
    for step in STEPS:
        for command in commands(step):
            if command == "make repro":
                miniature.dvc(project, "repro")  # runs nothing where the test above has run it
            elif command in COMMIT:
                git(project, *shlex.split(command)[1:])
            elif command == commands(STEPS[0])[0]:
                answers[command] = answer(command, first)
            else:
                answers[command] = answer(command, run_here(main, project, *shlex.split(command)[1:]))
        paragraphs = [text for text in step.split("\n\n") if text.startswith("Read ")]
        told = set(re.findall(r"`([a-z_]+)`", " ".join(paragraphs)))
        assert paragraphs or commands(step) == ["make repro"]
        assert told <= keys([answers[each] for each in commands(step) if each in answers])
        assert "**Stop and ask**" in step or "| stop: " in step
    verdict = answers["attune results --json"]["verdict"]
    rows = re.findall(r"^\| ([A-Z][\w, ]+) \| (?:go on|stop)", STEPS[3], re.MULTILINE)
    assert verdict in ", ".join(rows).split(", ")
    assert answers["attune diff --json"]["differences"][0]["delta"]["recall@10"] > 0
    assert (
        answers["attune judge --json"]["n_judged"] == 0 and (project / answers["attune judge --json"]["sheet"]).exists()
    )


def test_what_a_new_repository_tells_agents_is_of_that_page() -> None:
    """AGENTS.md has at most 40 lines, and no command that the walk above does not run."""
    text = template("AGENTS.md")
    assert len(text.splitlines()) <= 40
    named = {re.sub(r'"[^"]*"', '""', each) for each in re.findall(r"`((?:attune|make) [^`]+)`", text)}
    walked = {re.sub(r'"[^"]*"', '""', each) for step in STEPS for each in commands(step)}
    assert named - walked <= {"attune schema COMMAND", "attune schema error"}
