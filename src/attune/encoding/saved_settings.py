"""Settings of a saved encoder that all stages read: prompts and maximum length, in the files of its folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attune.encoding.settings import PROMPTS_FILE, Settings
from attune.errors import BadInput
from attune.stage import write_json


def set_prompts(folder: Path, settings: Settings, prompts: Mapping[str, str]) -> None:
    """Writes prompts into the saved encoder under the names that it is read by everywhere, unless they are there."""
    if any(settings.prompts.get(kind, "") != text for kind, text in prompts.items()):
        file = folder / PROMPTS_FILE
        content = _object(file) if file.exists() else {}
        write_json(file, content | {"prompts": {**settings.prompts, **prompts}})


def set_max_length(folder: Path, max_length: int, positions: int) -> None:
    """Sets the number of tokens at which the saved encoder cuts texts, wherever it is loaded.

    Raises:
        BadInput: the encoder has fewer positions, or its settings cannot be read.
    """
    if max_length > positions:
        raise BadInput(f"base.max_length: got {max_length}, but the encoder has {positions} positions; lower it")
    file = folder / "sentence_bert_config.json"
    settings = _object(file) if file.exists() else {}
    write_json(file, settings | {"max_seq_length": max_length})


def _object(file: Path) -> dict[str, Any]:
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError) as error:
        raise BadInput(f"base: the encoder's {file.name} cannot be read ({error}); fetch or save it again") from None
    if not isinstance(settings, dict):
        raise BadInput(f"base: the encoder's {file.name} is not a JSON object; fetch or save it again")
    return settings
