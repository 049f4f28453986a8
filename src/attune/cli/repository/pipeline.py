"""dvc.yaml of a user's repository, derived from attune's own.

Data, outputs, metrics and plots are attune's. In place of its code dependencies and lists of libraries a stage tracks
its entry of libraries.yaml, section attune: a hash of its code, and versions. Its command has the options that DVC
fills in. Stage `general` brings the package's general text. What a user may add is a dependency once the parameters
name it, as DVC refuses one that does not exist.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import wrap
from typing import Any

from ruamel.yaml import YAML

from attune.cli.repository.product import GENERAL, product_text, template
from attune.cli.repository.product_stages import LIBRARIES, ROOM, own_command, product_stage
from attune.errors import BadInput
from attune.stage import PARAMS_FILE, all_params

WIDTH = 160
TIE = "\0"  # a space that breaks no line
SECTION = "attune"  # of libraries.yaml, with an entry per stage
TASKS, RERANKERS, CHAMPIONS = "data/tasks", "models/rerankers", "models/champions"
ADDED_BY = {"probe": "probe.tasks", "mine": "mine.reranker", "champion": "evaluate.champion"}  # stage -> parameter
PAGE_OF_PLOTS = re.compile(r"^# `dvc plots show`.*?(?=^artifacts:)", re.DOTALL | re.MULTILINE)  # of several files
PLOT_TEMPLATES = r"template: (intervals|candidates)"  # of attune's own .dvc/plots

HEAD = """\
# The pipeline, from data to a shipped model; `attune upgrade` writes this file. A stage runs from the installed
# package, with the parameters of its section in params.yaml and advanced.yaml; the package adds the options that only
# name files of deps and outs. libraries.yaml has, in section attune, what else runs a stage again: its code, by a
# hash, and the versions of its libraries. Stages of your own belong into another dvc.yaml.

vars:
  - advanced.yaml
  # runs a stage; the fixed hash seed makes the order of sets the same in each run
  - stage: PYTHONHASHSEED=0 python -m attune.cli.repository.stage

stages:
"""
GENERAL_STAGE = f"""\
  general:
    desc: general text of the installed package, for the floors of merge and for the probe
    cmd: ${{stage}} general
    params: [{{{LIBRARIES}: [{SECTION}.general]}}]
    outs: [{GENERAL}]

"""

Sections = Mapping[str, Mapping[str, Any]]


def pipeline_text(params: Sections) -> str:
    """Returns the dvc.yaml of a repository.

    Args:
        params: all its parameters, by section.
    """
    lines = re.sub(PAGE_OF_PLOTS, "", product_text("dvc.yaml")).partition("\nstages:\n")[2].splitlines()
    body = "\n".join(_own_lines(lines, params))
    return f"{HEAD}{GENERAL_STAGE}{re.sub(PLOT_TEMPLATES, 'template: scatter', body)}\n"


def _own_lines(lines: list[str], params: Sections) -> Iterator[str]:
    """Yields the lines of all stages; commands, dependencies and parameters written anew."""
    name, inside = "", 0  # the stage; indentation of a key whose old value is left out
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if inside and (indent > inside or not line):
            continue
        inside = 0
        if match := re.fullmatch(r"  (\w+):", line):
            name = match[1]
        elif match := re.match(r" +(cmd|deps|params):", line):
            inside = indent
            head = f"{line[:indent]}{match[1]}: "
            if match[1] == "cmd":
                yield from wrapped(head + own_command(name), indent + 2)
            else:
                values = _deps(product_stage(name), params) if match[1] == "deps" else _params(name)
                yield from wrapped(f"{head}[{', '.join(values)}]", len(head) + 1)
            continue
        yield line


def _deps(body: Mapping[str, Any], params: Sections) -> list[str]:
    """Returns the dependencies of a stage but for code, those that only parameters call for where they do."""
    tasks = [str(task.get("path", "")) for task in params["probe"]["tasks"].values()]
    left_out = set() if any(path.startswith(f"{TASKS}/") for path in tasks) else {TASKS}
    kept = [dep for dep in body["deps"] if not dep.startswith("src/") and dep not in {*left_out, LIBRARIES}]
    for folder, named in ((RERANKERS, params["mine"]["reranker"]), (CHAMPIONS, params["evaluate"]["champion"])):
        if not named:
            kept = [dep for dep in kept if not dep.startswith(folder)]
    return [_quoted(dep) for dep in kept]


def require_added(name: str, folder: Path) -> None:
    """Checks that dvc.yaml has the dependency of a stage that a parameter has named since the file was written.

    DVC would otherwise neither run the stage again when its files change nor fetch them for a colleague.

    Raises:
        BadInput: a dependency is missing.
    """
    if name not in ADDED_BY:
        return
    stage = YAML(typ="safe").load((folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"].get(name, {})
    own = stage.get("do", stage).get("deps", [])
    expected = [dep.strip('"') for dep in _deps(product_stage(name), all_params(folder / PARAMS_FILE))]
    if lacking := [dep for dep in expected if dep not in own]:
        raise BadInput(
            f"dvc.yaml: stage {name} lacks the dependency {lacking[0]}, which {ADDED_BY[name]} calls for; "
            "run: attune upgrade"
        )


def _quoted(value: str) -> str:
    """Returns a value of a flow list, in quotation marks where DVC fills in a part."""
    return f'"{value}"' if "$" in value else value


def _params(name: str) -> list[str]:
    """Returns the parameters of a stage, with its entry of libraries.yaml in place of the list of libraries."""
    body = product_stage(name)
    own = [entry for entry in body["params"] if isinstance(entry, str)]
    files: dict[str, list[str]] = {}
    for entry in body["params"]:
        files |= entry if isinstance(entry, dict) else {}
    room = f"{ROOM}_" if ROOM in body["cmd"] else ""
    files[LIBRARIES] = [f"{SECTION}.{room}{name}"]
    lists = ", ".join(f"{file}: [{', '.join(map(_quoted, keys))}]" for file, keys in files.items())
    return [*own, f"{{{lists}}}"]


def wrapped(text: str, indent: int) -> list[str]:
    """Returns a key with its value, which YAML reads as one line, in lines of which all but the first are indented.

    An option of a command and its value, or a key and its alias, stay in one line.
    """
    tied = re.sub(r"( --[\w-]+|:) (?=[^-\[{])", rf"\1{TIE}", text)
    lines = wrap(tied, WIDTH, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)
    return [line.replace(TIE, " ") for line in lines]


def outputs(text: str) -> list[str]:
    """Returns the folders and files that DVC keeps, for .gitignore: each up to the first part that a stage fills in.

    Args:
        text: of dvc.yaml.
    """
    found: dict[str, None] = {}
    for stage in YAML(typ="safe").load(text)["stages"].values():
        for out in stage.get("do", stage).get("outs", []):
            if isinstance(out, str):
                found[out.partition("/$")[0]] = None
    return list(found)


def judgments(params: Sections) -> dict[str, str]:
    """Returns the table of added judgments, which stage split reads, by its path; empty until somebody judges.

    Args:
        params: all parameters, by section.
    """
    return {str(params["split"]["judgments"]): template("judgments.csv")}


def command_metrics(text: str) -> list[str]:
    """Returns the metric files that no stage writes but a command, as `attune judge` does; {} until it first runs.

    Args:
        text: of dvc.yaml.
    """
    return list(YAML(typ="safe").load(text)["metrics"])
