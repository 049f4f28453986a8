"""Values of params.yaml and advanced.yaml, written in place with all comments and the layout kept."""

from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq

from attune.errors import BadInput
from attune.files import replacing
from attune.stage import ADVANCED_FILE, PARAMS_FILE

Changes = Mapping[str, Mapping[str, Any]]  # section -> key -> value


def set_values(folder: Path, changes: Changes) -> None:
    """Writes values where their keys stand; a mapping changes only the keys that it names.

    Raises:
        BadInput: a key stands in neither file.
    """
    for section, values in changes.items():
        for key, value in values.items():
            for name in (PARAMS_FILE, ADVANCED_FILE):
                if _set(folder / name, section, key, value):
                    break
            else:
                where = f"neither {PARAMS_FILE} nor {ADVANCED_FILE}"
                raise BadInput(f"{folder}: {section}.{key} stands in {where}; restore the line from git")


def _set(file: Path, section: str, key: str, value: Any) -> bool:  # noqa: ANN401
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1_000_000  # no line is broken
    yaml.indent(mapping=2, sequence=4, offset=2)
    content = yaml.load(file.read_text(encoding="utf-8"))
    if key not in content.get(section, {}):
        return False
    if isinstance(value, Mapping) and isinstance(content[section][key], dict):
        content[section][key].update(value)
    elif isinstance(value, list):
        content[section][key] = CommentedSeq(value)
        content[section][key].fa.set_flow_style()  # [a, b]
    else:
        content[section][key] = value
    text = StringIO()
    yaml.dump(content, text)
    with replacing(file) as new:
        new.write_text(text.getvalue(), encoding="utf-8")
    return True
