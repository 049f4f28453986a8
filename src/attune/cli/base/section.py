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
    """Returns the section as YAML, each file of parameters with the keys that stand there."""
    files = {PARAMS_FILE: ["model"], ADVANCED_FILE: [key for key in values if key != "model"]}
    parts = [f"# {file}\n{_dump({SECTION: {key: values[key] for key in keys}})}" for file, keys in files.items()]
    return "\n".join(parts).rstrip("\n")


def write_section(values: Mapping[str, Any], file: Path = PARAMS_FILE) -> None:
    """Writes values of section base where they stand, in params.yaml or advanced.yaml beside it; all else stays.

    Raises:
        BadInput: a file cannot be read or edited, or a key stands in neither; nothing is written then.
    """
    all_params(file)  # both are valid, and no key stands in both
    files = [path for path in (file, file.with_name(ADVANCED_FILE.name)) if path.exists()]
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    homes = {path: [key for key in values if key in _section(text)] for path, text in texts.items()}
    if absent := [key for key in values if not any(key in keys for keys in homes.values())]:
        raise BadInput(
            f"{' or '.join(map(str, files))}: {SECTION}.{absent[0]} is missing; restore it from the project's history"
        )
    _write({path: edited(texts[path], {key: values[key] for key in keys}, path) for path, keys in homes.items()})


def edited(text: str, values: Mapping[str, Any], file: Path) -> str:
    """Returns the text of a file with values of section base replaced.

    Lines of other keys, comments and blank lines keep their bytes; the YAML reader says on which line a key stands.

    Raises:
        BadInput: a key has no line of its own, so that the values did not come out as they should.
    """
    lines, section = text.splitlines(keepends=True), _section(text)
    for key in sorted(values, key=lambda key: _line(section, key), reverse=True):
        start = _line(section, key)
        later = [_line(section, other) for other in section if _line(section, other) > start]
        end = min([*later, *_sections_after(text, start)], default=len(lines))
        while end > start + 1 and re.match(r"\s*(#|$)", lines[end - 1]):
            end -= 1  # belongs to what follows
        comment = section.ca.items.get(key, [None] * 3)[2]
        beside = comment.value.split("\n")[0] if comment else ""
        first, *others = _dump({SECTION: {key: values[key]}}).splitlines()[1:]
        lines[start:end] = [f"{line}\n" for line in (f"{first}  {beside}".rstrip(), *others)]
    new = "".join(lines)
    if {key: _section(new).get(key) for key in values} != dict(values):
        raise BadInput(f"{file}: {SECTION} is not one key a line; write {', '.join(values)} by hand")
    return new


def _section(text: str) -> CommentedMap:
    """Returns section base of a file's text, empty where there is none or one that cannot be read."""
    try:
        content: Any = _yaml().load(text)
    except YAMLError:
        content = None
    section = content.get(SECTION) if isinstance(content, CommentedMap) else None
    return section if isinstance(section, CommentedMap) else CommentedMap()


def _line(section: CommentedMap, key: str) -> int:
    return int(section.lc.key(key)[0])


def _sections_after(text: str, line: int) -> list[int]:
    """Returns the lines of the sections that begin after a line."""
    content: Any = _yaml().load(text)
    return [start for start in (_line(content, key) for key in content) if start > line]


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
