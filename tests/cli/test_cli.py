"""Commands that are not stages: their output and their failures."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_lines import run_here
from typer.testing import CliRunner

from attune.cli import main as cli
from attune.cli.demo.comparison import PairedSearch, SearchSystem
from attune.errors import BadInput
from attune.runtime.search import Search

runner = CliRunner()


DOCUMENTS = {
    "d0": ("numpy.vstack", "def vstack(tup): ..."),
    "d1": ("[b]markup[/b]", "<i>x</i>"),
    "d2": ("", "no title"),
}


def system(name: str, scores: list[float]) -> SearchSystem:
    vectors = np.array([[score] for score in scores], dtype=np.float32)
    encode = lambda texts: np.ones((len(texts), 1), dtype=np.float32)  # noqa: E731
    return SearchSystem(name, "numpy", encode, Search.build(vectors, list(DOCUMENTS)))


def test_search_shows_both_rankings_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Best first in each column, with scores, changes of rank and answers; markup is shown as text."""
    systems = (system("base", [0.1, 0.9, 0.5]), system("tuned", [0.9, 0.8, 0.1]))
    monkeypatch.setattr("attune.cli.demo.examples.read_answers", lambda root: {"stack arrays": {"d0"}})
    monkeypatch.setattr(
        "attune.cli.demo.comparison.load_search",
        lambda root, params, answers, is_hybrid: PairedSearch(systems, DOCUMENTS, answers, params.depth),
    )
    done = runner.invoke(cli.app, ["search", "stack arrays", "--k", "2"], env={"COLUMNS": "140"})
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    first = next(line for line in lines if "numpy.vstack" in line)
    assert first.index("[b]markup[/b]") < first.index("numpy.vstack answer")
    below = lines[lines.index(first) + 1]
    assert below.index("0.900  down 1, from 1 to 2") < below.index("0.900  up 2, from 3 to 1")
    assert "<i>x</i>" in done.output


def test_search_without_a_query_is_one_line() -> None:
    """The line has the next step; test_demo.py has the case of a pipeline that has not run."""
    with pytest.raises(BadInput, match="the query is empty"):
        runner.invoke(cli.app, ["search", " "], catch_exceptions=False)


def test_the_command_ends_with_one_line_and_a_non_zero_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`attune verify` of a folder without a model."""
    monkeypatch.setattr("sys.argv", ["attune", "verify", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("attune: ") and error.count("\n") == 1 and "manifest.json" in error


def test_verify_approves_an_exported_model(tiny_onnx: Path) -> None:
    """Every hash and every golden vector is checked."""
    done = runner.invoke(cli.app, ["verify", str(tiny_onnx)])
    assert done.exit_code == 0, done.output
    assert "every golden vector" in " ".join(done.output.split())


HEAVY = ("torch", "polars", "faiss", "transformers", "sentence_transformers", "matplotlib", "pyarrow", "sklearn")


def heavy_after(statement: str, heavy: tuple[str, ...] = HEAVY) -> list[str]:
    """Returns the heavy modules that a fresh interpreter has loaded after a statement."""
    code = f"import json, sys; {statement}; print(json.dumps(sorted(set(sys.modules) & set({heavy!r}))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout.splitlines()[-1]))


def test_help_and_verify_load_nothing_heavy(tiny_onnx: Path) -> None:
    """torch, polars and faiss take seconds to import, and only other commands need them."""
    assert heavy_after("import attune.cli.main") == []
    for arguments in (["--help"], ["verify", str(tiny_onnx)]):
        command = f"from attune.cli.main import app; app({arguments!r}, standalone_mode=False)"
        assert heavy_after(command) == []


def test_gate_and_comment_import_no_more_than_the_review_extra() -> None:
    """A pull request's job installs neither polars nor torch nor matplotlib."""
    assert heavy_after("import attune.cli.review.comment, attune.cli.review.gate") == []


def test_gate_and_comment_import_nothing_that_only_other_commands_need() -> None:
    """The graphs' runtime and a root finder: a third of a second of the three that a gate may take."""
    imported = "import attune.cli.main, attune.cli.review.comment; from attune.evaluation.checks import catalogue"
    assert heavy_after(f"{imported}; catalogue.catalogue()", ("onnxruntime", "scipy.optimize")) == []


def test_the_heavy_module_test_can_fail() -> None:
    """The tables load polars."""
    assert heavy_after("import attune.tables") == ["polars"]


@pytest.mark.parametrize(
    ("command", "place"),
    [
        ("gate", "attune.cli.review.gate.judge_project"),
        ("same", "attune.cli.review.same.compare"),
        ("comment", "attune.cli.review.comment.comment"),
    ],
)
@pytest.mark.parametrize(("error", "said"), [(BadInput("a: b"), ": a: b\n"), (ZeroDivisionError("x"), "ZeroDivision")])
def test_a_command_that_fails_itself_exits_with_2(
    monkeypatch: pytest.MonkeyPatch, command: str, place: str, error: Exception, said: str
) -> None:
    """1 is a verdict: neither bad input nor a fault of the program may read as one; only the fault has a traceback."""

    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(place, broken)
    done = runner.invoke(cli.app, [command])
    assert done.exit_code == 2
    assert said in done.output and ("Traceback" in done.output) == isinstance(error, ZeroDivisionError)


@pytest.mark.parametrize("command", ["gate", "same", "comment"])
def test_outside_of_a_project_the_answer_is_one_line_and_2(tmp_path: Path, command: str) -> None:
    """Nothing is judged there, so neither 0 nor 1."""
    done = run_here(cli.main, tmp_path, command)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, "")
    assert done.stderr.startswith(f"attune {command}: ") and "not" in done.stderr
