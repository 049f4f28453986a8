"""Rules of style that no linter knows: how docstrings open, and how long a file is."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAX_LINES = 300  # of a file of the product: one thought


def riddles(source: str) -> Iterator[str]:
    """Yields the first lines of docstrings that open with *What* in place of a verb or the field's noun."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first = (ast.get_docstring(node) or "").partition("\n")[0]
            if first.startswith("What "):
                yield first


def test_no_docstring_opens_with_what() -> None:
    """A docstring names its subject; one that opens with *What* has to be read twice."""
    files = [path for folder in ("src", "tests", "examples") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 500
    assert [(path.name, first) for path in files for first in riddles(path.read_text(encoding="utf-8"))] == []
    planted = 'def score():\n    """What it scores."""\n\ndef rank():\n    """Returns what it ranks."""'
    assert list(riddles(planted)) == ["What it scores."]


def test_files_are_short() -> None:
    """No file of the product has more than 300 lines."""
    lengths = {path: path.read_text(encoding="utf-8").count("\n") for path in (ROOT / "src").rglob("*.py")}
    assert [path for path, n in lengths.items() if n > MAX_LINES] == [] and max(lengths.values()) > MAX_LINES / 2
