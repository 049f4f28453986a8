"""Contents of a folder, for tests that compare two of them."""

from pathlib import Path


def contents(folder: Path) -> dict[str, bytes]:
    """Returns the bytes of all files in a folder, at any depth, by path within it."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
