"""Finds the files of this project that a file imports, at any depth, by their path in the project."""

from pathlib import Path

from attune.cli.repository import closure as static

SOURCE = static.SOURCE


def closure(file: Path, source: Path = SOURCE) -> set[str]:
    """Returns every project file that running a file reads, itself included, relative to the project's root."""
    return {path.relative_to(source.parent).as_posix() for path in static.closure(file, source)}
