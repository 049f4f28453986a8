"""Contents of dvc.lock: hashes of outputs, the inputs that they were made from, and which of them no CPU changes."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from attune.errors import BadInput, one_line

LOCK = "dvc.lock"

Stages = Mapping[str, Mapping[str, Any]]  # by name
Hashes = dict[str, Any]


@lru_cache(maxsize=2)  # a lock of thousands of lines takes half a second to parse
def stages_of(text: str, where: str) -> Stages:
    """Returns the stages of a dvc.lock by name.

    Args:
        text: of the file.
        where: revision, for errors.

    Raises:
        BadInput: the text is not YAML, or has no stages.
    """
    try:
        return dict(YAML(typ="safe").load(text)["stages"])
    except (YAMLError, TypeError, KeyError, ValueError) as error:
        words = one_line(error)
        raise BadInput(f"{LOCK} ({where}): expected stages in YAML, got {words}; run `dvc repro`") from None


def outputs(stages: Stages) -> Hashes:
    """Returns the hash of each output by its path."""
    return {out["path"]: out.get("md5") for stage in stages.values() for out in stage.get("outs", [])}


def inputs(stages: Stages) -> Hashes:
    """Returns all that a run was made from: commands and parameters by name, hashes of code and data by path."""
    made = outputs(stages)
    found: Hashes = {f"the command of {name}": stage.get("cmd") for name, stage in stages.items()}
    for stage in stages.values():
        for file, values in stage.get("params", {}).items():
            found |= {f"{file}: {key}": value for key, value in _flat(values)}
        found |= {dep["path"]: dep.get("md5") for dep in stage.get("deps", []) if not _is_in(dep["path"], made)}
    return found


def _flat(values: Any, above: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    if not isinstance(values, Mapping) or not values:
        yield above, values
        return
    for key, value in values.items():
        yield from _flat(value, f"{above}.{key}" if above else str(key))


def _is_in(path: str, outs: Mapping[str, Any]) -> bool:
    """Tells whether a path is an output, lies in one, or is a folder that holds one."""
    return any(f"{path}/".startswith(f"{out}/") or f"{out}/".startswith(f"{path}/") for out in outs)


def changed(old: Hashes, new: Hashes) -> list[str]:
    """Returns the names that only one side has, or whose values differ, sorted."""
    one_sided = old.keys() ^ new.keys()
    return sorted(one_sided | {name for name in old.keys() & new.keys() if old[name] != new[name]})


def _reads_machine(stage: Mapping[str, Any]) -> bool:
    """Tells whether a stage tracks section `machine`, or a key of it."""
    tracked = (key for values in stage.get("params", {}).values() for key in values)
    return any(key.partition(".")[0] == "machine" for key in tracked)


def equal_on_all_cpus(stages: Stages) -> set[str]:
    """Returns the outputs of stages that read neither section `machine` nor an output of a stage that does.

    Every stage that computes vectors or scores reads that section, so these are texts and splits.
    """
    left = {name for name, stage in stages.items() if not _reads_machine(stage)}
    while True:
        computed = outputs({name: stages[name] for name in stages.keys() - left})
        reached = {name for name in left if any(_is_in(dep["path"], computed) for dep in stages[name].get("deps", []))}
        if not reached:
            return set(outputs({name: stages[name] for name in left}))
        left -= reached
