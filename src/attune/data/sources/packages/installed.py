"""Python sources of an installed package, parsed and never imported."""

import ast
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from tqdm import tqdm

from attune.data.sources.packages.definitions import Definition, definitions
from attune.data.sources.packages.modules import Module, read_module
from attune.errors import BadInput

# tests, vendored third-party code, build and benchmark scripts: no part of a package's public interface
_SKIPPED = re.compile(
    r"tests?|test_.*|.*_tests?|conftest|_testing|_?test_common|estimator_checks|_?vendor|_?vendored|_?externals?|_?extern"
    r"|_lib|distutils|_pyinstaller|_?examples?|_build_utils|__check_build|_precompute|benchmarks?|setup|_?version"
    r"|__editable__.*|\.\."
)


@dataclass(frozen=True)
class Source:
    """A file: its path below the folder of installed packages, its bindings and its documented definitions."""

    file: str
    module: Module
    definitions: list[Definition]


def version(package: str) -> str:
    """Returns the installed version of a package, named as on the package index."""
    return _distribution(package).version


def read_sources(package: str, dropped: Counter[str]) -> Iterator[Source]:
    """Yields the files of a package in the order of their paths; counts those that do not parse as Python.

    Raises:
        BadInput: the package is not installed, or lists no Python files.
    """
    installed = _distribution(package)
    files = sorted(str(file) for file in installed.files or [] if file.suffix == ".py")
    files = [f for f in files if not any(_SKIPPED.fullmatch(part) for part in f.removesuffix(".py").split("/"))]
    if not files:
        raise BadInput(
            f"collect.packages: {package!r} has no Python files on record; install it from a wheel, not editable"
        )
    for file in tqdm(files, desc=package, disable=None):
        source = _parse(file, Path(str(installed.locate_file(file))))
        if source is None:
            dropped["file_not_python"] += 1
        else:
            yield source


def _distribution(package: str) -> Distribution:
    try:
        return distribution(package)
    except PackageNotFoundError:
        raise BadInput(f"collect.packages: {package!r} is not installed; install it or take it off the list") from None


def _parse(file: str, path: Path) -> Source | None:
    parts = file.removesuffix(".py").split("/")
    is_package = parts[-1] == "__init__"
    try:
        source = path.read_text(encoding="utf-8-sig")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes, which are frequent in docstrings
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None
    module = read_module(".".join(parts[:-1] if is_package else parts), is_package, tree)
    return Source(file, module, list(definitions(tree, source)))
