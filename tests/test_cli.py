"""The commands that are not stages: what they print, and how they fail."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from attune import cli
from attune.demo import System
from attune.errors import BadInput

runner = CliRunner()


def system(name: str, vectors: list[list[float]]) -> System:
    documents = [
        ("d0", "numpy.vstack", "def vstack(tup): ..."),
        ("d1", "[b]markup[/b]", "<i>x</i>"),
        ("d2", "", "no title"),
    ]
    return System(
        name,
        lambda texts: np.array([[1.0, 0.0]] * len(texts), dtype=np.float32),
        np.array(vectors, np.float32),
        documents,
    )


@pytest.fixture
def two_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    systems = [system("base", [[0.1, 0], [0.9, 0], [0.5, 0]]), system("tuned (ONNX)", [[0.9, 0], [0.8, 0], [0.1, 0]])]
    monkeypatch.setattr("attune.demo.load_systems", lambda root: systems)


def test_search_shows_both_rankings_side_by_side(two_systems: None) -> None:
    """Best first in each column, scores shown, what only the tuned encoder found is marked, markup is text."""
    done = runner.invoke(cli.app, ["search", "stack arrays", "--k", "2"], env={"COLUMNS": "140"})
    assert done.exit_code == 0, done.output
    first = next(line for line in done.output.splitlines() if "numpy.vstack" in line)
    assert first.index("[b]markup[/b]") < first.index("+ numpy.vstack")
    assert "0.900" in first
    assert "<i>x</i>" in done.output


def test_search_without_a_query_or_a_finished_pipeline_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what to do."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="corpus.parquet: not found; run `dvc repro`"):
        runner.invoke(cli.app, ["search", "x"], catch_exceptions=False)
    with pytest.raises(BadInput, match="the query is empty"):
        runner.invoke(cli.app, ["search", " "], catch_exceptions=False)


def test_the_command_ends_with_one_line_and_a_non_zero_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`attune verify` of a folder that is no model."""
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


HEAVY = ("torch", "polars", "faiss", "transformers", "sentence_transformers")


def heavy_after(statement: str) -> list[str]:
    """The heavy modules that a fresh interpreter has loaded after a statement."""
    code = f"import json, sys; {statement}; print(json.dumps(sorted(set(sys.modules) & set({HEAVY!r}))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout.splitlines()[-1]))


def test_help_and_verify_load_nothing_heavy(tiny_onnx: Path) -> None:
    """Only `attune search` needs torch, polars and faiss; nobody else should wait for them."""
    assert heavy_after("import attune.cli") == []
    for arguments in (["--help"], ["verify", str(tiny_onnx)]):
        command = f"from attune.cli import app; app({arguments!r}, standalone_mode=False)"
        assert heavy_after(command) == []


def test_the_heavy_module_test_can_fail() -> None:
    """The tables load polars."""
    assert heavy_after("import attune.tables") == ["polars"]
