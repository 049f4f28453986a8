"""Finds the files of this project that a file imports, at any depth."""

import ast
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src"


@cache
def imported(file: Path, source: Path = SOURCE) -> set[Path]:
    """Returns the project's own files that a file imports, at any depth of its code."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            path = source.joinpath(*name.split("."))
            found.update(p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file())
    return found


@cache
def has_code(file: Path) -> bool:
    return any(not isinstance(node, ast.Expr) for node in ast.parse(file.read_text()).body)


def closure(file: Path, source: Path = SOURCE) -> set[str]:
    """Returns every project file that running a file reads, itself included, relative to the project's root.

    A package counts when its __init__.py holds code.
    """
    seen: set[Path] = set()
    waiting = [file]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting += imported(current, source)
    files = {path for path in seen if path.name != "__init__.py" or has_code(path)}
    # a template is a dependency of whoever names it
    files |= {
        path for path in source.glob("attune/**/templates/*") if any(path.name in file.read_text() for file in seen)
    }
    return {path.relative_to(source.parent).as_posix() for path in files}
