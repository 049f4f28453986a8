"""Rules for values read from JSON: a rule takes a value's place and the value, and raises ValueError if it is broken.

A model folder is input from elsewhere. Messages name the place and the type, never a value, which may be anything.
"""

import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

Rule = Callable[[str, Any], None]

_HALF_PAIR = re.compile("[\ud800-\udfff]")
_SHA256 = re.compile("[0-9a-f]{64}")
_NAMES = {type(None): "null", str: "a string", list: "a list", dict: "an object", bool: "a boolean"}
SHOWN = 60  # characters of a key in a message


def whole(least: int, most: int) -> Rule:
    """Returns the rule of whole numbers between two bounds."""

    def rule(place: str, value: Any) -> None:  # noqa: ANN401  JSON
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise _broken(place, value, f"a whole number from {least} to {most}")

    return rule


def number(least: float, most: float) -> Rule:
    """Returns the rule of finite numbers between two bounds."""

    def rule(place: str, value: Any) -> None:  # noqa: ANN401  JSON
        # compared as it is: an integer of hundreds of digits has no float
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise _broken(place, value, f"a number from {least:g} to {most:g}")

    return rule


def text(place: str, value: Any) -> None:  # noqa: ANN401  JSON
    """The rule of strings that UTF-8 can hold."""
    if not isinstance(value, str):
        raise _broken(place, value, "a string")
    if not value.isascii() and _HALF_PAIR.search(value):
        raise ValueError(f"{place or 'the file'} holds half of a surrogate pair, expected valid Unicode")


def sha256(place: str, value: Any) -> None:  # noqa: ANN401  JSON
    """The rule of sha256 hashes in hex digits."""
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise _broken(place, value, "64 hex digits in lower case")


def or_null(inner: Rule) -> Rule:
    """Returns the rule of values that may be null."""

    def rule(place: str, value: Any) -> None:  # noqa: ANN401  JSON
        if value is not None:
            inner(place, value)

    return rule


def rows(inner: Rule, least: int, most: int = sys.maxsize) -> Rule:
    """Returns the rule of lists whose number of values has these bounds, each value after the inner rule."""

    def rule(place: str, value: Any) -> None:  # noqa: ANN401  JSON
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise _broken(place, value, f"a list of {least}{' or more' if most > least else ''} values")
        for number, item in enumerate(value):
            inner(f"{place}[{number}]", item)

    return rule


def table(inner: Rule, least: int = 0) -> Rule:
    """Returns the rule of objects with any keys, at least so many, whose values follow the inner rule."""

    def rule(place: str, value: Any) -> None:  # noqa: ANN401  JSON
        if not isinstance(value, dict) or len(value) < least:
            raise _broken(place, value, f"an object with {least} or more keys")
        for key, item in value.items():
            text(f"a key of {place}", key)
            inner(_below(place, key), item)

    return rule


def record(required: Mapping[str, Rule], optional: Mapping[str, Rule] | None = None) -> Rule:
    """Returns the rule of objects with these keys; further keys are for other programs, and allowed."""

    def rule(place: str, value: Any) -> None:  # noqa: ANN401  JSON
        if not isinstance(value, dict):
            raise _broken(place, value, "an object")
        for key, inner in {**required, **(optional or {})}.items():
            if key in value:
                inner(_below(place, key), value[key])
            elif key in required:
                raise ValueError(f"{_below(place, key)} is missing")

    return rule


def _below(place: str, key: str) -> str:
    key = key if key.isascii() and key.isprintable() else ascii(key)[1:-1]
    key = key if len(key) <= SHOWN else f"{key[: SHOWN - 3]}..."
    return f"{place}.{key}" if place else key


def _broken(place: str, value: object, expected: str) -> ValueError:
    got = _NAMES.get(type(value), "a number")
    if isinstance(value, float | int) and not isinstance(value, bool):
        # Python refuses to print integers of thousands of digits
        got = f"{value:g}" if isinstance(value, float) or abs(value) < 10**15 else "a number of more than 15 digits"
    elif isinstance(value, list | dict):
        got += f" of {len(value)}"
    return ValueError(f"{place or 'the content'} is {got}, expected {expected}")
