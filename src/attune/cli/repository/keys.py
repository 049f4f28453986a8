"""Brings the parameter files of a repository to the keys of the installed package; values and comments stay.

A file is read as blocks of lines: a key with its value and the comments above it. So what is moved, added or left out
is whole lines, and all other lines keep their bytes.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from attune.errors import BadInput, one_line
from attune.stage import ADVANCED_FILE, PARAMS_FILE

INSIDE = re.compile(r" *(-( |$)|[\]}])")  # an item of a list, or the end of one: no key, however far left
FILES = (PARAMS_FILE.name, ADVANCED_FILE.name)
NESTED = {"collect.columns", "collect.endpoint"}  # groups whose keys are the package's, too
# Former names of keys, as section.key: old -> new. An entry stays for good, as a repository may skip versions.
RENAMED: dict[str, str] = {}

Texts = Mapping[str, str]  # of params.yaml and advanced.yaml, by name


@dataclass
class Block:
    """A key of a YAML file, in lines.

    Attributes:
        name: of the key; "" for what stands below the last key.
        head: comments and blank lines above it.
        line: with the key, and its value where that fits there.
        body: lines below it that belong to it.
    """

    name: str
    head: list[str]
    line: str
    body: list[str] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        """All of its lines, in order."""
        return [*self.head, *([self.line] if self.name else []), *self.body]


def blocks(lines: list[str]) -> list[Block]:
    """Returns the keys of a mapping in block style, at the indentation of its first key."""
    found: list[Block] = []
    head: list[str] = []
    indent = next((_indent(line) for line in lines if _is_content(line)), 0)
    for line in lines:
        if _is_content(line) and _indent(line) <= indent and not INSIDE.match(line):
            found.append(Block(line.split(":")[0].strip().strip("'\""), head, line))
            head = []
        elif found and (_is_content(line) or (line.strip() and _indent(line) > indent)):
            found[-1].body += [*head, line]
            head = []
        else:
            head.append(line)
    return [*found, Block("", head, "")] if head else found


def _is_content(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _joined(parts: list[Block]) -> list[str]:
    return [line for part in parts for line in part.lines]


def migrated(own: Texts, package: Texts, renamed: Mapping[str, str] = RENAMED) -> tuple[dict[str, str], list[str]]:
    """Returns the parameter files with the keys of the package, and a line for each key that changed.

    A key that was renamed keeps its value and comments, a new one comes with the package's value and comment, one that
    no longer exists is left out, one that has moved to the other file goes there. Sections that the package does not
    know stay.

    Args:
        own: texts of the repository.
        package: texts of the package.
        renamed: new names by old ones, as section.key.

    Raises:
        BadInput: a file is laid out so that its keys cannot be told apart by lines.
    """
    files = {name: blocks(own[name].splitlines()) for name in FILES}
    models = {name: blocks(package[name].splitlines()) for name in FILES}
    latest = _latest(renamed, models)
    said = [*_renamed(files, models, latest), *_moved(files, models)]
    for name in FILES:
        for model in (block for block in models[name] if block.name):
            section = next((block for block in files[name] if block.name == model.name), None)
            if section is None:
                _insert_section(files[name], model, models[name])
                said.append(f"{name}: new section {model.name}")
            else:
                said += [f"{name}: {line}" for line in _fitted(section, model, model.name)]
    for name in FILES:  # a section that has lost its last key would be no mapping
        files[name] = [block for block in files[name] if not _is_emptied(block)]
    texts = {name: "\n".join(_joined(files[name])) + "\n" for name in FILES}
    _require_values(own, texts, latest)
    return texts, said


def _is_emptied(block: Block) -> bool:
    return block.line.rstrip().endswith(":") and not any(map(_is_content, block.body))


def _latest(renamed: Mapping[str, str], models: dict[str, list[Block]]) -> dict[str, str]:
    """Returns the package's names of former keys, through all renames of each, the latest of former names first."""
    steps: dict[str, tuple[int, str]] = {}
    for old in renamed:
        name = old
        for n in range(len(renamed) + 1):  # a name that comes back ends here, too
            if _home(models, name):
                steps[old] = n, name
                break
            name = renamed.get(name, name)
    return {old: name for old, (n, name) in sorted(steps.items(), key=lambda item: item[1][0]) if n}


def _renamed(files: dict[str, list[Block]], models: dict[str, list[Block]], latest: Mapping[str, str]) -> Iterator[str]:
    for old, new in latest.items():
        name, home = new.partition(".")[2], _home(models, new)
        if (block := _taken(files, old)) is None:
            continue
        if _holds(files, new):
            yield f"{home}: {old} is left out, as {new} stands here; it was {value_of(block)}"
        else:
            block.line = re.sub(r"^( *)[^:]+:", rf"\g<1>{name}:", block.line)
            block.name = name
            _put(files, home, new, block, models)
            yield f"{home}: {old} is now {new}"


def _moved(files: dict[str, list[Block]], models: dict[str, list[Block]]) -> Iterator[str]:
    for name, other in (FILES, FILES[::-1]):
        for section in list(files[name]):
            for block in blocks(section.body):
                key = f"{section.name}.{block.name}"
                if block.name and _home(models, key) == other:
                    taken = _taken({name: files[name]}, key)
                    if taken and not _holds({other: files[other]}, key):
                        _put(files, other, key, taken, models)
                        yield f"{other}: {key} stands here now"


def _home(models: dict[str, list[Block]], key: str) -> str:
    return next((name for name in FILES if _holds({name: models[name]}, key)), "")


def _holds(files: Mapping[str, list[Block]], key: str) -> bool:
    section, _, name = key.partition(".")
    return any(
        part.name == name
        for parts in files.values()
        for block in parts
        if block.name == section
        for part in blocks(block.body)
    )


def _taken(files: Mapping[str, list[Block]], key: str) -> Block | None:
    """Takes a key's block out of its file."""
    section, _, name = key.partition(".")
    for parts in files.values():
        for block in parts:
            inner = blocks(block.body) if block.name == section else []
            if found := next((part for part in inner if part.name == name), None):
                block.body = _joined([part for part in inner if part is not found])
                return found
    return None


def _put(files: dict[str, list[Block]], file: str, key: str, block: Block, models: dict[str, list[Block]]) -> None:
    section = key.partition(".")[0]
    model = next(part for part in models[file] if part.name == section)
    own = next((part for part in files[file] if part.name == section), None)
    if own is None:
        own = Block(section, [], f"{section}:")
        _insert_section(files[file], own, models[file])
    inner = blocks(own.body)
    _insert(inner, block, blocks(model.body))
    own.body = _joined(inner)


def _insert(parts: list[Block], block: Block, order: list[Block]) -> None:
    """Puts a block behind those that stand before it in the package's order."""
    before = {part.name for part in order[: next((i for i, part in enumerate(order) if part.name == block.name), 0)]}
    place = max((i + 1 for i, part in enumerate(parts) if part.name in before), default=0)
    parts.insert(place, block)


def _insert_section(parts: list[Block], block: Block, order: list[Block]) -> None:
    """Puts a section behind those before it, below a blank line and never above what the file begins with."""
    while "" in block.head:
        block.head = block.head[1:]
    block.head = ["", *block.head]
    _insert(parts, block, order)
    if parts[0] is block and len(parts) > 1:
        parts[:2] = parts[1::-1]


def _fitted(own: Block, model: Block, path: str) -> Iterator[str]:
    """Gives a group the keys of the package's; yields a line for each that is new or left out."""
    parts, wanted = blocks(own.body), blocks(model.body)
    names = {part.name for part in wanted}
    for part in [part for part in parts if part.name and part.name not in names]:  # comments at the end have none
        parts.remove(part)
        yield f"{path}.{part.name} is no longer a parameter; it was {value_of(part)}"
    for part in wanted:
        found = next((each for each in parts if each.name == part.name), None)
        if found is None and part.name:
            _insert(parts, part, wanted)
            yield f"new, {path}.{part.name}: {value_of(part)}"
        elif found and f"{path}.{part.name}" in NESTED and found.body:
            yield from _fitted(found, part, f"{path}.{part.name}")
    own.body = _joined(parts)


def value_of(block: Block) -> Any:  # noqa: ANN401
    """Returns the value of a key."""
    return next(iter(YAML(typ="safe").load("\n".join([block.line, *block.body])).values()))


def _require_values(old: Texts, new: Texts, latest: Mapping[str, str]) -> None:
    """Checks that each key that is still there has the value that it had, under the latest of its names."""
    try:
        before, after = _flat(old), _flat(new)
    except YAMLError as error:
        raise BadInput(f"{' and '.join(FILES)}: {one_line(error)}; write one key a line, and run again") from None
    kept: dict[str, str] = {}  # new name -> key whose value it has
    for key in [*latest.values(), *latest]:
        if key in before:
            kept.setdefault(latest.get(key, key), key)
    for key, value in before.items():
        name = latest.get(key, key)
        if kept.get(name, key) == key and name in after and after[name] != value and key not in NESTED:
            said = f"{key} would not keep its value; write one key a line, and run again"
            raise BadInput(f"{' and '.join(FILES)}: {said}")


def _flat(texts: Texts) -> dict[str, Any]:
    contents = [YAML(typ="safe").load(text) or {} for text in texts.values()]
    return {
        f"{section}.{key}": value
        for content in contents
        for section, values in content.items()
        if isinstance(values, Mapping)
        for key, value in values.items()
    }
