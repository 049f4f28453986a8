"""Whole text files of a folder, each complaint with its file, line and byte."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from attune.data.sources.files.lines import shown
from attune.problems import Problems

_MAX_CHARACTERS = 16 * 2**20
_MAX_PATH = 480  # leaves room for the number of a section: ids have up to 500 characters


def files_of(folder: Path) -> list[Path]:
    """The files at any depth in the order of their paths, but nothing hidden and not the README.md at the top."""
    inside = sorted(file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    return [
        folder / inner
        for inner in inside
        if not any(part.startswith(".") for part in inner.parts) and inner != Path("README.md")
    ]


def read_texts(folder: Path, files: Sequence[Path], problems: Problems) -> Iterator[tuple[Path, str, str]]:
    """Yields file, path in the folder and text of each file that is sound; the others' faults go to `problems`."""
    for file in tqdm(files, desc=folder.name, unit=" files", disable=None):
        inner = file.relative_to(folder).as_posix() if file != folder else file.name
        text = _read(file, problems)
        if len(inner) > _MAX_PATH or not inner.isprintable():
            # the path becomes an id, which has to survive tables, terminals and UTF-8
            problems.add(
                shown(str(file)),
                f"a path of {len(inner)} characters, expected up to {_MAX_PATH}, all printable; rename it",
            )
        elif text is not None:
            yield file, inner, text


def _read(file: Path, problems: Problems) -> str | None:
    """The text of a file, or None where a problem was added."""
    content = file.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        problems.add(f"{file}:1", "UTF-16, expected UTF-8; save the file as UTF-8")
        return None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]  # without the byte order mark, which the decoder has taken off
        line, byte = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        problems.add(f"{file}:{line}", f"byte {byte} is not UTF-8; save the file as UTF-8")
        return None
    before_nul, nul, _ = text.partition("\0")
    if nul:
        line = before_nul.count("\n") + 1
        problems.add(f"{file}:{line}", "NUL character, expected text; remove the character or the file")
    elif len(text) > _MAX_CHARACTERS:
        problems.add(f"{file}:1", f"{len(text)} characters, expected up to {_MAX_CHARACTERS}; cut the file in parts")
    else:
        return text
    return None
