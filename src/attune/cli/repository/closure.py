"""Static import closure of a stage: the files of attune that it reads, at any depth, and a hash of their code."""

import ast
import hashlib
import io
import re
import tokenize
from collections.abc import Iterable
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[3]  # src in a checkout, site-packages in an installation
PACKAGE = "attune"
LISTING = "pkgutil"  # a file that imports it loads every module of the packages that it imports
N_DIGITS = 12  # of a hash in hex


@cache
def imported(file: Path, source: Path = SOURCE) -> set[Path]:
    """Returns attune's own files that a file imports, at any depth of its code.

    Where it lists the modules of packages to load them (pkgutil), every module of each package that it imports counts.
    """
    found: set[Path] = set()
    packages: set[Path] = set()
    is_listing = False
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names, last = [], []
        if isinstance(node, ast.Import):
            names = last = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            last = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [node.module, *last]
        is_listing |= LISTING in names
        for name in names:
            if name.partition(".")[0] == PACKAGE:
                path = source.joinpath(*name.split("."))
                found.update(p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file())
                packages |= {path} if name in last and path.is_dir() else set()
    return found.union(*(package.glob("*.py") for package in packages)) if is_listing else found


@cache
def has_code(file: Path) -> bool:
    """Says if a file holds more than docstrings."""
    return any(not isinstance(node, ast.Expr) for node in ast.parse(file.read_text(encoding="utf-8")).body)


def closure(file: Path, source: Path = SOURCE) -> set[Path]:
    """Returns every file of attune that running a file reads, itself included.

    A package counts when its __init__.py holds code, a template when a file or another template of it names it.
    """
    seen: set[Path] = set()
    waiting = [file]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting += imported(current, source)
    files = {path for path in seen if path.name != "__init__.py" or has_code(path)}
    return files | _templates(seen, source)


def _templates(files: Iterable[Path], source: Path) -> set[Path]:
    """Returns the templates that files name, and those that these include or import, at any depth."""
    every = set(source.glob(f"{PACKAGE}/**/templates/*"))
    found: set[Path] = set()
    texts = [file.read_text(encoding="utf-8") for file in files]
    while texts:
        named = {path for path in every - found if any(_names(text, path.name) for text in texts)}
        found |= named
        texts = [path.read_text(encoding="utf-8") for path in named]
    return found


def _names(text: str, name: str) -> bool:
    """Tells whether a text holds a file's name, and not only as the end of a longer name."""
    return re.search(rf"(?<![\w.-]){re.escape(name)}", text) is not None


def stage_file(name: str, source: Path = SOURCE) -> Path:
    """Returns the file of a stage: `mine`, or with its room where there are two of one name, `served.train`."""
    room, _, own = name.rpartition(".")
    return source / PACKAGE / (room or "stages") / f"{own}.py"


def stage_names(source: Path = SOURCE) -> list[str]:
    """Returns the names of all stages, sorted; those that parameter programs.tuning chooses with their room."""
    own, served = (
        {path.stem for path in (source / PACKAGE / room).glob("*.py")} - {"__init__"} for room in ("stages", "served")
    )
    return sorted({*own - served, *(f"{room}.{name}" for room in ("stages", "served") for name in served)})


def code_hash(name: str, source: Path = SOURCE) -> str:
    """Returns the hash of a stage's code: of all files of its closure, without comments and docstrings."""
    digest = hashlib.sha256()
    for path in sorted(closure(stage_file(name, source), source)):
        digest.update(f"{path.relative_to(source).as_posix()}\0{_code(path)}\0".encode())
    return digest.hexdigest()[:N_DIGITS]


@cache
def _code(file: Path) -> str:
    text = file.read_text(encoding="utf-8")
    return bare(text) if file.suffix == ".py" else text


def bare(text: str) -> str:
    """Returns Python without comments, docstrings and blank lines; the same text on every version of Python."""
    lines, tree = text.splitlines(), ast.parse(text)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    within: set[int] = set()  # rows of texts over several lines, which stay as they are
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            within |= set(range(node.lineno, node.end_lineno or node.lineno))
    for docstring in filter(None, map(_docstring, ast.walk(tree))):
        rows = range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1)
        if not lines[rows[0] - 1][: docstring.col_offset].strip():
            within -= set(rows)
            for row in rows:
                lines[row - 1] = ""
    kept = (line if row in within else line.rstrip() for row, line in enumerate(lines, start=1))
    return "\n".join(line for row, line in enumerate(kept, start=1) if row in within or line)


def _docstring(node: ast.AST) -> ast.Expr | None:
    """Returns the statement that is a node's docstring."""
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or not node.body:
        return None
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return first
    return None
