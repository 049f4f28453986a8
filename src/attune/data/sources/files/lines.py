"""Text files and JSON lines, read one line at a time; every problem names its file and line."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

import pyarrow as pa

from attune.errors import Problems
from attune.json_text import RepeatedKey, parse_json

_MAX_LINE = 16 * 1024 * 1024  # bytes
_MAX_ID = 500  # characters
_CHUNK = 1024 * 1024  # bytes
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_NOT_IN_IDS = re.compile(r"[\t\r\n\0]")
_JSON_NAMES = {type(None): "null", str: "a string", list: "a list", dict: "an object"} | {
    bool: "a boolean",
    int: "a whole number",
    float: "a number",
}
# first bytes of files that are not UTF-8 text, whatever their name
_BEGINNINGS = {
    b"\x1f\x8b": "compressed with gzip; end its name in .gz",
    b"\x28\xb5\x2f\xfd": "compressed with Zstandard; end its name in .zst",
    b"PK\x03\x04": "a zip archive or a spreadsheet; unpack it, or export a text file from it",
    b"PAR1": "parquet; end its name in .parquet where tables are read, else convert it",
    b"\xff\xfe": "UTF-16 or UTF-32; save the file as UTF-8",
    b"\xfe\xff": "UTF-16; save the file as UTF-8",
    b"\0\0\xfe\xff": "UTF-32; save the file as UTF-8",
}


def read_lines(path: Path, problems: Problems) -> Iterator[tuple[str, str]]:
    """Yields `path:line` and the text, without line end, of each line that is not blank; unpacks .gz and .zst.

    Skips a line that is too long, is not UTF-8 or holds a NUL, and adds a problem. Memory is bounded by the limit of a
    line.

    Raises:
        BadInput: the file is missing, is not text, or its archive is damaged.
    """
    if not path.is_file():
        problems.stop(str(path), f"{'a folder, expected a file' if path.is_dir() else 'not found'}; check the path")
    for number, line in enumerate(_byte_lines(path, problems), start=1):
        where = f"{path}:{number}"
        if number == 1:
            _check_beginning(where, line, problems)
        text = _decoded(where, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line, problems)
        if text is not None and text.strip():
            yield where, text.rstrip("\r\n")


def read_jsonl(path: Path, problems: Problems) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields `path:line` and the object of each line that is not blank; adds a problem for a line without an object.

    Raises:
        BadInput: the file is missing, is not text, or its archive is damaged.
    """
    for where, line in read_lines(path, problems):
        try:
            record = parse_json(line)
        except json.JSONDecodeError as error:
            problems.add(where, f"not valid JSON at column {error.colno} ({error.msg}); write one object a line")
        except RepeatedKey as error:
            problems.add(where, str(error))
        except ValueError:
            problems.add(where, "JSON too deep or with too long a number; write one flat object a line")
        else:
            if isinstance(record, dict):
                yield where, record
            else:
                problems.add(where, f"got {_type(record)}, expected an object; write one object a line")


def text_of(where: str, record: dict[str, Any], key: str, problems: Problems, default: str | None = None) -> str | None:
    """Returns the string under a key, or the default where the key is missing; None after adding a problem.

    The key may be missing only where there is a default; the string must be valid in UTF-8 and without NUL.
    """
    value = record.get(key, default)
    if key not in record and default is None:
        problems.add(where, f"{_named(key)} is missing, got the keys {shown(list(record))}; add it")
    elif not isinstance(value, str):
        problems.add(where, f"{_named(key)} is {_type(value)}, expected a string; make it text")
    elif "\0" in value:
        problems.add(where, f"{_named(key)} holds a NUL character; remove it")
    elif not value.isascii() and _HALF_PAIR.search(value):
        what = "has half of a surrogate pair (\\ud800 to \\udfff); write the whole character"
        problems.add(where, f"{_named(key)} {what}")
    else:
        return value
    return None


def id_of(where: str, record: dict[str, Any], key: str, problems: Problems) -> str | None:
    """Returns the id under a key, a whole number as its digits; None after adding a problem."""
    value = record.get(key)
    id_ = str(int(value)) if is_whole(value) else text_of(where, record, key, problems)
    if id_ is None or (id_.strip() and len(id_) <= _MAX_ID and not _NOT_IN_IDS.search(id_)):
        return id_
    expected = f"expected 1 to {_MAX_ID} characters of text without tabs and line breaks"
    problems.add(where, f"{_named(key)} is {shown(id_)}, {expected}; rename it")
    return None


def is_whole(value: object) -> TypeGuard[int | float]:
    """Tells whether a value is a number without a fraction: 12, or 12.0, as data frames write it beside empty cells."""
    if isinstance(value, float):
        return value.is_integer() and abs(value) < 2**53
    return isinstance(value, int) and not isinstance(value, bool)


def shown(value: object) -> str:
    """Formats a value for a message: quoted, in ASCII, on one line, cut after 80 characters."""
    try:
        text = ascii(value)
    except (ValueError, RecursionError):  # a number of thousands of digits, a list of a thousand lists
        return _type(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _named(key: str) -> str:
    return f'"{key}"' if key.isprintable() and key.isascii() and len(key) <= 40 else shown(key)


def _type(value: object) -> str:
    return _JSON_NAMES.get(type(value), type(value).__name__)


def _byte_lines(path: Path, problems: Problems) -> Iterator[bytes]:
    """Yields the lines with their ends; of a line above the limit only its first part, a byte longer than the limit."""
    n_lines = 0
    try:
        with pa.input_stream(path, compression="detect") as stream, io.BufferedReader(stream, _CHUNK) as file:
            while line := file.readline(_MAX_LINE + 1):
                part = line
                while len(line) > _MAX_LINE and part and not part.endswith(b"\n"):
                    part = file.readline(_CHUNK)
                n_lines += 1
                yield line
    except (OSError, pa.ArrowException) as error:
        reason = shown(str(error).partition("\n")[0])
        problems.stop(f"{path}:{n_lines + 1}", f"cannot be read on ({reason}); make or download the file again")


def _check_beginning(where: str, line: bytes, problems: Problems) -> None:
    for beginning, kind in _BEGINNINGS.items():
        if line.startswith(beginning):
            problems.stop(where, f"the file is {kind}")
    zeros = [byte == 0 for byte in line[:4]]
    if zeros in ([True, False] * 2, [False, True] * 2):
        problems.stop(where, "the file is UTF-16; save the file as UTF-8")


def _decoded(where: str, line: bytes, problems: Problems) -> str | None:
    if len(line) > _MAX_LINE:
        problems.add(where, f"the line has more than {_MAX_LINE} bytes; write one row a line, or cut its text")
        return None
    if b"\0" in line:
        problems.add(where, f"byte {line.index(0) + 1} is NUL; remove it")
        return None
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        problems.add(where, f"byte {error.start + 1} is not UTF-8; save the file as UTF-8")
        return None
