"""Text files read line by line, every complaint with its file and line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attune.errors import BadInput

_JSON_NAMES = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
}


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yields `path:number` and the text of each line that is not blank.

    Raises:
        BadInput: the file is missing or a line is not UTF-8.
    """
    if not path.is_file():
        raise BadInput(f"{path}: not found; a BEIR folder holds corpus.jsonl, queries.jsonl and qrels/*.tsv")
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise BadInput(
                    f"{path}:{number}: byte {error.start + 1} is not UTF-8; save the file as UTF-8"
                ) from None
            if text.strip():
                yield f"{path}:{number}", text.rstrip("\r\n")


def read_jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields `path:number` and the object of each line that is not blank.

    Raises:
        BadInput: the file is missing, or a line is not UTF-8 or not a JSON object.
    """
    for where, line in read_lines(path):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise BadInput(
                f"{where}: not valid JSON at column {error.colno} ({error.msg}); write one object a line"
            ) from None
        except (ValueError, RecursionError):
            raise BadInput(f"{where}: JSON too deep or with too long a number; write one flat object a line") from None
        if not isinstance(record, dict):
            raise BadInput(f"{where}: got {_type(record)}, expected an object; write one object a line")
        yield where, record


def text_of(where: str, record: dict[str, Any], key: str, default: str | None = None) -> str:
    """The string under a key.

    Raises:
        BadInput: the key is missing and has no default, or its value is not a string that UTF-8 can write.
    """
    value = record.get(key, default)
    if key not in record and default is None:
        raise BadInput(f'{where}: "{key}" is missing, got the keys {shown(sorted(record))}; add it')
    if not isinstance(value, str):
        raise BadInput(f'{where}: "{key}" is {_type(value)}, expected a string; put it in quotes')
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise BadInput(f'{where}: "{key}" has half of a surrogate pair (\\ud800 to \\udfff); write the whole character')
    return value


def shown(value: object) -> str:
    """A value as it is shown in an error: quoted, on one line, cut when long."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _type(value: object) -> str:
    return _JSON_NAMES.get(type(value), "a string")
