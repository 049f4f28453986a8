"""Takes figures that a newer attune no longer reports over into gate.retired of a user's repository.

Check ATT023 fails where a figure of the revision is missing. A figure that attune itself has retired is missing in the
first run after an upgrade, so the upgrade lists it. What attune retired earlier is not added: libraries.yaml records
the entries that the package had. An entry that the user has removed stays away.
"""

import re
from collections.abc import Iterable

from ruamel.yaml import YAML

from attune.cli.repository.keys import Block, Texts, blocks, value_of
from attune.errors import BadInput
from attune.stage import ADVANCED_FILE

FILE = ADVANCED_FILE.name
SECTION, KEY = "gate", "retired"
ITEM = re.compile(r" *- ")
ONE_LINE = re.compile(r"( *\w+:) *(?:\[.*?\]|null|~)?( *#.*)?$")  # key, list or nothing, comment


def package_entries(package: str) -> list[str]:
    """Returns gate.retired of the package.

    Args:
        package: text of its advanced.yaml.
    """
    return list(YAML(typ="safe").load(package)[SECTION][KEY])


def with_retired(own: Texts, package: str, known: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Returns the parameter files with the package's new entries, and a line for each.

    Args:
        own: texts of the repository, with the keys of the package.
        package: text of the package's advanced.yaml.
        known: entries that the package had at the version upgraded from.

    Raises:
        BadInput: the repository's list is laid out so that no line can be added.
    """
    sections = blocks(own[FILE].splitlines())
    section = next(part for part in sections if part.name == SECTION)
    keys = blocks(section.body)
    target = next(part for part in keys if part.name == KEY)
    entries: list[str] = value_of(target) or []
    model = next(part for part in blocks(_section(package).body) if part.name == KEY)
    left_out = {*known, *entries}
    added = {entry: lines for entry, lines in _items(model).items() if entry not in left_out}
    if not added:
        return dict(own), []
    _require_lines(target)
    if not any(map(ITEM.match, target.body)):
        target.body += [f"{_indent_of(model)}- {_dumped(entry)}" for entry in entries]
        if not (parts := ONE_LINE.match(target.line)):
            raise BadInput(_refusal())
        target.line = parts[1] + (f"  {parts[2].strip()}" if parts[2] else "")
    indent = next((_indent(line) for line in target.body if ITEM.match(line)), _indent_of(model))
    target.body += [indent + line.strip() for lines in added.values() for line in lines]
    section.body = [line for part in keys for line in part.lines]
    text = "\n".join(line for part in sections for line in part.lines) + "\n"
    if YAML(typ="safe").load(text)[SECTION][KEY] != [*entries, *added]:
        raise BadInput(_refusal())
    return {**own, FILE: text}, [f"{FILE}: new in {SECTION}.{KEY}, {entry}" for entry in added]


def _section(text: str) -> Block:
    return next(part for part in blocks(text.splitlines()) if part.name == SECTION)


def _items(block: Block) -> dict[str, list[str]]:
    """Returns the lines of each entry of a list, with the comments above it."""
    found: list[list[str]] = []
    head: list[str] = []
    for line in block.body:
        head.append(line)
        if ITEM.match(line):
            found.append(head)
            head = []
    return dict(zip(value_of(block) or [], found, strict=True))


def _require_lines(block: Block) -> None:
    """Checks that a list has an entry a line, or stands on the line of its key."""
    n_entries, n_items = len(value_of(block) or []), sum(bool(ITEM.match(line)) for line in block.body)
    if n_entries != n_items and (n_items or any(line.strip() for line in block.body)):
        raise BadInput(_refusal())


def _refusal() -> str:
    return f"{FILE}: {SECTION}.{KEY} cannot be added to; write it with one entry a line, '- ENTRY', and run again"


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _indent_of(model: Block) -> str:
    return next((_indent(line) for line in model.body if ITEM.match(line)), "    ")


def _dumped(entry: str) -> str:
    """Returns an entry as YAML reads it, quoted."""
    return "'" + entry.replace("'", "''") + "'"
