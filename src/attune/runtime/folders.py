"""Files of folders that came from elsewhere: names stay in the folder, links too, and only regular files are opened."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from attune.errors import BadInput
from attune.json_text import parse_json
from attune.runtime.rules import Rule

MAX_RECORD_BYTES = 64 * 1024 * 1024  # of a file of settings: a manifest of 10,000 files has 2 MB


def is_inside(name: str) -> bool:
    """Tells whether a name is a path below a folder as written: relative, `/` between parts, no `..`, no drive."""
    parts = name.split("/")
    return not any(c in name for c in "\\:\0") and all(part not in ("", ".", "..") for part in parts)


def confined(folder: Path, name: str, missing: str) -> Path:
    """Returns the path of a regular file in a folder, without opening it.

    A link is followed if it stays in the folder. A FIFO would block its reader, a device never end.

    Args:
        folder: of a model or an index.
        name: of the file, with `/` between its parts.
        missing: end of the message for a file that is not there: what to do.

    Raises:
        BadInput: the name or a link leads out of the folder, or there is no regular file.
    """
    path = folder / PurePosixPath(name)
    if not is_inside(name):
        raise BadInput(f"{folder}: the name {name!a} leads out of the folder; fetch it from a source that you trust")
    try:
        kind = path.stat().st_mode
    except (OSError, ValueError):  # also a loop of links, a name that is too long
        kind = 0
    real, root = os.path.realpath(path), os.path.realpath(folder)
    if not Path(real).is_relative_to(root):
        raise BadInput(
            f"{path}: a link that leaves the folder; copy the folder with its files (cp -rL), or fetch it again"
        )
    if not kind:
        raise BadInput(f"{path}: not found; {missing}")
    if not stat.S_ISREG(kind):
        raise BadInput(f"{path}: not a regular file; {missing}")
    return path


def walk(folder: Path) -> Iterator[str]:
    """Yields the names of all files in a folder, links to folders not followed; also of what is no regular file."""
    for root, folders, files in os.walk(folder):
        below = Path(root).relative_to(folder)
        links = [name for name in folders if (Path(root) / name).is_symlink()]
        yield from ((below / name).as_posix() for name in (*files, *links))


def read_json(
    folder: Path,
    name: str,
    rule: Rule,
    kind: str,
    missing: str,
    remedy: str,
    max_bytes: int | None = MAX_RECORD_BYTES,
) -> Any:  # noqa: ANN401  JSON
    """Reads a JSON file of a folder and checks it by a rule.

    Args:
        folder, name: as for `confined`.
        rule: of the content.
        kind: what the file should be, for messages: "a manifest of attune".
        missing: end of the message for a file that is not there.
        remedy: end of the message for a file that is damaged.
        max_bytes: of the file; None where its size is that of the data.

    Raises:
        BadInput: the file is missing, outside the folder, too large, not JSON, or breaks the rule.
    """
    path = confined(folder, name, missing)
    try:
        with path.open("rb") as file:
            content = file.read(-1 if max_bytes is None else max_bytes + 1)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); {remedy}") from None
    try:
        if max_bytes is not None and len(content) > max_bytes:
            raise ValueError(f"more than {max_bytes} bytes")
        value = parse_json(content.decode("utf-8"))
        rule("", value)
    except ValueError as error:  # also no UTF-8
        raise BadInput(f"{path}: not {kind} ({error}); {remedy}") from None
    return value
