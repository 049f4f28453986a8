"""The parameters that pin an encoder: shown as YAML, or written in place with all comments kept."""

import re
from collections.abc import Mapping
from contextlib import ExitStack
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from attune.cli.base.source import Source
from attune.errors import BadInput
from attune.files import replacing
from attune.stage import ADVANCED_FILE, PARAMS_FILE, all_params

SECTION = "base"
PANEL = ("base.model", "train.epochs")  # of the keys that are written, those in params.yaml


def values_of(source: Source, prompts: Mapping[str, str]) -> dict[str, Any]:
    """Returns the keys of section base that name and pin an encoder; prompts are those that its folder lacks."""
    return {
        "model": source.model,
        "revision": source.revision,
        "licence": source.licence,
        "folder": source.folder,
        "prompts": dict(prompts),
        "sha256": source.sha256,
    }


def shown(values: Mapping[str, Any]) -> str:
    """Returns parameters as YAML, given by full names such as base.endpoint.url, each file with those of its panel."""
    files = {PARAMS_FILE: [key for key in values if key in PANEL], ADVANCED_FILE: [k for k in values if k not in PANEL]}
    parts = [f"# {file}\n{_dump(_nested({key: values[key] for key in keys}))}" for file, keys in files.items()]
    return "\n".join(parts).rstrip("\n")


def write_values(values: Mapping[str, Any], file: Path = PARAMS_FILE) -> None:
    """Writes parameters where they stand, in params.yaml or advanced.yaml beside it; all else stays.

    Args:
        values: by full name, such as base.endpoint.url.
        file: path of params.yaml.

    Raises:
        BadInput: a file cannot be read or edited, or a key stands in neither; nothing is written then.
    """
    all_params(file)  # both are valid, and no key stands in both
    files = [path for path in (file, file.with_name(ADVANCED_FILE.name)) if path.exists()]
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    homes = {path: [key for key in values if _has(_content(text), key)] for path, text in texts.items()}
    if absent := [key for key in values if not any(key in keys for keys in homes.values())]:
        raise BadInput(f"{' or '.join(map(str, files))}: {absent[0]} is missing; restore it from the project's history")
    _write({path: edited(texts[path], {key: values[key] for key in keys}, path) for path, keys in homes.items()})


def edited(text: str, values: Mapping[str, Any], file: Path) -> str:
    """Returns the text of a file with values replaced, given by full names.

    Lines of other keys, comments and blank lines keep their bytes; the YAML reader says on which line a key stands.

    Raises:
        BadInput: a key has no line of its own, so that the values did not come out as they should.
    """
    lines, content = text.splitlines(keepends=True), _content(text)
    for key in sorted(values, key=lambda key: _line_of(content, key), reverse=True):
        levels, name = _levels(content, key), _name(key)
        start = _line(levels[-1], name)
        later = [_line(level, other) for level in levels for other in level if _line(level, other) > start]
        end = min(later, default=len(lines))
        while end > start + 1 and re.match(r"\s*(#|$)", lines[end - 1]):
            end -= 1  # belongs to what follows
        comment = levels[-1].ca.items.get(name, [None] * 3)[2]
        beside = comment.value.split("\n")[0] if comment else ""
        first, *others = _dump(_nested({key: values[key]})).splitlines()[len(levels) - 1 :]
        lines[start:end] = [f"{line}\n" for line in (f"{first}  {beside}".rstrip(), *others)]
    new = "".join(lines)
    after = _content(new)
    if any(not _has(after, key) or _levels(after, key)[-1][_name(key)] != value for key, value in values.items()):
        section, names = next(iter(values)).partition(".")[0], [key.partition(".")[2] for key in values]
        raise BadInput(f"{file}: {section} is not one key a line; write {', '.join(names)} by hand")
    return new


def _name(key: str) -> str:
    return key.rpartition(".")[2]


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns values by full name as sections within sections."""
    nested: dict[str, Any] = {}
    for key, value in values.items():
        *parents, name = key.split(".")
        section = nested
        for parent in parents:
            section = section.setdefault(parent, {})
        section[name] = value
    return nested


def _content(text: str) -> CommentedMap:
    """Returns what a file's text holds, nothing where it cannot be read."""
    try:
        content: Any = _yaml().load(text)
    except YAMLError:
        content = None
    return content if isinstance(content, CommentedMap) else CommentedMap()


def _levels(content: CommentedMap, key: str) -> list[CommentedMap]:
    """Returns the sections on the way to a key, outermost first; fewer than its name has where one is missing."""
    levels = [content]
    for parent in key.split(".")[:-1]:
        inner = levels[-1].get(parent)
        if not isinstance(inner, CommentedMap):
            break
        levels.append(inner)
    return levels


def _has(content: CommentedMap, key: str) -> bool:
    levels = _levels(content, key)
    return len(levels) == len(key.split(".")) and _name(key) in levels[-1]


def _line(section: CommentedMap, key: str) -> int:
    return int(section.lc.key(key)[0])


def _line_of(content: CommentedMap, key: str) -> int:
    return _line(_levels(content, key)[-1], _name(key))


def _yaml() -> YAML:
    yaml = YAML()
    yaml.width = 1_000_000  # no line is broken
    return yaml


def _dump(content: Any) -> str:  # noqa: ANN401
    text = StringIO()
    _yaml().dump(content, text)
    return text.getvalue()


def _write(texts: Mapping[Path, str]) -> None:
    """Writes all files under temporary names and renames them together, so that a full disk leaves the old ones."""
    with ExitStack() as stack:
        for path, text in texts.items():
            stack.enter_context(replacing(path)).write_text(text, encoding="utf-8")
