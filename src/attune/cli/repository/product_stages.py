"""Stages of attune's own pipeline: of each its command and the libraries that may change its outputs.

Options of a command that are the same in each repository, as they name its files, stand in no user's dvc.yaml: deps and
outs show these files, and the package adds the options. One instance of a stage is named by `@`: `embed@tuned`.
"""

import re
import shlex
from collections.abc import Mapping
from functools import cache
from typing import Any

from ruamel.yaml import YAML

from attune.cli.repository.product import product_text
from attune.errors import BadInput

LIBRARIES = "libraries.yaml"
ROOM = "${programs.tuning}"  # folder of the programs of train, merge and export
KEY = "${key}"  # DVC's name for the instance of a stage


@cache
def product_stages() -> Mapping[str, Any]:
    """Returns the stages of attune's own dvc.yaml, by name."""
    stages: dict[str, Any] = YAML(typ="safe").load(product_text("dvc.yaml"))["stages"]
    return stages


def product_stage(name: str) -> Mapping[str, Any]:
    """Returns a stage of attune's own dvc.yaml, of which each instance has this if there are several."""
    stage: Mapping[str, Any] = product_stages()[name]
    body: Mapping[str, Any] = stage.get("do", stage)
    return body


def own_command(name: str) -> str:
    """Returns the command of a stage in a user's dvc.yaml: its name, and the options whose values DVC fills in."""
    room = f"{ROOM}." if ROOM in product_stage(name)["cmd"] else ""
    instance = f"@{KEY}" if "foreach" in product_stages()[name] else ""
    return " ".join([f"${{stage}} {room}{name}{instance}", *filter(_is_filled_in, _options(name))])


def fixed_options(name: str) -> list[str]:
    """Returns the other options of a stage's command, each with its value; `${key}` stands for the instance."""
    return [option for option in _options(name) if not _is_filled_in(option)]


def all_options(name: str, instance: str, given: list[str]) -> list[str]:
    """Returns the options of a stage's program.

    Args:
        name: of the stage, without a room.
        instance: of the stage; "" where it has one only.
        given: options that dvc.yaml fills in. They replace fixed ones.

    Raises:
        BadInput: an instance is missing, or named where there is one only.
    """
    if ("foreach" in product_stages()[name]) != bool(instance):
        expected = name if instance else f"{name}@INSTANCE, as dvc.lock has it"
        raise BadInput(f"got {name}{'@' * bool(instance)}{instance}, expected {expected}; name the stage so")
    fixed = [shlex.split(option.replace(KEY, instance)) for option in fixed_options(name)]
    return [*(word for option in fixed if option[0] not in given for word in option), *given]


def libraries_of(name: str) -> list[str]:
    """Returns the libraries of which a version may change a stage's outputs; all for one that reads their file."""
    body = product_stage(name)
    if LIBRARIES in body["deps"]:
        return list(YAML(typ="safe").load(product_text(LIBRARIES)))
    files = [entry for entry in body["params"] if isinstance(entry, dict)]
    return [library for entry in files for library in entry.get(LIBRARIES, [])]


def _options(name: str) -> list[str]:
    return re.split(r"\s+(?=--)", product_stage(name)["cmd"].strip())[1:]


def _is_filled_in(option: str) -> bool:
    return "${" in option.replace(KEY, "")
