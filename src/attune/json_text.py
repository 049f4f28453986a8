"""JSON as users and model folders bring it: a repeated key, or nesting without end, is an error like any other."""

import json
from typing import Any


class RepeatedKey(ValueError):
    """An object holds a key twice; the message says which, and what to do."""


def parse_json(text: str) -> Any:  # noqa: ANN401  JSON
    """Parses JSON; `json.loads` takes the last of two equal keys in silence, and fails on deep nesting by its own kind.

    Raises:
        ValueError: the text is no JSON (a json.JSONDecodeError, with the place), an object repeats a key (RepeatedKey),
            the nesting is too deep, or a number has thousands of digits.
    """
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        seen: set[str] = set()
        key = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise RepeatedKey(f"the key {key[:40]!a} stands twice in one object; keep one of the two")
    return record
